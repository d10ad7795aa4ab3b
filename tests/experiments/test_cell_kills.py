"""A cell that is killed at any of its file operations: the same command again gives the same, and leaves no litter."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from irbench.experiments import latency
from irbench.experiments.attempts import attempt
from irbench.experiments.images import read_datasets_again
from irbench.experiments.plan import Request, experiments
from irbench.experiments.run import Experiment
from irbench.experiments.settings import Settings
from irbench.results import files

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def cell(root: Path) -> Experiment:
    settings = Settings(data=root, work=root / "work", results=root / "results", device="cpu")
    return experiments(Request(methods=("pixels",), max_queries=9), settings)[0]


def die_at(number: int, root: Path) -> None:
    """Kill this process just before its so-many-th operation that changes files below `root`."""
    left = [number]

    def watch(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        if (writes or event in WRITES) and str(arguments[0]).startswith(str(root)):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def run(root: Path, kill_at: int) -> None:
    read_datasets_again()
    if kill_at:
        die_at(kill_at, root)
    assert attempt(cell(root)).status == "ok"


def state(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.suffix != ".lock"}


@pytest.fixture
def in_a_fork(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path, int], int]:
    monkeypatch.setattr(latency, "SINGLES", 2)
    monkeypatch.setattr(latency, "BATCHED", 8)
    run(tmp_path / "imports", 0)  # what every fork then has

    def started(root: Path, kill_at: int) -> int:
        process = multiprocessing.get_context("fork").Process(target=run, args=(root, kill_at))
        process.start()
        process.join()
        return process.exitcode

    return started


def test_a_cell_killed_at_any_file_operation_is_run_again_to_the_same_end(in_a_fork, tmp_path: Path) -> None:
    unbroken = tmp_path / "unbroken"
    assert in_a_fork(unbroken, 0) == 0
    ((expected,), _) = files.read_all(unbroken / "results")
    kills = 0
    for kill_at in (1, 3, 6, 11, 18, 28, 40):
        root = tmp_path / f"killed-at-{kill_at}"
        if in_a_fork(root, kill_at) == 0:
            break  # it has no more file operations
        kills += 1
        found, problems = files.read_all(root / "results")
        assert not problems  # at no moment is anything half-written
        assert in_a_fork(root, 0) == 0
        ((again,), problems) = files.read_all(root / "results")
        assert not problems
        assert (again.metrics, again.inputs, again.ranking) == (expected.metrics, expected.inputs, expected.ranking)
        assert state(root) == state(unbroken)
        assert all(one.metrics == expected.metrics for one in found)
    assert kills >= 5
