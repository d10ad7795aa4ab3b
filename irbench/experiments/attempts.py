"""Attempts at a cell, each in a process of its own: a crash, a hang or a memory hog ends one cell and not the grid."""

import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from irbench.core.errors import (
    ContractError,
    FileRaisedError,
    IrbenchError,
    MissingWeights,
    Unavailable,
    UsageError,
    is_out_of_memory,
)
from irbench.core.text import as_message
from irbench.experiments import run
from irbench.experiments.experiment import Experiment
from irbench.experiments.processes import Ended, Stop, apart, each_apart
from irbench.results import files
from irbench.results.schema import Status
from irbench.runtime.cache import Busy
from irbench.runtime.environment import without_secrets
from irbench.runtime.together import OtherFailed

_Answer = TypeVar("_Answer")
_IN_VAIN = 2  # processes in succession that end without one answer
_REASON = 4000  # characters of a reason that are stored


@dataclass(frozen=True)
class Outcome:
    """How a cell ended, and where its result was written (None where an older good one was left in its place)."""

    status: Status
    reason: str = ""
    path: Path | None = None
    exit_code: int = 0  # what it makes of the command's exit status
    seconds: float = 0.0  # that it took
    same_index: bool = False  # as that of the cell before: it was not built again


@dataclass(frozen=True)
class Prepared:
    """What a cell takes from the work folder is there; or, where it is busy, another process is making a part of it."""

    busy: bool = False
    seconds: float = 0.0  # that it took


def run_apart(
    experiments: Sequence[Experiment], timeout: float | None, stop: Stop | None = None
) -> Generator[Outcome, None, None]:
    """Run experiments of one index (equal `index_key`) and yield how each ended, in their order.

    In a fresh process, in which each may take `timeout` seconds; what is left when one has ended that process goes on
    in another. Those of live objects run in this one. Raises `StoreError` where not even how one ended can be written,
    and `Stopped` once `stop` is set.
    """
    if not experiments[0].portable:
        yield from attempt(experiments)
        return
    left, in_vain = deque(experiments), 0
    while left:
        start = perf_counter()
        try:
            with closing(each_apart(_attempts, [one.sent() for one in left], timeout=timeout, stop=stop)) as answers:
                for answer in answers:
                    if isinstance(answer, IrbenchError):
                        raise answer
                    left.popleft()
                    in_vain = 0
                    yield replace(answer, seconds=perf_counter() - start)
                    start = perf_counter()
        except Ended as end:
            in_vain += 1
            ended = record(left.popleft(), end.status, end.reason, exit_code=1)
            yield replace(ended, seconds=perf_counter() - start)
            while in_vain == _IN_VAIN and left:  # it is the index that they have in common
                yield record(left.popleft(), end.status, f"{end.reason}, as other settings of this index", exit_code=1)


def prepare_apart(experiment: Experiment, timeout: float | None, stop: Stop | None = None) -> Prepared | Outcome:
    """Prepare one experiment in a fresh process, or return how it ended; for the rest see `run_apart`."""
    try:
        answer = apart(_prepare, experiment.sent(), timeout=timeout, stop=stop)
    except Ended as end:
        return record(experiment, end.status, end.reason, exit_code=1)
    if isinstance(answer, IrbenchError):
        raise answer
    return answer


def attend_apart(experiment: Experiment, timeout: float | None) -> None:
    """Train one experiment's networks with the first of several processes, which stores and reports what becomes of it.

    In a fresh process; that it ended without an answer is told to the others.
    """
    try:
        apart(_attend, experiment.sent(), timeout=timeout)
    except Ended as end:
        experiment.settings.together.fail(end.reason)


def _attend(experiment: Experiment) -> None:
    with suppress(OtherFailed):
        try:
            experiment.trained()
        except Exception as error:
            experiment.settings.together.fail(f"{type(error).__name__}: {error}")


