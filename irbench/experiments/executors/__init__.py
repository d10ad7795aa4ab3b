"""Executors: where the jobs of a grid are carried out, several at a time.

A grid is prepared cell by cell, wherever there is room, and each cell is then measured alone on its node, from what the
preparation has left in the work folder (`irbench.experiments.schedule`).
"""

from dataclasses import dataclass, replace
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from irbench.config.recipes import Resources
from irbench.experiments.attempts import Outcome, Prepared, prepare_apart, run_apart
from irbench.experiments.experiment import Experiment
from irbench.experiments.processes import Stop
from irbench.runtime.machine import available_cores

if TYPE_CHECKING:
    from concurrent.futures import Future

Answer = tuple[Outcome | Prepared, ...]  # of each cell of a job


@dataclass(frozen=True)
class Job:
    """One stage of a cell, or of several that share an index; a plain value that can cross to another machine."""

    experiments: tuple[Experiment, ...]
    stage: Literal["prepare", "measure"]
    timeout: float | None = None  # seconds

    @property
    def resources(self) -> Resources:
        """What its training needs to itself: what its recipes say, or else the cores that it computes with."""
        experiment = self.experiments[0]
        scale = experiment.cell.scale
        asked = [one for recipe in experiment.builder.recipes() if (one := recipe.resources(scale))]
        runtime = experiment.runtime
        usual = Resources(cores=runtime.threads or available_cores(), gpus=int(runtime.device == "cuda"))
        return Resources(
            cores=max((one.cores for one in asked), default=usual.cores),
            gpus=max((one.gpus for one in asked), default=usual.gpus),
            memory_gb=max((one.memory_gb for one in asked), default=usual.memory_gb),
        )

    def carry_out(self, stop: Stop | None = None) -> Answer:
        """Do it in a process of its own, which ends as soon as `stop` is set."""
        if self.stage == "measure":
            return tuple(run_apart(self.experiments, self.timeout, stop))
        start = perf_counter()
        return (replace(prepare_apart(self.experiments[0], self.timeout, stop), seconds=perf_counter() - start),)

    def within(self, cores: int) -> "Job":
        """Return the job as it computes with so many threads."""
        return replace(self, experiments=tuple(one.within(cores) for one in self.experiments))


class Lost(Exception):  # noqa: N818 -- whoever scheduled the job decides what becomes of it
    """A job was lost with the process or the machine that did it, more often than it is tried again."""


class Executor(Protocol):
    """Carries out jobs; a context that ends what still runs when it is left."""

    @property
    def slots(self) -> int | None:
        """How many jobs may be submitted at once; None: as many as there are."""

    @property
    def alone(self) -> bool:
        """Does it give a measurement a machine of its own while others prepare? Else these have to be over first."""

    def submit(self, job: Job) -> "Future[Answer]":
        """Begin a job, or queue it. The future raises `Lost`, or an `IrbenchError` where no result can be written."""

    def __enter__(self) -> "Executor":
        """Get ready; `UsageError` where that is impossible."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all jobs."""
