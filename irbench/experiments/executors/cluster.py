"""Jobs on the machines of a Ray cluster, which share the folders of data, work and results.

Ray decides where a job runs, and runs it again elsewhere when its worker or its machine is lost; what it had finished
lies in the work folder. A measurement asks for all cores of a machine, so that nothing else of the grid runs beside it.
"""

import os
import socket
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from irbench.config.recipes import FOLDER
from irbench.core.errors import MissingLibrary, UsageError
from irbench.experiments.executors import Answer, Job, Lost
from irbench.experiments.processes import own_variables

if TYPE_CHECKING:
    import ray

_RETRIES = 3  # of a job whose worker or machine was lost
_PATIENCE_S = 10.0  # with an address
_GIB = 1 << 30


class Ray:
    """The machines of a Ray cluster; without an address one that consists of this machine alone and ends with it.

    Each machine needs irbench and finds the folders under the same paths.
    """

    slots = None
    alone = True

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self._running: set[Any] = set()

    def __enter__(self) -> "Ray":
        ray = _library()
        try:
            _greet(self.address)
            ray.init(
                address=self.address or "local",
                runtime_env={"env_vars": own_variables()},
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (OSError, RuntimeError, ValueError) as error:
            where = f"--address {self.address}: no Ray cluster answers there" if self.address else "Ray does not start"
            raise UsageError(f"{where} ({str(error).partition(chr(10))[0]})", code="no-cluster") from error
        self._cores = self._largest()
        if not self._cores:
            raise UsageError(
                f"--address {self.address}: no machine of this Ray cluster has a core to compute with",
                code="no-cluster",
            )
        # a worker that has answered is not used for another job: libraries keep memory and threads
        self._remote = ray.remote(max_calls=1, max_retries=_RETRIES)(_carry_out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray = _library()
        for reference in tuple(self._running):  # each leaves as it ends
            ray.cancel(reference, force=True)
        ray.shutdown()

    def submit(self, job: Job) -> "Future[Answer]":
        """Queue a job."""
        asked = self._place(job)
        if job.stage == "prepare":
            job = job.within(asked["num_cpus"])
        reference = self._remote.options(**asked).remote(job)
        self._running.add(reference)
        answered: Future[Answer] = Future()
        reference.future().add_done_callback(lambda done: self._pass_on(reference, done, answered))
        return answered

    def _pass_on(self, reference: "ray.ObjectRef[Answer]", done: "Future[Answer]", answered: "Future[Answer]") -> None:
        """Give an answer to whoever waits for it; of a lost job only that it is lost."""
        from ray.exceptions import RayError, RayTaskError

        self._running.discard(reference)
        error = done.exception()
        if error is None:
            answered.set_result(done.result())
        elif isinstance(error, RayTaskError):  # raised by the job itself
            answered.set_exception(cast("BaseException", error.cause))
        elif isinstance(error, RayError):
            answered.set_exception(Lost(f"lost {1 + _RETRIES} times on the Ray cluster: {str(error).splitlines()[0]}"))
        else:
            answered.set_exception(error)

    def _place(self, job: Job) -> dict[str, Any]:
        """Return what Ray is asked for: a share of some machine, or the whole of one."""
        needs = job.resources
        cores = self._largest() or self._cores  # none is left for now
        asked: dict[str, Any] = {"num_gpus": needs.gpus, "name": f"{job.stage} {job.experiments[0].cell}"}
        if needs.memory_gb:
            asked["memory"] = int(needs.memory_gb * _GIB)
        return asked | {"num_cpus": cores if job.stage == "measure" else min(needs.cores, cores)}

    @staticmethod
    def _largest() -> int:
        """Return the cores of the machine that has most of them."""
        alive = (node["Resources"] for node in _library().nodes() if node["Alive"])
        return max((int(resources.get("CPU", 0)) for resources in alive), default=0)


def _carry_out(job: Job) -> Answer:
    """Do a job from a worker of the cluster's, in a process of its own: the worker is lost only to others' faults."""
    with suppress(OSError, KeyError):  # a machine that has no such folder sees no recipes of the user's
        os.chdir(os.environ[FOLDER])
    return job.carry_out()


def _greet(address: str | None) -> None:
    """Raise `OSError` or `ValueError` where nobody listens; Ray itself would try for minutes."""
    if address not in (None, "auto", "local"):
        host, _, port = str(address).rpartition(":")
        if not (host and port.isdecimal()):
            raise ValueError("HOST:PORT or auto is needed")
        socket.create_connection((host, int(port)), _PATIENCE_S).close()


def _library() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingLibrary(f"--executor ray needs Ray ({error}): pip install 'irbench-retrieval[ray]'") from error
    return ray
