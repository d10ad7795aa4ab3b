"""Cost and recall of each index on clustered random vectors, or on given ones: build, throughput, latency, recall."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from irbench.bench.timing import median, repeated
from irbench.config import recipes
from irbench.config.recipes import SearchHead
from irbench.config.registry import SEARCHERS
from irbench.core.cell import Overrides
from irbench.core.embeddings import Embeddings
from irbench.core.errors import DataError, Unavailable
from irbench.core.ranking import Ranking
from irbench.data.arrays import check_dimensions, read_vectors
from irbench.experiments.neighbours import Neighbours
from irbench.experiments.plan import search_named
from irbench.retrievers.search_index import SearchIndex
from irbench.runtime.machine import Runtime

EXACT = "linear"  # the recipe of exact search
_SINGLES = 20  # queries that are searched one at a time


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings to measure."""

    searches: tuple[str, ...] = ()  # recipes; empty: all
    gallery: int = 100_000
    queries: int = 1000  # of given vectors at most half, which are then not in the gallery
    dim: int = 256
    clusters: int = 1000
    vectors: Path | None = None  # .npy of the gallery [N,D], in place of random vectors …
    query_vectors: Path | None = None  # … and of the queries [Q,D], in place of rows of the gallery
    k: int = 10
    dataset: str = ""  # whose values in the recipes of indexes are used; empty: those of none
    curves: bool = False  # measure every point of each index's query-parameter sweep too
    patience: float = 5.0  # seconds after which a search is not repeated


@dataclass(frozen=True, kw_only=True)
class Point:
    """One index at one setting; without numbers but with a reason where it is not available."""

    search: str
    setting: str  # overrides of the recipe, as in a result's variant
    build_s: float | None = None  # of the index, which several settings may share
    queries_per_s: float | None = None  # of all queries in one batch
    single_ms: float | None = None  # mean latency of single queries
    recall: float | None = None  # share of the exact neighbours that are found
    index_bytes: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Vectors:
    """What is searched, and the exact neighbours of the queries."""

    gallery: Embeddings  # [N,D]
    queries: Embeddings  # [Q,D]
    exact: Ranking  # [Q,K]
    held_out: bool = False  # are the queries rows that were taken out of the gallery?

    def recall(self, found: Ranking) -> float:
        """Return the share of the K exact neighbours that are among the first K found; equally near ones count."""
        k = min(self.exact.top_k, len(self.gallery))
        every = np.arange(len(self.queries))
        known = Neighbours(every, self.queries.array, self.gallery.array, self.exact)
        return known.recall_at([k], found.rows)[k]


def measure(plan: Plan, runtime: Runtime, vectors: Vectors | None = None) -> Iterator[Point]:
    """Build and search each index, of `vectors` or else of those of the plan."""
    names = plan.searches or recipes.names("methods/search")
    for name in names:
        search_named(name)
    vectors = vectors or prepare(plan, runtime)
    for name in names:
        curve = sweep_of(name, plan.dataset) if plan.curves else ()
        yield from _curve(name, ((), *curve), vectors, plan, runtime)


def prepare(plan: Plan, runtime: Runtime) -> Vectors:
    """Read or draw the vectors of a plan and search them exactly; `DataError` for files that hold none."""
    gallery, queries = drawn(plan) if plan.vectors is None else _read(plan.vectors, plan)
    exact = searcher_of(EXACT, (), runtime)
    exact.build(gallery)
    held_out = plan.vectors is not None and plan.query_vectors is None
    return Vectors(gallery, queries, exact.search(queries, plan.k), held_out)


def _read(path: Path, plan: Plan) -> tuple[Embeddings, Embeddings]:
    """Return the vectors as they are; without queries, an even sample of the gallery is held out of it."""
    gallery = read_vectors(path)
    if plan.query_vectors is None:
        if len(gallery) < 2:
            raise DataError(f"{path}: of a single vector none can be held out as a query", code="bad-vectors")
        count = min(plan.queries, len(gallery) // 2)
        sample = np.arange(count) * len(gallery) // count
        return Embeddings(np.delete(gallery, sample, axis=0)), Embeddings(gallery[sample])
    queries = read_vectors(plan.query_vectors)
    check_dimensions(gallery, path, queries, plan.query_vectors)
    return Embeddings(gallery), Embeddings(queries)


def drawn(plan: Plan) -> tuple[Embeddings, Embeddings]:
    """Return unit vectors in common clusters."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(plan.clusters, plan.dim)).astype(np.float32)

    def draw(count: int) -> Embeddings:
        noise = rng.normal(size=(count, plan.dim)).astype(np.float32)
        return Embeddings(centres[rng.integers(plan.clusters, size=count)] + noise).unit()

    return draw(plan.gallery), draw(plan.queries)


def sweep_of(name: str, dataset: str = "") -> Sequence[Overrides]:
    """Return the settings of a recipe between fast and exact; none where it declares none."""
    return getattr(_config(name, (), dataset), "sweep", ())


def searcher_of(name: str, setting: Overrides, runtime: Runtime, dataset: str = "") -> SearchIndex:
    """Return the searcher of a recipe, for a data set and with these keys set, as the harness uses it."""
    return SearchIndex(_searcher(name, setting, runtime, dataset))


def _searcher(name: str, setting: Overrides, runtime: Runtime, dataset: str) -> Any:
    recipe, _ = search_named(name)
    kind = recipes.find("methods/search", recipe).head(SearchHead).searcher
    return SEARCHERS.load(kind)(_config(name, setting, dataset), runtime)


def _config(name: str, setting: Overrides, dataset: str) -> Any:
    recipe_name, named = search_named(name)
    recipe = recipes.find("methods/search", recipe_name)
    schema = SEARCHERS.schema(recipe.head(SearchHead).searcher)
    return recipe.config(schema, scale="paper", dataset=dataset, **(dict(named) | dict(setting)))


def _curve(name: str, settings: Sequence[Overrides], vectors: Vectors, plan: Plan, runtime: Runtime) -> Iterator[Point]:
    """Measure settings of one recipe; an index is built again only for those that need another one."""
    index: SearchIndex | None = None
    build_s = 0.0
    for setting in settings:
        point = Point(search=name, setting=",".join(f"{key}-{value}" for key, value in setting))
        try:
            if index is None or not index.set_query_parameters(_searcher(name, setting, runtime, plan.dataset)):
                index, start = searcher_of(name, setting, runtime, plan.dataset), perf_counter()
                index.build(vectors.gallery)
                build_s = perf_counter() - start
        except Unavailable as error:
            index = None
            yield replace(point, reason=str(error))
        else:
            yield replace(_measured(point, index, vectors, plan, runtime), build_s=build_s)


def _measured(point: Point, searcher: SearchIndex, vectors: Vectors, plan: Plan, runtime: Runtime) -> Point:
    queries = vectors.queries
    batch_s = median(repeated(lambda: searcher.search(queries, plan.k), runtime, plan.patience), "total")
    single = [Embeddings(queries.array[row : row + 1]) for row in range(min(_SINGLES, len(queries)))]
    single_s = median(
        repeated(lambda: [searcher.search(one, plan.k) for one in single], runtime, plan.patience), "total"
    )
    return replace(
        point,
        queries_per_s=len(queries) / batch_s,
        single_ms=1000 * single_s / len(single),
        recall=vectors.recall(searcher.search(queries, plan.k)),
        index_bytes=searcher.describe().index_bytes,
    )
