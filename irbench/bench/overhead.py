"""What irbench adds to a library: the same searches through both, in turns, on one index in one process.

What results report of a search is `seconds`: the library's work, without irbench's own checks. `wall_s` has those too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from irbench.bench.search import Plan as SearchPlan
from irbench.bench.search import drawn, searcher_of
from irbench.config import recipes
from irbench.core.embeddings import Embeddings
from irbench.core.errors import Unavailable
from irbench.protocols import LibrarySearcher
from irbench.retrievers.search_index import SearchIndex
from irbench.runtime.machine import Runtime, use_threads
from irbench.runtime.timer import Timer

_ROUNDS = 9  # of irbench and the library in turns, at most
_LIMIT, _LEAST = 1.03, 5e-6  # times the library's, or so many seconds a query more: as much may be added

Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    searches: tuple[str, ...] = ()  # recipes; empty: all
    gallery: int = 10_000
    queries: int = 1000  # of a batch
    singles: int = 200  # queries that are searched one at a time
    dim: int = 128
    k: int = 10
    patience: float = 5.0  # seconds after which a search is not repeated


@dataclass(frozen=True, kw_only=True)
class InTurns:
    """Medians over rounds, for all queries together."""

    queries: int
    seconds: float  # that irbench reports
    wall_s: float  # that it takes
    library_s: float | None  # None where the library is not called alone

    @property
    def ratio(self) -> float | None:
        """Reported time relative to the library's."""
        return self.seconds / self.library_s if self.library_s else None

    @property
    def added_s(self) -> float | None:
        """Reported seconds of a query beyond the library's."""
        return None if self.library_s is None else (self.seconds - self.library_s) / self.queries

    @property
    def is_little(self) -> bool | None:
        """Is at most 3 % added, or 5 microseconds a query?"""
        if self.ratio is None or self.added_s is None:
            return None
        return self.ratio <= _LIMIT or self.added_s <= _LEAST


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """One search, asked in one way; without numbers but with a reason where it was not measured."""

    search: str
    asked: str  # "batch" or "single"
    times: InTurns | None = None
    reason: str = ""


def measure(plan: Plan, runtime: Runtime) -> Iterator[Overhead]:
    """Measure every search, in batches and one query at a time."""
    use_threads(runtime.threads)
    gallery, queries = drawn(SearchPlan(gallery=plan.gallery, queries=plan.queries, dim=plan.dim))
    singles = [queries.array[row : row + 1] for row in range(min(plan.singles, len(queries)))]
    for name in plan.searches or recipes.names("methods/search"):
        with threadpool_limits(runtime.threads):
            try:
                index = searcher_of(name, (), runtime)
                index.build(gallery)
            except Unavailable as error:
                yield Overhead(search=name, asked="", reason=str(error))
                continue
            for asked, batches in (("batch", [queries.array]), ("single", singles)):
                yield Overhead(search=name, asked=asked, times=in_turns(index, batches, plan.k, plan.patience))


def in_turns(index: SearchIndex, batches: Sequence[Vectors], k: int, patience: float) -> InTurns:
    """Search batches of queries through irbench and through the library alone, which take turns.

    They do so for each batch: a library that is called in a loop finds all its data in the processor's caches, which no
    caller who does anything else leaves there. Each round begins with another one of the two.
    """
    embeddings = [Embeddings(batch) for batch in batches]
    library = index.searcher if isinstance(index.searcher, LibrarySearcher) else None
    _round(index, embeddings, library, k, library_first=False)
    rounds: list[_Round] = []
    begun = perf_counter()
    while len(rounds) < _ROUNDS and (not rounds or perf_counter() - begun < patience):
        rounds.append(_round(index, embeddings, library, k, library_first=len(rounds) % 2 > 0))
    return InTurns(
        queries=sum(map(len, batches)),
        seconds=float(np.median([one.seconds for one in rounds])),
        wall_s=float(np.median([one.wall_s for one in rounds])),
        library_s=float(np.median([one.library_s for one in rounds])) if library else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Round:
    seconds: float
    wall_s: float
    library_s: float


def _round(
    index: SearchIndex, batches: Sequence[Embeddings], library: LibrarySearcher | None, k: int, *, library_first: bool
) -> _Round:
    """Search each batch once through irbench and once through the library; a single batch is the same for both."""
    timer, wall, alone = Timer(bypass_cache=True), 0.0, 0.0

    def through_irbench(batch: Embeddings) -> float:
        start = perf_counter()
        with timer.run():
            index.search(batch, k)
        return perf_counter() - start

    def through_library(batch: Embeddings) -> float:
        start = perf_counter()
        if library is not None:
            library.call_library(batch.array, k)
        return perf_counter() - start

    for number, batch in enumerate(batches):
        other = batches[(number + len(batches) // 2) % len(batches)]  # what the same query visits is in the caches
        if library_first:
            alone += through_library(other)
        wall += through_irbench(batch)
        if not library_first:
            alone += through_library(other)
    return _Round(seconds=timer.seconds["total"], wall_s=wall, library_s=alone)
