"""The order of jobs: what cells share is prepared once and first, and nothing is measured beside it."""

import pickle
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_real
from dataclasses import replace
from pathlib import Path

import pytest

from irbench.experiments import schedule
from irbench.experiments.ablations import ablation_cells
from irbench.experiments.attempts import Outcome, Prepared
from irbench.experiments.executors import Answer, Job, Lost
from irbench.experiments.experiment import Experiment
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings
from irbench.experiments.watcher import Watcher
from irbench.results import files

Planned = Prepared | Outcome | Exception
READY, BUSY, DONE = Prepared(), Prepared(busy=True), Outcome("ok")


class Scripted:
    """Ends the job that was submitted first whenever it is waited for, with the next answer that is planned for it."""

    def __init__(self, *, slots: int | None, alone: bool, answers: dict[str, list[Planned]]) -> None:
        self.slots, self.alone, self.answers = slots, alone, defaultdict(list, answers)
        self.log: list[str] = []
        self.held: list[str] = []  # cells whose jobs do not end before time has passed
        self.queue: list[tuple[Job, Future[Answer]]] = []

    def submit(self, job: Job) -> "Future[Answer]":
        future: Future[Answer] = Future()
        self.queue.append((job, future))
        self.log.append(f"{job.stage} {name_of(job)}")
        return future

    def end_one(self) -> None:
        ends = [i for i, (job, _) in enumerate(self.queue) if name_of(job) not in self.held]
        if not ends:
            self.held.clear()
            self.log.append("time passes")
            return
        job, future = self.queue.pop(ends[0])
        name = f"{job.stage} {name_of(job)}"
        planned = self.answers[name]
        answer = planned.pop(0) if planned else (READY if job.stage == "prepare" else DONE)
        self.log.append(f"/{name}")
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result((answer,) * len(job.experiments))


def name_of(job: Job) -> str:
    return job.experiments[0].cell.name


@pytest.fixture
def carry_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    settings = Settings(data=tmp_path / "data", work=tmp_path / "work", results=tmp_path / "results", device="cpu")

    def carried_out(
        methods: Sequence[str],
        *,
        slots: int | None = None,
        alone: bool = False,
        held: Sequence[str] = (),
        **answers: list[Planned],
    ) -> tuple[dict[str, Outcome], list[str]]:
        due = experiments(Request(methods=tuple(methods)), settings)
        planned = {name.replace("_", " ", 1).replace("__", "+"): some for name, some in answers.items()}
        executor = Scripted(slots=slots, alone=alone, answers=planned)
        executor.held += held

        def wait(futures: Sequence[Future], timeout: float | None, return_when: str) -> object:
            executor.end_one()
            return wait_for_real(futures, timeout=0.0 if timeout else 5.0, return_when=return_when)

        monkeypatch.setattr(schedule, "wait", wait)
        monkeypatch.setattr(schedule, "sleep", lambda _: executor.log.append("time passes"))
        outcomes = schedule.carry_out(due, executor, Watcher())
        return {one.cell.name: outcome for one, outcome in outcomes.items()}, executor.log

    return carried_out


def test_cells_that_differ_in_their_search_are_prepared_once(carry_out: Callable) -> None:
    outcomes, log = carry_out(["pixels+linear", "pixels+ivfpq"])
    assert set(outcomes) == {"pixels+linear", "pixels+ivfpq"}
    assert log[:2] == ["prepare pixels+linear", "/prepare pixels+linear"]
    assert sorted(log[2:]) == sorted(f"{end}measure pixels+{s}" for s in ("linear", "ivfpq") for end in ("", "/"))


def test_a_curve_is_prepared_once_and_measured_as_one_job(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path / "results", device="cpu")
    asked = Request(methods=("pixels+ivfpq", "pixels+scann"), datasets=("digits",))
    due = [Experiment(cell, settings) for cell in ablation_cells("index", asked)]
    due += experiments(replace(asked, overrides=(("embedding.dims", 8),)), settings)
    (group,) = schedule._groups(due)
    assert list(group.cells) == due
    other = experiments(replace(asked, overrides=(("image_size", 4),)), settings)
    assert len(list(schedule._groups([*due, *other]))) == 2
    assert [len(cells) for cells in schedule.of_one_index(due)] == [7, 4, 5, 1, 1]


