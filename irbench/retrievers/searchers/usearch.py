"""USearch: an HNSW graph that takes additions and removals (unum-cloud/usearch).

Recipe: methods/search/usearch.toml.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from irbench.core.cell import Overrides
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.promises import Promises
from irbench.core.ranking import MISSING, Ranking
from irbench.core.rows import Rows
from irbench.retrievers.searchers import _library
from irbench.retrievers.searchers._ranking import by_distance
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params], by the library's own names."""

    sweep: ClassVar[tuple[Overrides, ...]] = tuple(
        (("expansion_search", candidates),) for candidates in (16, 32, 64, 128, 256, 512)
    )
    query_keys: ClassVar[frozenset[str]] = frozenset({"expansion_search"})

    connectivity: PositiveInt  # neighbours of a vector, twice as many in the lowest layer
    expansion_add: PositiveInt  # candidates among which these are chosen
    expansion_search: PositiveInt  # candidates that a query keeps, never fewer than k
    dtype: Literal["f32", "f16", "bf16"] = "f32"  # of the vectors in the index


class UsearchSearcher:
    """An index that one thread builds, so that the same vectors give the same graph."""

    promises = Promises(recall=0.95)

    _index: Any
    _rows: Rows

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    def build(self, gallery: Embeddings) -> None:
        """Add every row of the gallery to an empty graph."""
        config = self.config
        self._index = library().Index(
            ndim=gallery.dim,
            metric="l2sq",
            dtype=config.dtype,
            connectivity=config.connectivity,
            expansion_add=config.expansion_add,
            expansion_search=config.expansion_search,
        )
        self._rows = Rows.first(len(gallery))
        self._add(self._rows.numbers, gallery)

    def add(self, vectors: Embeddings) -> None:
        """Add more vectors to the graph."""
        rows = self._rows.with_more(len(vectors))
        self._add(rows.numbers[len(self._rows) :], vectors)
        self._rows = rows

    def _add(self, rows: NDArray[np.int64], vectors: Embeddings) -> None:
        self._index.add(rows.astype(np.uint64), vectors.array, threads=1)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Mark rows as removed; the graph still leads through them."""
        self._rows = self._rows.without(rows)
        self._index.remove(np.unique(rows).astype(np.uint64), threads=1)

    def set_query_parameters(self, config: Config) -> bool:
        """Keep another number of candidates."""
        self.config = config
        self._index.expansion_search = config.expansion_search
        return True

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows, by the distances to the vectors as they are stored."""
        found = self.call_library(queries.array, k)
        with off_the_clock():
            rows, distances = (np.reshape(array, (len(queries), -1)) for array in (found.keys, found.distances))
            counts = np.reshape(np.asarray(getattr(found, "counts", rows.shape[1])), (-1, 1))
            answered = np.arange(rows.shape[1]) < counts
            return by_distance(np.where(answered, rows.astype(np.int64), MISSING), distances, k)

    def call_library(self, queries: NDArray[np.float32], k: int) -> Any:
        """Search the index: a `Matches`, or of several queries `BatchMatches`."""
        return self._index.search(queries, k, threads=self.runtime.threads or 0)

    def count_distances(self, queries: Embeddings, k: int) -> float:
        """Return how many distances the library computes for a query on average."""
        return float(self.call_library(queries.array, k).computed_distances) / len(queries)

    def describe(self) -> Description:
        """Tell the kind of index, and its bytes as the library writes it to disk, the vectors included."""
        kind = f"HNSW{self.config.connectivity}, Euclidean, vectors as {self.config.dtype}"
        details = {"index": kind, "expansion_search": self.config.expansion_search}
        return Description(index_bytes=int(self._index.serialized_length), details=details)


def library() -> Any:
    """Import USearch, or tell how to install it."""
    return _library.load("usearch.index", "USearch", "pip install 'irbench-retrieval[usearch]'")
