"""Runs cells, each in a process of its own: a crash, a hang or a memory hog ends one cell and not the grid.

The process is forked from a server that has imported the heavy libraries and done nothing else, so starting one
takes milliseconds. Linux and macOS.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from irbench.config.recipes import FOLDER
from irbench.core.errors import FileRaisedError, IrbenchError, MissingWeights, Unavailable, UsageError
from irbench.core.text import as_message
from irbench.experiments.run import Experiment
from irbench.results import files
from irbench.results.schema import Status

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
_PRELOADED = [
    "torch",
    "timm",
    "irbench.experiments.run",
    "irbench.retrievers.dense",
    "irbench.retrievers.irgen.retriever",
]
_OWN = "IRBENCH_"  # how the names of the variables begin that irbench reads
_REASON = 4000  # characters of a reason that are stored
_LONGEST = 2e6  # seconds that can be waited for
_GRACE = 5.0  # seconds between asking a process to end and ending it


@dataclass(frozen=True)
class Outcome:
    """How a cell ended, and where its result was written (None where an older good one was left in its place)."""

    status: Status
    reason: str = ""
    path: Path | None = None
    exit_code: int = 0  # what it makes of the command's exit status


class _Ended(Exception):  # noqa: N818 -- no error of ours
    """A process ended, or was ended, without an answer."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def run_apart(experiment: Experiment, timeout: float | None) -> Outcome:
    """Run one experiment in a fresh process that may take `timeout` seconds; one of live objects runs in this one."""
    if not experiment.portable:
        return attempt(experiment)
    try:
        return _apart(attempt, experiment.anchored(), timeout=timeout)
    except _Ended as end:
        return _record(experiment, end.status, end.reason, exit_code=1)


def check_apart(experiment: Experiment, timeout: float | None, *, force: bool) -> Outcome | None:
    """Check an experiment whose recipes name code of the user's, which this process does not import.

    Returns how the cell ended if that code cannot be imported or built, else None. Raises `UsageError` for what is
    wrong with the request.
    """
    try:
        found = _apart(_examined, experiment.anchored(), force, timeout=timeout)
    except _Ended as end:
        found = _Examined(inputs="", reason=end.reason, status=end.status)
    if found.code:
        raise UsageError(found.reason, code=found.code)
    experiment.adopt(found.inputs)
    if not found.reason:
        return None
    return _record(experiment, found.status, found.reason, exit_code=1)


@dataclass(frozen=True)
class _Examined:
    """What a process found of an experiment: the hash of its inputs, or what is wrong."""

    inputs: str
    reason: str = ""
    code: str = ""  # of an error of the request
    status: Status = "failed"


def _examined(experiment: Experiment, force: bool) -> _Examined:  # noqa: FBT001 -- the arguments of a process
    try:
        experiment.check(force=force)
        return _Examined(experiment.inputs)
    except FileRaisedError as error:
        return _Examined("", str(error))
    except IrbenchError as error:
        return _Examined("", str(error), code=error.code)
    except BaseException:
        return _Examined("", traceback.format_exc())


def _apart(function: Callable[..., T], *arguments: object, timeout: float | None) -> T:
    """Call a function in a fresh process that may take `timeout` seconds; `_Ended` where it does not answer.

    Nothing that the process starts outlives it.
    """
    _start_server()
    receiver, sender = _context().Pipe(duplex=False)
    process = _context().Process(target=_work, args=(function, arguments, sender, _Surroundings.here()))
    with _main_module_hidden():
        process.start()
    sender.close()
    try:
        # the process itself is watched too: what it started may hold its end of the pipe open
        ready = wait([receiver, process.sentinel], None if timeout is None else min(timeout, _LONGEST))
        if not ready:
            raise _Ended("timeout", f"took longer than {timeout:g} s")
        if receiver.poll():
            return cast("T", receiver.recv())
    except EOFError:
        pass
    finally:
        _end(process)
    raise _Ended("failed", _how_it_died(process))


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _start_server() -> None:
    """Start the server of processes, unless it runs; a Ctrl-C while it imports is answered by this process alone."""
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


@dataclass(frozen=True)
class _Surroundings:
    """The folder, and irbench's variables of the environment: both may have changed since the server was started."""

    folder: str
    variables: dict[str, str]

    @classmethod
    def here(cls) -> "_Surroundings":
        """Return those of this process."""
        variables = {name: value for name, value in os.environ.items() if name.startswith(_OWN)}
        return cls(str(Path.cwd()), variables | {FOLDER: str(Path.cwd())})

    def enter(self) -> None:
        """Make them those of this process."""
        os.chdir(self.folder)
        for name in [name for name in os.environ if name.startswith(_OWN)]:
            del os.environ[name]
        os.environ.update(self.variables)


def _work(
    function: Callable[..., object],
    arguments: tuple[object, ...],
    sender: "Connection[object, None]",
    surroundings: _Surroundings,
) -> None:
    """Call a function in this process and send back what it returns."""
    surroundings.enter()
    os.setpgid(0, 0)  # so that what it starts can be ended with it
    os.dup2(2, 1)  # standard output belongs to the command; libraries may chatter on standard error
    threading.Thread(target=_die_with_parent, daemon=True).start()
    returned = function(*arguments)
    with suppress(BrokenPipeError):  # the command has been interrupted meanwhile
        sender.send(returned)


def attempt(experiment: Experiment) -> Outcome:
    """Run one experiment in this process, write its result, and say how it ended."""
    try:
        return Outcome("ok", path=files.write(experiment.run(), experiment.settings.results))
    except Unavailable as error:
        return _record(experiment, "skipped", str(error), exit_code=2 if isinstance(error, MissingWeights) else 0)
    except IrbenchError as error:
        return _record(experiment, "failed", str(error), exit_code=2)
    except Exception as error:  # a bug of irbench or of a plug-in: the grid goes on, the traceback is stored
        if _is_out_of_memory(error):
            return _record(experiment, "out_of_memory", str(error).partition("\n")[0], exit_code=1)
        return _record(experiment, "failed", traceback.format_exc(), exit_code=1)


def _record(experiment: Experiment, status: Status, reason: str, *, exit_code: int) -> Outcome:
    """Write the result of a cell that did not end well, unless a good one stands in its place."""
    reason = _cut(reason)
    older = experiment.older()
    if older is not None and older.status == "ok":
        return Outcome(status, reason, None, exit_code)
    path = files.write(experiment.unfinished(status, reason), experiment.settings.results)
    return Outcome(status, reason, path, exit_code)


def _cut(reason: str) -> str:
    """Return a reason without control characters, and of a long one the beginning and more of the end."""
    reason = as_message(reason)
    if len(reason) <= _REASON:
        return reason
    return f"{reason[: _REASON // 4]}\n… {len(reason) - _REASON:,} characters …\n{reason[-3 * _REASON // 4 :]}"


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _how_it_died(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"its process ended with status {code} and without a result"
    name = signal.Signals(-code).name
    return f"its process was ended by {name}" + (" (was there enough memory?)" if name == "SIGKILL" else "")


def _end(process: BaseProcess) -> None:
    """End the process and everything that it started."""
    if process.is_alive() and process.pid is not None:
        process.join(0.2)  # it has sent its outcome and is leaving
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.pid is None:
            break
        with suppress(ProcessLookupError, PermissionError):  # it has left with all its group, or made none yet
            os.killpg(process.pid, sign)
        if process.is_alive():
            process.join(_GRACE)
    process.kill()


def _die_with_parent() -> None:
    """Leave as soon as the command that started this process is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