def test_nothing_is_measured_beside_anything_else_on_one_machine(carry_out: Callable) -> None:
    _, log = carry_out(["pixels+linear", "ft-clip+linear", "classify"], slots=3)
    running: set[str] = set()
    for line in log:
        running = running - {line[1:]} if line.startswith("/") else running | {line}
        assert len(running) == 1 or not any(one.startswith("measure") for one in running)


def test_a_measurement_with_a_machine_of_its_own_does_not_wait_for_other_cells(carry_out: Callable) -> None:
    _, log = carry_out(["pixels+linear", "ft-clip+linear"], alone=True)
    assert log.index("measure pixels+linear") < log.index("/prepare ft-clip+linear")


def test_a_method_waits_for_the_one_that_it_builds_on(carry_out: Callable) -> None:
    _, log = carry_out(["irgen", "ft-clip+linear", "pixels+linear"], slots=3)
    assert log.index("/prepare ft-clip+linear") < log.index("prepare irgen")
    assert log.index("prepare pixels+linear") < log.index("/prepare ft-clip+linear")


@pytest.mark.parametrize("slots", [1, 2, None])
def test_who_needs_what_another_is_making_gives_the_slot_away_and_asks_again(carry_out: Callable, slots) -> None:
    outcomes, log = carry_out(["irgen", "pixels+linear", "classify"], slots=slots, prepare_irgen=[BUSY, BUSY])
    assert set(outcomes) == {"irgen", "pixels+linear", "classify"}
    assert log.count("prepare irgen") == 3
    assert log.count("measure irgen") == 1


def test_what_only_another_command_makes_is_asked_for_again(carry_out: Callable) -> None:
    outcomes, log = carry_out(["pixels+linear"], prepare_pixels__linear=[BUSY, BUSY])
    assert outcomes["pixels+linear"].status == "ok"
    asked = [line for line in log if line in ("prepare pixels+linear", "time passes")]
    assert asked == ["prepare pixels+linear", "time passes"] * 2 + ["prepare pixels+linear"]


def test_what_another_command_makes_is_not_asked_for_without_end_while_a_cell_is_prepared(carry_out: Callable) -> None:
    """Each time a process is started for it, which takes a core from the others."""
    _, log = carry_out(["irgen", "pixels+linear"], slots=2, held=["pixels+linear"], prepare_irgen=[BUSY])
    assert log[:5] == ["prepare irgen", "prepare pixels+linear", "/prepare irgen", "time passes", "prepare irgen"]


def test_a_cell_that_fails_in_preparation_ends_alone(carry_out: Callable) -> None:
    failed = Outcome("failed", "its library is missing")
    outcomes, log = carry_out(["pixels+spann", "pixels+linear"], prepare_pixels__spann=[failed])
    assert outcomes == {"pixels+spann": failed, "pixels+linear": DONE}
    assert "measure pixels+spann" not in log


@pytest.mark.parametrize("stage", ["prepare", "measure"])
def test_a_job_that_is_lost_is_a_failed_cell_with_a_result_that_says_so(carry_out, tmp_path: Path, stage) -> None:
    outcomes, _ = carry_out(["pixels+linear", "classify"], **{f"{stage}_pixels__linear": [Lost("its node is gone")]})
    assert outcomes["pixels+linear"].status == "failed"
    assert outcomes["pixels+linear"].exit_code == 1
    assert outcomes["classify"] == DONE
    (stored,), _ = files.read_all(tmp_path / "results")
    assert (stored.status, stored.reason) == ("failed", "its node is gone")


def test_an_experiment_that_crosses_to_another_machine_is_small(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, work=tmp_path, results=tmp_path, device="cpu")
    (one,) = experiments(Request(methods=("irgen",)), settings)
    assert isinstance(one, Experiment)
    assert len(one.benchmark.gallery) > 800  # loaded, and left behind
    assert one.inputs
    assert len(pickle.dumps(Job((one.anchored(),), "measure"))) < 2048
