"""One bit for each dimension: is it above the gallery's mean? Recipe: methods/search/binary.toml.

Bits are compared by their Hamming distance (Faiss); the nearest candidates may be scored again by exact distances.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from irbench.config.fields import Share
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.promises import Promises
from irbench.core.ranking import Ranking
from irbench.retrievers.searchers import _faiss
from irbench.retrievers.searchers._ranking import by_distance
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock

_BITS = 8  # of a byte
_APART = 4  # squared distance of two numbers -1 and 1


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params]."""

    rerank: NonNegativeInt = 0  # candidates that are scored by exact distances, never fewer than k; 0: by their bits
    recall: Share = 0.1  # least share of the true 10 nearest that is found, see `Promises`


class BinarySearcher:
    """All bits of the gallery compared with those of the query."""

    _index: Any  # faiss.IndexBinaryFlat
    _mean: NDArray[np.float32]  # [D]
    _vectors: NDArray[np.float32] | None  # [N,D] where candidates are scored again

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    @property
    def promises(self) -> Promises:
        """What the recipe says of its index."""
        return Promises(recall=self.config.recall, exact_scores=self.config.rerank > 0)

    def build(self, gallery: Embeddings) -> None:
        """Keep the bits of every row, and the rows themselves where candidates are scored again."""
        self._mean = gallery.array.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._index = _faiss.library().IndexBinaryFlat(_BITS * -(-gallery.dim // _BITS))
        self._index.add(self._bits(gallery.array))
        self._vectors = gallery.array if self.config.rerank else None

    def _bits(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the bits [N,D/8] of vectors [N,D]; what is missing to a byte is 0 in all of them."""
        return np.packbits(vectors > self._mean, axis=1)

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows by their bits or, re-ranked, by exact distances."""
        distances, rows = self.call_library(queries.array, k)
        with off_the_clock():
            return by_distance(rows, distances, k)

    def call_library(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Compare bits, and where candidates are scored again compute their distances: these and rows [Q,C]."""
        width = min(max(k, self.config.rerank), self._index.ntotal)
        differing, rows = self._index.search(self._bits(queries), width)
        if self._vectors is not None:
            return _faiss.exact_distances(queries, self._vectors, rows), rows
        return np.float32(_APART) * differing.astype(np.float32), rows

    def count_distances(self, queries: Embeddings, k: int) -> float:  # noqa: ARG002 -- the same for all
        """Return the number of vectors."""
        return float(self._index.ntotal)

    def describe(self) -> Description:
        """Tell the kind of index, and the bytes of bits and mean; of the vectors too where they are kept."""
        bits = self._index.ntotal * self._index.d // _BITS
        vectors = 0 if self._vectors is None else self._vectors.nbytes
        again = {"reranked": self.config.rerank} if self.config.rerank else {}
        return Description(
            index_bytes=bits + self._mean.nbytes + vectors,
            details={"index": "a bit for each dimension, Hamming distance", **again},
        )
