"""Calls a function in a process of its own, which ends with everything that it has started.

The process is forked from a server that has imported the heavy libraries and done nothing else, so starting one
takes milliseconds. It watches over a second one, the worker, in which the function is called: what the worker starts
and leaves behind, a session of its own included, becomes a child of the first (Linux), which ends it. Linux and macOS.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import psutil

from irbench.config.recipes import FOLDER
from irbench.results.schema import Status

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
_PRELOADED = ["torch", "timm", "irbench.experiments.prepared"]
_OWN = "IRBENCH_"  # how the names of the variables begin that irbench reads
_LONGEST = 2e6  # seconds that can be waited for
_GRACE = 5.0  # seconds between asking a process to end and ending it
_NO_MORE = ()  # is sent after the last answer; an answer is a tuple of one
_ROUNDS = 5  # of ending what others start meanwhile
_one_at_a_time = threading.Lock()  # processes are started, as the main module is hidden meanwhile
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Ended(Exception):  # noqa: N818 -- no error of ours
    """A process ended, or was ended, without an answer."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Stopped(Exception):  # noqa: N818 -- as it was told
    """A process was ended because nobody wants its answer any more."""


class Stop:
    """Ends what runs, as soon as it is set; for any number of threads that wait for processes."""

    def __init__(self) -> None:
        self.end, self._hold = multiprocessing.Pipe(duplex=False)  # whoever waits for the one sees the other closed

    def set(self) -> None:
        """End all that runs, and all that would begin."""
        self._hold.close()


def apart(function: Callable[..., T], *arguments: object, timeout: float | None, stop: Stop | None = None) -> T:
    """Call a function in a fresh process that may take `timeout` seconds; `Ended` where it does not answer.

    Nothing that the process starts outlives it. Raises `Stopped` once `stop` is set.
    """
    with closing(each_apart(_once, function, *arguments, timeout=timeout, stop=stop)) as answers:
        return next(answers)


def _once(function: Callable[..., T], *arguments: object) -> Iterator[T]:
    yield function(*arguments)


def each_apart(
    function: Callable[..., Iterator[T]], *arguments: object, timeout: float | None, stop: Stop | None = None
) -> Generator[T, None, None]:
    """Yield what a function yields in a fresh process, `timeout` seconds for each; for the rest see `apart`."""
    _start_server()
    receiver, sender = _context().Pipe(duplex=False)
    process = _context().Process(target=_work, args=(function, arguments, sender, _Surroundings.here()))
    with _one_at_a_time, _main_module_hidden():
        process.start()
    sender.close()
    try:
        # the process itself is watched too: what it started may hold its end of the pipe open
        ends = [receiver, process.sentinel, *([stop.end] if stop else [])]
        while True:
            ready = wait(ends, None if timeout is None else min(timeout, _LONGEST))
            if stop and stop.end in ready:
                raise Stopped
            if not ready:
                raise Ended("timeout", f"took longer than {timeout:g} s")
            if not receiver.poll():
                break
            answer = receiver.recv()
            if answer == _NO_MORE:
                return
            yield cast("T", answer[0])
    except EOFError:
        pass
    finally:
        receiver.close()
        _end(process)
    raise Ended("failed", _how_it_died(process))


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _start_server() -> None:
    """Start the server of processes, unless it runs; a Ctrl-C while it imports is answered by this process alone."""
    _context()  # says what the server imports, which nobody can say any more once it runs
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by the server
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Start a process that does not import the caller's script again: nothing that it runs is defined there."""
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def own_variables() -> dict[str, str]:
    """Return irbench's variables of the environment, the folder in which recipes are looked for among them."""
    return {name: value for name, value in os.environ.items() if name.startswith(_OWN)} | {FOLDER: str(Path.cwd())}


@dataclass(frozen=True)
class _Surroundings:
    """The folder, and irbench's variables of the environment: both may have changed since the server was started."""

    folder: str
    variables: dict[str, str]

    @classmethod
    def here(cls) -> "_Surroundings":
        """Return those of this process."""
        return cls(str(Path.cwd()), own_variables())

    def enter(self) -> None:
        """Make them those of this process."""
        os.chdir(self.folder)
        for name in [name for name in os.environ if name.startswith(_OWN)]:
            del os.environ[name]
        os.environ.update(self.variables)


def _work(
    function: Callable[..., Iterator[object]],
    arguments: tuple[object, ...],
    sender: "Connection[object, None]",
    surroundings: _Surroundings,
) -> None:
    """Call a function in a child of this process and send back what it yields."""
    surroundings.enter()
    os.dup2(2, 1)  # standard output belongs to the command; libraries may chatter on standard error
    _inherit_orphans()
    worker = os.fork()
    threading.Thread(target=_end_with_command, daemon=True).start()
    if worker:
        _watch_over(worker)
    os.setpgid(0, 0)  # where orphans are not inherited, the group is what can be ended
    answers = ((answer,) for answer in function(*arguments))
    for answer in chain(answers, [_NO_MORE]):
        with suppress(BrokenPipeError):  # the command has been interrupted meanwhile
            sender.send(answer)


def _inherit_orphans() -> None:
    """Become the parent of every process below this one whose own parent has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch_over(worker: int) -> NoReturn:
    """Wait until the worker has ended, end what it has left, and leave in the way that it did."""
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGKILL)
    _end_below(os.getpid())
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker's is enough
        with suppress(OSError):  # SIGKILL has no other way
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


def _end_below(process: int) -> None:
    """End all that descends from a process."""
    for _ in range(_ROUNDS):
        below = _descendants(process)
        if not below:
            break
        _send(signal.SIGKILL, below)
        psutil.wait_procs(below, _GRACE)


def _descendants(process: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return list(psutil.Process(process).children(recursive=True))
    return []


def _send(sign: signal.Signals, processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.send_signal(sign)


def _end(process: BaseProcess) -> None:
    """End the process and everything that it started."""
    process.join(0.2)  # it has sent its answer and is leaving
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.is_alive() and process.pid is not None:
            _send(sign, _descendants(process.pid))  # then it leaves by itself, and looks after what is left
            process.join(_GRACE)
    process.kill()
    process.join(_GRACE)


def _how_it_died(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"its process ended with status {code} and without a result"
    name = signal.Signals(-code).name
    return f"its process was ended by {name}" + (" (was there enough memory?)" if name == "SIGKILL" else "")


def _end_with_command() -> None:
    """Leave, with all that was started, as soon as the command that started this process is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _end_below(os.getpid())
        os._exit(1)
