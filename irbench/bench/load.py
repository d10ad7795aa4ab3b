"""Queries of several clients at once against one index; see `irbench.runtime.load`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from irbench.bench.search import Plan as SearchPlan
from irbench.bench.search import Vectors, prepare, searcher_of
from irbench.config import recipes
from irbench.core.embeddings import Embeddings
from irbench.core.errors import Unavailable
from irbench.protocols import LibrarySearcher
from irbench.retrievers.search_index import SearchIndex
from irbench.runtime.load import WAYS, Load, loads
from irbench.runtime.machine import Runtime


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    vectors: SearchPlan
    clients: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    ways: tuple[str, ...] = WAYS
    seconds: float = 2.0  # of a steady state, at least


@dataclass(frozen=True, kw_only=True)
class Loaded(Load):
    """One index under load."""

    search: str


def measure(plan: Plan, runtime: Runtime, vectors: Vectors | None = None) -> Iterator[Loaded]:
    """Build each index once and put it under the load of each number of clients."""
    vectors = vectors or prepare(plan.vectors, runtime)
    queries = [vectors.queries.array[row : row + 1] for row in range(len(vectors.queries))]
    for name in plan.vectors.searches or recipes.names("methods/search"):
        with threadpool_limits(1):  # each client has a thread of its own
            try:
                index = searcher_of(name, (), replace(runtime, threads=1))
                index.build(vectors.gallery)
            except Unavailable as error:
                yield Loaded(search=name, reason=str(error))
                continue
            yield from _loaded(name, index, queries, plan)


def _loaded(name: str, index: SearchIndex, queries: Sequence[NDArray[np.float32]], plan: Plan) -> Iterator[Loaded]:
    k, embeddings = plan.vectors.k, [Embeddings(query) for query in queries]
    found = loads(
        _asked(index, queries, k),
        lambda number: index.search(embeddings[number % len(embeddings)], k).rows,
        clients=plan.clients,
        ways=plan.ways,
        seconds=plan.seconds,
    )
    for load in found:
        yield Loaded(search=name, **asdict(load))


def _asked(index: SearchIndex, queries: Sequence[NDArray[np.float32]], k: int) -> Callable[[int], object]:
    """Return the function that answers the n-th query, by the library alone where that can be asked."""
    searcher = index.searcher
    if isinstance(searcher, LibrarySearcher):
        return lambda number: searcher.call_library(queries[number % len(queries)], k)
    embeddings = [Embeddings(query) for query in queries]
    return lambda number: index.search(embeddings[number % len(embeddings)], k)
