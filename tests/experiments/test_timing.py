"""Times that are taken together: drift is divided out, stars need agreement, and only the times of a result change."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from engines import needs_spann

from irbench.experiments import retime, timing
from irbench.experiments.timing import AROUND, DETAILED, SINGLES, Reference, Round
from irbench.report.lines import Line
from irbench.report.panel import Cell, Row
from irbench.report.quantities import quantities
from irbench.report.ranks import marked
from irbench.results import files

P50, *_ = LATENCY = quantities("latency", ())


def test_a_machine_of_half_the_speed_is_divided_out():
    fast = Round(singles={"total": [1.0, 2.0]}, batched={"total": 3.0}, beside_singles=2.0, beside_batches=4.0)
    slow = Round(singles={"total": [2.0, 4.0]}, batched={"total": 9.0}, beside_singles=4.0, beside_batches=12.0)
    assert slow.without_drift(2.0, 4.0) == replace(fast, beside_singles=4.0, beside_batches=12.0)
    assert Reference()() > 0


def line(name: str, rounds: tuple[float, ...], session: str = "s") -> Line:
    ordered = sorted(rounds)
    cell = Cell(ordered[len(ordered) // 2], rounds=rounds, session=session)
    cells = (cell, *(Cell() for _ in LATENCY[1:]))
    return Line(row=Row(kind="measured", method=name, backbone="b", weights="w", cells=cells))


def test_the_fastest_has_a_star_only_where_the_rounds_agree():
    quick, slow = (1.0,) * 9, (2.0,) * 9
    mixed = (0.9, 1.1, 0.9, 1.1, 0.9, 1.1, 0.9, 1.1, 1.1)

    def marks(*lines: Line) -> list[tuple[bool, bool]]:
        return [(one.row.cells[0].best, one.row.cells[0].tied) for one in marked(lines, LATENCY)]

    assert marks(line("a", quick), line("b", slow)) == [(True, False), (False, False)]
    assert marks(line("a", quick), line("b", mixed), line("c", slow)) == [(False, True), (False, True), (False, False)]
    assert marks(line("a", quick), line("b", slow, session="other")) == [(False, False)] * 2


def test_stored_cells_are_timed_together_and_nothing_else_changes(irbench: Callable, tmp_path: Path):
    folder = tmp_path / "runs" / "results" / "digits"
    done = irbench("run", "-m", "pixels", "--search", "linear", "--search", "ivfpq", "--max-queries", "40")
    assert done.returncode == 0, done.stderr
    before = {path: json.loads(path.read_text()) for path in folder.rglob("seed0.json")}
    timed = irbench("time", "--rounds", "5")
    assert timed.returncode == 0, timed.stderr
    after = {path: json.loads(path.read_text()) for path in before}
    sessions = [one["cost"]["session"] for one in after.values()]
    assert len(before) == 2
    assert len({one["id"] for one in sessions}) == 1
    for path, one in after.items():
        session = one["cost"]["session"]
        assert len(session["single_ms"]) == len(session["batched_ms"]) == 5
        assert min(session["single_ms"]) <= one["cost"]["query_ms"]["total_p50"] <= max(session["single_ms"])
        assert one["cost"]["queries_per_s"] == pytest.approx(1000 / sorted(session["batched_ms"])[2])
        for stored in (one, before[path]):
            for key in ("query_ms", "batched_ms", "queries_per_s", "session"):
                stored["cost"].pop(key)
            for key in ("concurrent_load", "timing_cores"):
                stored["environment"].pop(key)
            stored.pop("sha256")
        assert one == before[path]
    shown = irbench("table", "--metric", "latency", "--shortened", "--format", "json").stdout
    assert all(id_ in shown for id_ in {one["id"] for one in sessions})
    assert irbench("run", "-m", "pixels", "--max-queries", "40", "--dry-run").stderr.count("stored already") == 1


def test_no_reference_stands_between_single_queries(irbench: Callable, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []  # how many queries, 0 for the reference

    class Counted(Reference):
        def __call__(self) -> float:
            asked.append(0)
            return super().__call__()

    class Watched:
        def __init__(self, retriever):
            self._retriever = retriever

        def search(self, queries, k):
            asked.append(len(queries))
            return self._retriever.search(queries, k)

    def prepare(*arguments):
        ready = timing.prepare(*arguments)
        return replace(ready, retriever=Watched(ready.retriever))

    monkeypatch.setattr(timing, "Reference", Counted)
    monkeypatch.setattr(retime, "prepare", prepare)
    assert irbench("run", "-m", "pixels", "--max-queries", "40").returncode == 0
    assert irbench("time", "--rounds", "5").returncode == 0
    runs = [(number, len(list(group))) for number, group in groupby(asked)]
    assert runs[:5] == [(0, 1 + AROUND), (1, 1 + SINGLES + DETAILED), (0, AROUND), (40, 1), (0, 2 * AROUND + 1)]


def test_clients_are_answered_after_the_rounds_and_their_load_is_in_the_tables(irbench: Callable, tmp_path: Path):
    assert irbench("run", "-m", "pixels", "--max-queries", "20").returncode == 0
    assert "loaded" not in irbench("table", "--metric", "cost", "--shortened").stdout
    timed = irbench("time", "--rounds", "5", "--clients", "1,3")
    assert timed.returncode == 0, timed.stderr
    (result,) = files.read_all(tmp_path / "runs" / "results")[0]
    load = result.cost.load
    assert load is not None
    assert [(one.way, one.clients) for one in load] == [
        ("threads", 1), ("threads", 3), ("processes", 1), ("processes", 3)
    ]  # fmt: skip
    assert all(one.queries_per_s > 0 and 0 < one.p50_ms <= one.p95_ms <= one.p99_ms for one in load)
    assert result.cost.session is not None
    table = json.loads(irbench("table", "--metric", "cost", "--shortened", "--format", "json").stdout)
    assert "load_per_s" in json.dumps(table)
    assert irbench("time", "--clients", "0").returncode == 2


def test_a_cell_that_has_changed_since_is_named_and_not_timed(irbench: Callable, tmp_path: Path):
    assert irbench("run", "-m", "pixels", "--max-queries", "20").returncode == 0
    (path,) = (tmp_path / "runs" / "results").rglob("seed0.json")
    files.write(replace(files.read(path), inputs="0" * 64), path.parents[2])
    text = path.read_text()
    done = irbench("time", "--rounds", "5")
    assert done.returncode == 1
    assert "pixels+linear" in done.stderr
    assert path.read_text() == text
    assert irbench("time", "-m", "nothing").returncode == 2


@needs_spann
def test_an_index_leaves_torch_its_threads(irbench: Callable, tmp_path: Path):
    assert irbench("run", "-m", "pixels+spann", "--max-queries", "5").returncode == 0
    (path,) = (tmp_path / "runs" / "results").rglob("seed0.json")
    assert json.loads(path.read_text())["environment"]["threads"] == 1


def test_nothing_is_trained_for_the_sake_of_times(irbench: Callable, tmp_path: Path):
    asked = ("-m", "ft-clip", "--epochs", "1", "--max-queries", "5")
    assert irbench("run", *asked).returncode == 0
    work = tmp_path / "runs" / "work"
    (work / "model").rename(work / "models-elsewhere")
    timed, certified = irbench("time", "--rounds", "5"), irbench("certify", *asked)
    assert (timed.returncode, certified.returncode) == (1, 2)
    assert "[not-trained]" in certified.stderr
    assert not list((work / "model").glob("*/model.safetensors"))
