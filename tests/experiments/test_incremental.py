"""The experiment with images that come after training: what is new is searched as if it had always been there."""

from dataclasses import replace
from pathlib import Path

import pytest
from engines import searchers

from irbench.config import recipes
from irbench.config.registry import SEARCHERS
from irbench.core.cell import Cell
from irbench.experiments.attempts import attempt
from irbench.experiments.build import Builder
from irbench.experiments.experiment import Experiment
from irbench.experiments.run import index, measure
from irbench.experiments.settings import Settings
from irbench.report.table import table
from irbench.results.files import read
from irbench.results.rankings import load_ranking
from irbench.results.schema import Result

CELL = Cell(method="pixels", search="linear", dataset="digits", scale="tiny", default_scale="tiny")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path / "results", device="cpu")


@pytest.fixture(autouse=True)
def no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock has tests of its own."""
    monkeypatch.setattr("irbench.experiments.latency.SINGLES", 2)
    monkeypatch.setattr("irbench.experiments.latency.BATCHED", 64)


def run(cell: Cell, settings: Settings) -> Result:
    (outcome,) = attempt([Experiment(cell, settings)])
    assert outcome.path is not None
    return read(outcome.path)


@pytest.fixture(params=searchers(sorted(set(SEARCHERS) & set(recipes.names("methods/search")))))
def search(request: pytest.FixtureRequest) -> str:
    return request.param


def test_an_encoder_that_learns_nothing_finds_what_it_found_before(search: str, settings: Settings) -> None:
    before, after = (run(replace(CELL, search=search, incremental=fresh), settings) for fresh in (False, True))
    assert (before.status, after.status) == ("ok", "ok")
    assert after.path(settings.results).parent.name == f"pixels+{search}@incremental"
    assert (after.dataset.gallery, after.dataset.incremental, before.dataset.incremental) == (899, 447, 0)
    assert after.dataset.train == before.dataset.train - 447
    assert after.dataset.fingerprint != before.dataset.fingerprint
    assert after.cost.add_s is not None
    assert after.cost.add_s > 0 == (before.cost.add_s or 0)
    tolerance = {"linear": 0.0002, "ivfpq": 0.05}.get(search, 0.01)  # equal distances go by row, and rows differ
    for name, estimate in before.metrics.items():
        assert after.metrics[name].mean == pytest.approx(estimate.mean, abs=tolerance), name
    for part in ("old", "new"):  # ten of each stand where twenty of both do
        assert after.metrics[f"precision_{part}@10"].mean == pytest.approx(after.metrics["precision@20"].mean, abs=0.03)
    panels = {panel.dataset: panel for panel in table([before, after], "precision").panels}
    assert [row.method for row in panels["digits-incremental"].rows] == [f"pixels+{search}@incremental"]
    assert [row.method for row in panels["digits"].rows] == [f"pixels+{search}"]
    (panel,) = table([before, after], "precision_new").panels
    assert [column.label for column in panel.columns] == ["@1", "@10", "@20", "@30"]


def test_the_new_images_are_the_last_rows(settings: Settings) -> None:
    experiment = Experiment(replace(CELL, incremental=True), settings)
    result = measure(experiment, index(experiment))
    assert result.ranking is not None
    rows = load_ranking(result.ranking, settings.work / "rankings").rows
    answered = experiment.benchmark.gallery.labels[rows[:, 0]] == experiment.benchmark.queries.labels
    new = rows[:, 0] >= 899 - 447
    assert 0.4 < new.mean() < 0.6
    assert answered[new].mean() > 0.95
    assert answered[~new].mean() > 0.95


class Fixed:
    """A retriever whose gallery stays what it is."""

    def __init__(self, whole: object) -> None:
        for name in ("train", "index", "search", "describe"):
            setattr(self, name, getattr(whole, name))


def test_a_retriever_that_cannot_grow_is_skipped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder.retriever
    monkeypatch.setattr(Builder, "retriever", lambda self: Fixed(build(self)))
    assert run(CELL, settings).status == "ok"
    result = run(replace(CELL, incremental=True), settings)
    assert (result.status, result.reason) == (
        "skipped",
        "pixels+linear cannot add images to a gallery that it has indexed",
    )
