"""Exact search: every gallery vector is compared (Faiss flat index). Recipe: methods/search/linear.toml.

Faiss is fast because it computes |q|² + |g|² - 2qg by matrix products, which cancels the leading digits of nearby
vectors: duplicates get different distances, and near neighbours swap places with the size of the batch. So Faiss only
proposes candidates here. Their distances are computed again from differences, and a query whose candidates are not
certain to hold the true answers is compared with the whole gallery that way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.promises import Promises
from irbench.core.ranking import Ranking
from irbench.core.rows import Rows
from irbench.retrievers.searchers import _faiss
from irbench.retrievers.searchers._ranking import by_distance
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock

_GPU_LIMIT = 2048  # most neighbours that Faiss finds on a GPU
_SCANNED_AT_ONCE = 1 << 22  # distances held in memory while whole galleries are compared
_SAFETY = 4  # errors outside the candidates are taken to be at most this many times those within


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params]."""

    spare: NonNegativeInt = 8  # candidates beyond k, so that duplicates at the k-th place seldom cost a full scan


class LinearSearcher:
    """Exact nearest neighbours; equal distances by lower row, whatever the batch and the device."""

    promises = Promises(recall=1.0, exact_scores=True)

    _flat: Any  # faiss.IndexFlatL2 in host memory
    _index: Any  # what proposes candidates: `_flat`, or its copy on the GPU
    _vectors: NDArray[np.float32]  # [N,D], a view of the index's own storage
    _rows: Rows

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime

    def build(self, gallery: Embeddings) -> None:
        """Copy the gallery into the index; building again starts afresh."""
        faiss = _faiss.library()
        self._flat = faiss.IndexFlatL2(gallery.dim)
        self._flat.add(gallery.array)
        self._hold(Rows.first(len(gallery)))

    def add(self, vectors: Embeddings) -> None:
        """Copy more vectors into the index."""
        self._flat.add(vectors.array)
        self._hold(self._rows.with_more(len(vectors)))

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Take rows out of the index; what stands after them moves up."""
        left = self._rows.without(rows)
        self._flat.remove_ids(self._rows.places(rows))
        self._hold(left)

    def _hold(self, rows: Rows) -> None:
        """Look at the index anew: its vectors are `rows` of the gallery."""
        faiss = _faiss.library()
        shape = (self._flat.ntotal, self._flat.d)
        self._rows = rows
        self._vectors = faiss.rev_swig_ptr(self._flat.get_xb(), shape[0] * shape[1]).reshape(shape)
        self._on_gpu = self.runtime.device == "cuda" and faiss.get_num_gpus() > 0
        self._index = self._flat
        if self._on_gpu:
            self._resources = faiss.StandardGpuResources()
            self._index = faiss.index_cpu_to_gpu(self._resources, 0, self._flat)
        self._longest = float(np.sqrt(np.einsum("nd,nd->n", self._vectors, self._vectors).max()))

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return the `k` nearest gallery rows of each query; putting them in exact order is off the clock."""
        size = len(self._vectors)
        width = min(size, k + self.config.spare, _GPU_LIMIT if self._on_gpu else size)
        proposed, rows = self._index.search(queries.array, width)
        with off_the_clock():
            return self._rows.named(self._exact(queries.array, proposed, rows, k))

    def call_library(self, queries: NDArray[np.float32], k: int) -> object:
        """Search the flat index."""
        return self._index.search(queries, k)

    def _exact(
        self, asked: NDArray[np.float32], proposed: NDArray[np.float32], rows: NDArray[np.int64], k: int
    ) -> Ranking:
        """Return the `k` nearest places of the index, given its candidates and their distances [Q,C]."""
        distances = self._distances(asked, rows)
        ranking = by_distance(rows, distances, k)
        doubtful = self._doubtful(asked, proposed, distances, -ranking.scores[:, -1])
        if not doubtful.any():
            return ranking
        found, scores = ranking.rows.copy(), ranking.scores.copy()
        parts = 1 + doubtful.sum() * len(self._vectors) // _SCANNED_AT_ONCE
        for part in np.array_split(np.flatnonzero(doubtful), parts):
            scanned = self._scan(asked[part], k)
            found[part], scores[part] = scanned.rows, scanned.scores
        return Ranking(found, scores)

    def _doubtful(
        self,
        queries: NDArray[np.float32],
        proposed: NDArray[np.float32],
        distances: NDArray[np.float32],
        last: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Tell for which queries a gallery row that was not proposed may be as near as the last answer.

        Such a row is, by Faiss's distances, no nearer than the worst candidate. How far these are off is seen on the
        candidates (a GPU may multiply in reduced precision), and is at least the rounding of a sum of D products.
        """
        if proposed.shape[1] == len(self._vectors):
            return np.isinf(distances.max(axis=1))  # Faiss leaves out what is too far for a float32
        with np.errstate(over="ignore", invalid="ignore"):  # NaN makes the comparison below false, hence a doubt
            lengths = np.linalg.norm(queries, axis=1) + self._longest
            rounding = np.finfo(np.float32).eps * np.sqrt(queries.shape[1]) * lengths**2
            margin = np.maximum(_SAFETY * np.abs(proposed - distances).max(axis=1), rounding)
            return np.logical_not(last < proposed.max(axis=1) - margin)

    def _scan(self, queries: NDArray[np.float32], k: int) -> Ranking:
        """Compare with the whole gallery."""
        every_row = np.tile(np.arange(len(self._vectors)), (len(queries), 1))
        return by_distance(every_row, self._distances(queries, every_row), k)

    def _distances(self, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return _faiss.exact_distances(queries, self._vectors, rows)

    def count_distances(self, queries: Embeddings, k: int) -> float:  # noqa: ARG002 -- the same for all
        """Return the number of vectors."""
        return float(len(self._vectors))

    def describe(self) -> Description:
        """Tell the kind of index and its bytes."""
        kind = "flat, Euclidean" + (", on the GPU" if self._on_gpu else "")
        return Description(index_bytes=_faiss.index_bytes(self._flat), details={"index": kind})
