"""The costly parts of a report, its tables and figures: of many results they are made on all processors."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

from irbench.core.errors import StoreError
from irbench.report.ranks import Judge
from irbench.results.artefacts import Artefacts
from irbench.results.rescore import known_metrics
from irbench.results.schema import Result
from irbench.runtime.machine import available_cores

_MANY = 300  # results of which a report takes longer than starting processes
_MOST = 8  # processes: each holds the results


@dataclass(frozen=True, eq=False)
class Given:
    """What a report is made from."""

    results: Sequence[Result]
    artefacts: Artefacts
    judge: Judge


Task = Callable[..., Any]  # a function of a module, of what is given and more arguments; what it returns is pickled
Begin = Callable[..., Callable[[], Any]]  # of a task and its other arguments: returns what waits for its value


@contextmanager
def tasks(given: Given) -> Iterator[Begin]:
    """Yield what begins a task; where there are few results, or one processor, it is done when its value is asked for.

    Raises:
        StoreError: a process was killed.
    """
    workers = min(available_cores(), _MOST)
    if len(given.results) < _MANY or workers < 2:
        yield lambda task, *arguments: partial(task, given, *arguments)
        return
    fresh = replace(given, artefacts=replace(given.artefacts))  # without the data sets that it has loaded
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_enter, initargs=(fresh,))
    try:
        yield lambda task, *arguments: pool.submit(_done, task, arguments).result
    except BrokenProcessPool as error:
        raise StoreError(
            "a process that made a part of the report was killed; there may be too little memory", code="process-killed"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_here: list[Given] = []  # what is given to this process, where it is one of the pool


def _enter(given: Given) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that waits for this one
    known_metrics()
    _here.append(given)


def _done(task: Task, arguments: Sequence[object]) -> object:
    return task(_here[0], *arguments)
