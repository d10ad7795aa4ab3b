"""Jobs on this machine, each in a process of its own."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from irbench.core.errors import UsageError
from irbench.experiments.executors import Answer, Job
from irbench.experiments.processes import Stop
from irbench.runtime.machine import available_cores


class Local:
    """Prepares `jobs` cells at once, each with its share of the cores, and measures when all of that is over."""

    alone = False

    def __init__(self, jobs: int) -> None:
        if jobs > available_cores():
            raise UsageError(
                f"--jobs {jobs}: this machine has {available_cores()} processor cores, and jobs that share one take "
                "longer than one after the other",
                code="bad-value",
            )
        self.slots = jobs
        self._pool, self._stop = ThreadPoolExecutor(jobs), Stop()

    def submit(self, job: Job) -> "Future[Answer]":
        """Begin a job."""
        if job.stage == "prepare":
            job = job.within(available_cores() // self.slots)
        return self._pool.submit(job.carry_out, self._stop)

    def __enter__(self) -> "Local":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
