"""Cells that differ in parameters of their queries only: one index answers for all of them, as if each had its own."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from irbench.experiments import attempts, grid, run
from irbench.experiments.ablations import ablation_cells
from irbench.experiments.attempts import Outcome, attempt, run_apart
from irbench.experiments.experiment import Experiment
from irbench.experiments.plan import Request
from irbench.experiments.processes import Ended
from irbench.experiments.schedule import of_one_index
from irbench.experiments.settings import Settings
from irbench.experiments.watcher import Watcher
from irbench.results import files
from irbench.results.schema import Result
from irbench.retrievers.searchers.ivfpq import IvfPqSearcher


@pytest.fixture
def sweep(tmp_path: Path):
    def cells(method: str, results: str = "results") -> list[Experiment]:
        settings = Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path / results, device="cpu")
        request = Request(datasets=("digits",), methods=(method,), max_queries=30)
        return [Experiment(cell, settings) for cell in ablation_cells("index", request)]

    return cells


def stored(experiments: Sequence[Experiment]) -> list[Result]:
    found = [one.current() for one in experiments]
    assert all(one is not None and one.status == "ok" for one in found)
    return [one for one in found if one is not None]


def test_cells_share_an_index_where_only_parameters_of_their_queries_differ(sweep) -> None:
    assert [len(cells) for cells in of_one_index(sweep("pixels+ivfpq"))] == [7]
    assert [len(cells) for cells in of_one_index(sweep("pixels+scann"))] == [4, 5]  # without a tree, and with one
    both = [*sweep("pixels+ivfpq"), *sweep("pixels+spann")]
    assert [len(cells) for cells in of_one_index(both[::-1])] == [8, 7]
    seeds = [replace(one, cell=replace(one.cell, seed=seed)) for seed in (0, 1) for one in sweep("pixels+hnsw")]
    assert [len(cells) for cells in of_one_index(seeds)] == [6, 6]


@pytest.mark.parametrize("method", ["pixels+ivfpq", "pixels+scann", "pixels+hnsw"])
def test_one_index_gives_what_an_index_for_each_gives(sweep, method: str) -> None:
    together, apart = sweep(method), sweep(method, "apart")
    outcomes = [outcome for cells in of_one_index(together) for outcome in run_apart(cells, 120)]
    built = len(of_one_index(together))
    assert [one.same_index for one in outcomes].count(False) == built < len(together)
    for one in apart:
        assert next(attempt([one])).status == "ok"
    for mine, its in zip(stored(together), stored(apart), strict=True):
        assert (mine.metrics, mine.retriever, mine.cost.index_bytes) == (
            its.metrics,
            its.retriever,
            its.cost.index_bytes,
        )
        assert mine.hits is not None
        assert its.hits is not None
        assert mine.hits.sha256 == its.hits.sha256
    assert len({one.cost.build_s for one in stored(together)}) == built
    peaks = [one.cost.peak_host_bytes for one in stored(together)]
    assert max(peaks) - min(peaks) < 20e6  # what a cell leaves in the process is not the next one's


def test_a_cell_that_fails_ends_alone_and_the_next_gets_another_index(sweep, monkeypatch) -> None:
    indexed: list[str] = []
    index, set_parameters = run.index, IvfPqSearcher.set_query_parameters

    def counted(experiment: Experiment) -> run.Indexed:
        indexed.append(str(experiment.cell))
        return index(experiment)

    def refuses_four(self: IvfPqSearcher, config) -> bool:
        if config.nprobe == 4:
            raise ZeroDivisionError("four")
        return set_parameters(self, config)

    monkeypatch.setattr(run, "index", counted)
    monkeypatch.setattr(IvfPqSearcher, "set_query_parameters", refuses_four)
    experiments = sweep("pixels+ivfpq")
    outcomes = list(attempt(experiments))
    probes = [dict(one.cell.overrides).get("nprobe") for one in experiments]
    ended = dict(zip(probes, outcomes, strict=True))
    assert {cells: one.status for cells, one in ended.items() if one.status != "ok"} == {4: "failed"}
    assert "ZeroDivisionError" in ended[4].reason
    assert [cells for cells, one in ended.items() if not one.same_index] == [None, 4, 8]
    assert len(indexed) == 2


def test_what_a_process_left_when_it_ended_goes_on_in_another(sweep, monkeypatch) -> None:
    experiments, started = sweep("pixels+ivfpq"), list[int]()

    def ends_at_the_third(_: object, left: Sequence[Experiment], **__: object) -> Iterator[Outcome]:
        started.append(len(left))
        for number, _one in enumerate(left):
            if len(started) == 1 and number == 2:
                raise Ended("timeout", "took longer than 1 s")
            yield Outcome("ok", same_index=number > 0)

    monkeypatch.setattr(attempts, "each_apart", ends_at_the_third)
    outcomes = list(run_apart(experiments, 1))
    assert started == [7, 4]
    assert [one.status for one in outcomes] == ["ok", "ok", "timeout", "ok", "ok", "ok", "ok"]
    found = files.find(experiments[2].unfinished("skipped", "").path(experiments[2].settings.results))
    assert found is not None
    assert (found.status, found.reason) == ("timeout", "took longer than 1 s")


def test_an_index_that_cannot_be_had_is_tried_twice_and_not_for_each_setting(sweep, monkeypatch) -> None:
    experiments, started = sweep("pixels+ivfpq"), list[int]()

    def ends_at_once(_: object, left: Sequence[Experiment], **__: object) -> Iterator[Outcome]:
        started.append(len(left))
        raise Ended("timeout", "took longer than 1 s")
        yield

    monkeypatch.setattr(attempts, "each_apart", ends_at_once)
    outcomes = list(run_apart(experiments, 1))
    assert started == [7, 6]
    assert [one.status for one in outcomes] == ["timeout"] * 7
    assert len({one.reason for one in outcomes}) == 2  # those that were not tried say so


def test_a_run_reports_each_cell_as_it_ends(sweep) -> None:
    told: list[tuple[str, str]] = []

    class Listening(Watcher):
        def started(self, experiment: Experiment) -> None:
            told.append(("started", str(experiment.cell)))

        def ended(self, experiment: Experiment, outcome: Outcome) -> None:
            told.append((outcome.status, str(experiment.cell)))

    experiments = sweep("pixels+ivfpq")[:3]
    outcomes = grid.run(experiments, Listening())
    assert told == [(what, str(one.cell)) for one in experiments for what in ("started", "ok")]
    assert [outcomes[one].same_index for one in experiments] == [False, True, True]
