"""Inverted file with product quantisation (Faiss). Recipe: methods/search/ivfpq.toml.

The gallery is split into `nlist` cells by k-means; what remains of a vector after its cell's centre is cut into
`subspaces` parts, each replaced by the nearest of 2^`bits` centroids. A query visits `nprobe` cells, so it may find
fewer than k answers.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from irbench.core.cell import Overrides
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.promises import Promises
from irbench.core.ranking import Ranking
from irbench.core.rows import Rows
from irbench.retrievers.searchers import _faiss
from irbench.retrievers.searchers._ranking import by_distance
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock

_VECTORS_PER_CELL = 39  # below this Faiss calls a cell's centre badly trained; the paper's own nlist are just above


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params]."""

    sweep: ClassVar[tuple[Overrides, ...]] = tuple((("nprobe", cells),) for cells in (1, 2, 4, 8, 16, 32))
    query_keys: ClassVar[frozenset[str]] = frozenset({"nprobe"})

    nlist: PositiveInt  # cells of the inverted file
    nprobe: PositiveInt  # cells visited for each query
    subspaces: PositiveInt  # parts that a vector is cut into
    bits: Annotated[int, Field(ge=1, le=16)]  # 2^bits centroids in each part


class IvfPqSearcher:
    """IVFPQ, built on the CPU and searched on the GPU where there is one and Faiss can hold such an index there.

    Dimensions are filled up with zeros to a multiple of `subspaces`; distances stay the same.
    """

    promises = Promises(recall=0.4)  # 32 bits for a vector, one cell visited

    _index: Any  # faiss.IndexIVFPQ in host memory
    _searched: _faiss.Searched
    _rows: Rows

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime

    def build(self, gallery: Embeddings) -> None:
        """Train both quantisers on the gallery, as far as its size allows, and add every row."""
        faiss = _faiss.library()
        vectors = self._padded(gallery.array)
        size, dim = vectors.shape
        nlist = min(self.config.nlist, max(1, size // _VECTORS_PER_CELL))
        bits = min(self.config.bits, max(1, size.bit_length() - 1))
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, nlist, self.config.subspaces, bits)
        for clustering in (index.cp, index.pq.cp):
            clustering.seed = self.runtime.seed % 2**31
            clustering.min_points_per_centroid = 1  # small galleries are dealt with above, without a warning each
        # a lone image is its own second centroid; a gallery of any size is not copied
        index.train(vectors if size >= 2**bits else np.resize(vectors, (2**bits, dim)))
        index.add(vectors)
        self._index, self._rows = index, Rows.first(size)
        self.set_query_parameters(self.config)

    def set_query_parameters(self, config: Config) -> bool:
        """Visit another number of cells."""
        self.config = config
        self._index.nprobe = min(config.nprobe, self._index.nlist)
        self._searched = self._copied()
        return True

    def add(self, vectors: Embeddings) -> None:
        """Quantise more vectors with the quantisers as they were trained."""
        padded = self._padded(vectors.array)
        rows = self._rows.with_more(len(vectors))
        self._index.add_with_ids(padded, rows.numbers[len(self._rows) :])
        self._rows = rows
        self._searched = self._copied()

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Take rows out of their cells; the index keeps the numbers of the others itself."""
        self._rows = self._rows.without(rows)
        self._index.remove_ids(np.unique(rows))
        self._searched = self._copied()

    def _copied(self) -> _faiss.Searched:
        return _faiss.searched(self._index, np.zeros((1, self._index.d), np.float32), self.runtime)

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows of the visited cells, scored by the distance to their quantised vectors."""
        distances, rows = self.call_library(queries.array, k)
        with off_the_clock():
            return by_distance(rows, distances, k)

    def call_library(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search the index: distances and rows [Q,K]."""
        return self._searched.search(self._padded(queries), k)

    def _padded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        missing = -vectors.shape[1] % self.config.subspaces
        return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors

    def count_distances(self, queries: Embeddings, k: int) -> float | None:
        """Return how many distances a query takes on average, where Faiss counts them."""
        return _faiss.count_distances(self._index, self._padded(queries.array), k)

    def describe(self) -> Description:
        """Tell the kind of index, its bytes, and what a small gallery made of the recipe's numbers."""
        wish, index = self.config, self._index
        details = {
            "index": f"IVF{index.nlist},PQ{index.pq.M}x{index.pq.nbits}, Euclidean",
            "device": self._searched.device,
            "nlist": _lowered(index.nlist, wish.nlist),
            "nprobe": _lowered(index.nprobe, wish.nprobe),
            "bits": _lowered(index.pq.nbits, wish.bits),
        }
        return Description(index_bytes=_faiss.index_bytes(index), details=details)


def _lowered(used: int, wish: int) -> int | str:
    return used if used == wish else f"{used} of the recipe's {wish}: the gallery is small"