def _attempts(experiments: Sequence[Experiment]) -> Iterator[Outcome | IrbenchError]:
    """Yield how each experiment ended, or why not even that can be written."""
    try:
        yield from attempt(experiments)
    except IrbenchError as error:
        yield error


def _prepare(experiment: Experiment) -> Prepared | Outcome | IrbenchError:
    try:
        return prepare(experiment)
    except IrbenchError as error:
        return error


def check_apart(experiment: Experiment, timeout: float | None, *, force: bool) -> Outcome | None:
    """Check an experiment whose recipes name code of the user's, which this process does not import.

    Returns how the cell ended if that code cannot be imported or built, else None. Raises `UsageError` for what is
    wrong with the request.
    """
    try:
        found = apart(_examined, experiment.anchored(), force, timeout=timeout)
    except Ended as end:
        found = _Examined(inputs="", reason=end.reason, status=end.status)
    if found.code:
        raise UsageError(found.reason, code=found.code)
    experiment.adopt(found.inputs)
    if not found.reason:
        return None
    return record(experiment, found.status, found.reason, exit_code=1)


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


def attempt(experiments: Sequence[Experiment]) -> Iterator[Outcome]:
    """Run experiments of one index in this process, write their results, and yield how each ended."""
    shared: run.Indexed | None = None

    def carry_out(experiment: Experiment) -> Outcome:
        nonlocal shared
        same_index = shared is not None and shared.answers_for(experiment)
        if shared is None or not same_index:
            shared = None  # makes room for the other one
            shared = run.index(experiment)
        path = files.write(run.measure(experiment, shared, brief=same_index), experiment.settings.results)
        return Outcome("ok", path=path, same_index=same_index)

    for experiment in experiments:
        outcome = _ended(experiment, partial(carry_out, experiment))
        if outcome.status != "ok":
            shared = None  # what has failed once may be in any state
        yield outcome


def prepare(experiment: Experiment) -> Prepared | Outcome:
    """Prepare one experiment in this process, without waiting for what others make; or say how it ended."""
    return _ended(experiment, lambda: _prepared(experiment))


def _prepared(experiment: Experiment) -> Prepared:
    try:
        replace(experiment, settings=replace(experiment.settings, waits=False)).prepare()
    except Busy:
        return Prepared(busy=True)
    return Prepared()


def _ended(experiment: Experiment, what: Callable[[], _Answer]) -> _Answer | Outcome:
    """Do something with an experiment; what it raises is stored as how it ended."""
    try:
        return what()
    except Unavailable as error:
        return record(experiment, "skipped", str(error), exit_code=2 if isinstance(error, MissingWeights) else 0)
    except IrbenchError as error:
        # the request was sound where a plug-in broke its contract
        return record(experiment, "failed", str(error), exit_code=1 if isinstance(error, ContractError) else 2)
    except OtherFailed as error:
        return record(experiment, "failed", str(error), exit_code=1)
    except Exception as error:  # a bug of irbench or of a plug-in: the grid goes on, the traceback is stored
        if is_out_of_memory(error):
            return record(experiment, "out_of_memory", str(error).partition("\n")[0], exit_code=1)
        return record(experiment, "failed", traceback.format_exc(), exit_code=1)


def record(experiment: Experiment, status: Status, reason: str, *, exit_code: int) -> Outcome:
    """Write the result of a cell that did not end well, unless a good one stands in its place."""
    reason = _cut(reason)
    older = experiment.older()
    if older is not None and older.status == "ok":
        return Outcome(status, reason, None, exit_code)
    path = files.write(experiment.unfinished(status, reason), experiment.settings.results)
    return Outcome(status, reason, path, exit_code)


def _cut(reason: str) -> str:
    """Return a reason without control characters and secrets, and of a long one the beginning and more of the end."""
    reason = without_secrets(as_message(reason))
    if len(reason) <= _REASON:
        return reason
    return f"{reason[: _REASON // 4]}\n… {len(reason) - _REASON:,} characters …\n{reason[-3 * _REASON // 4 :]}"
