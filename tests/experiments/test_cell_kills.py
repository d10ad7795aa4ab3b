"""A cell that is killed at any of its file operations: the same command again gives the same, and leaves no litter."""

from pathlib import Path

import pytest
from killing import in_a_fork

from irbench.experiments import latency
from irbench.experiments.attempts import attempt
from irbench.experiments.experiment import Experiment
from irbench.experiments.images import read_datasets_again
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings
from irbench.results import files


def cell(root: Path) -> Experiment:
    settings = Settings(data=root, work=root / "work", results=root / "results", device="cpu")
    return experiments(Request(methods=("pixels",), max_queries=9), settings)[0]


def run(root: Path) -> None:
    read_datasets_again()
    assert next(attempt([cell(root)])).status == "ok"


def state(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.suffix != ".lock"}


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What every fork then has imported; the clock has tests of its own."""
    monkeypatch.setattr(latency, "SINGLES", 2)
    monkeypatch.setattr(latency, "BATCHED", 8)
    run(tmp_path / "imports")


def test_a_cell_killed_at_any_file_operation_is_run_again_to_the_same_end(tmp_path: Path) -> None:
    unbroken = tmp_path / "unbroken"
    assert in_a_fork(run, unbroken, root=unbroken) == 0
    ((expected,), _) = files.read_all(unbroken / "results")
    kills = 0
    for kill_at in (1, 3, 6, 11, 18, 28, 40):
        root = tmp_path / f"killed-at-{kill_at}"
        if in_a_fork(run, root, root=root, kill_at=kill_at) == 0:
            break  # it has no more file operations
        kills += 1
        found, problems = files.read_all(root / "results")
        assert not problems  # at no moment is anything half-written
        assert in_a_fork(run, root, root=root) == 0
        ((again,), problems) = files.read_all(root / "results")
        assert not problems
        assert (again.metrics, again.inputs, again.ranking) == (expected.metrics, expected.inputs, expected.ranking)
        assert state(root) == state(unbroken)
        assert all(one.metrics == expected.metrics for one in found)
    assert kills >= 5
