"""The figures of a report: those of many results are drawn by other processes, while this one makes the tables."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

from irbench.core.errors import IrbenchError, StoreError
from irbench.report.figures import KINDS, FigureOptions, draw, svg
from irbench.report.figures.selection import name_of
from irbench.results.artefacts import Artefacts
from irbench.results.rescore import known_metrics
from irbench.results.schema import Result

DRAWN = tuple(kind for kind in KINDS if kind != "retrieved")  # which the explorer shows
_MANY = 300  # results of which drawing takes longer than starting a process
_MOST = 8  # processes: each holds the results


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as an `<svg>` element, or why there is none."""

    kind: str
    svg: str = ""
    notes: tuple[str, ...] = ()
    reason: str = ""


Drawings = Callable[[str, str], Figure]  # of a data set and kind


@contextmanager
def drawings(results: Sequence[Result], artefacts: Artefacts) -> Iterator[Drawings]:
    """Yield what returns a figure; where there are many results, other processes begin to draw all figures at once."""
    workers = min(_processors() - 1, _MOST)
    if len(results) < _MANY or workers < 1:
        yield partial(_figure, results, artefacts)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(results, replace(artefacts))
    )
    try:
        names = dict.fromkeys(name_of(result.dataset) for result in results)
        waiting = {(name, kind): pool.submit(_of_worker, name, kind) for name in names for kind in DRAWN}
        yield lambda name, kind: waiting[name, kind].result()
    except BrokenProcessPool as error:
        raise StoreError(
            "a process that drew figures was killed; there may be too little memory", code="process-killed"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _figure(results: Sequence[Result], artefacts: Artefacts, name: str, kind: str) -> Figure:
    here = [result for result in results if name_of(result.dataset) == name]
    try:
        drawing = draw(kind, here, artefacts, FigureOptions(datasets=(name,)))
        return Figure(kind=kind, svg=svg(drawing), notes=drawing.notes)
    except IrbenchError as error:
        return Figure(kind=kind, reason=str(error))


_given: list[tuple[Sequence[Result], Artefacts]] = []  # to this process, where it is one that draws


def _begin(results: Sequence[Result], artefacts: Artefacts) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that waits for this one
    known_metrics()
    _given.append((results, artefacts))


def _of_worker(name: str, kind: str) -> Figure:
    return _figure(*_given[0], name, kind)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
