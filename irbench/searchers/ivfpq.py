"""Inverted file with product quantisation (Faiss). Recipe: methods/search/ivfpq.toml.

The gallery is split into `nlist` cells by k-means; what remains of a vector after its cell's centre is cut into
`subspaces` parts, each replaced by the nearest of 2^`bits` centroids. A query visits `nprobe` cells, so it may find
fewer than k answers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.embeddings import Embeddings
from irbench.machine import Runtime
from irbench.protocols import Description
from irbench.ranking import Ranking
from irbench.searchers import _faiss
from irbench.searchers._answers import as_gallery, as_queries, as_ranking

_VECTORS_PER_CELL = 39  # below this Faiss calls a cell's centre badly trained; the paper's own nlist are just above


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params]."""

    nlist: int  # cells of the inverted file
    nprobe: int  # cells visited for each query
    subspaces: int  # parts that a vector is cut into
    bits: int  # 2^bits centroids in each part


class IvfPqSearcher:
    """IVFPQ on the CPU. Dimensions are filled up with zeros to a multiple of `subspaces`; distances stay the same."""

    _index: Any  # faiss.IndexIVFPQ
    _dim: int

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime

    def build(self, gallery: Embeddings) -> None:
        """Train both quantisers on the gallery, as far as its size allows, and add every row."""
        faiss = _faiss.library()
        vectors = self._padded(as_gallery(gallery))
        size, dim = vectors.shape
        nlist = min(self.config.nlist, max(1, size // _VECTORS_PER_CELL))
        bits = min(self.config.bits, max(1, size.bit_length() - 1))
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, nlist, self.config.subspaces, bits)
        for clustering in (index.cp, index.pq.cp):
            clustering.seed = self.runtime.seed % 2**31
            clustering.min_points_per_centroid = 1  # small galleries are dealt with above, without a warning each
        index.train(np.resize(vectors, (max(size, 2**bits), dim)))  # a lone image is its own second centroid
        index.add(vectors)
        index.nprobe = min(self.config.nprobe, nlist)
        self._index, self._dim = index, gallery.dim

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows of the visited cells, scored by the distance to their quantised vectors."""
        asked = self._padded(as_queries(queries, self._dim))
        distances, rows = self._index.search(asked, min(k, self._index.ntotal))
        return as_ranking(rows, distances, k)

    def _padded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % self.config.subspaces)))

    def describe(self) -> Description:
        """Tell the kind of index, its bytes, and what a small gallery made of the recipe's numbers."""
        wish, index = self.config, self._index
        details = {
            "index": f"IVF{index.nlist},PQ{index.pq.M}x{index.pq.nbits}, Euclidean",
            "nlist": _lowered(index.nlist, wish.nlist),
            "nprobe": _lowered(index.nprobe, wish.nprobe),
            "bits": _lowered(index.pq.nbits, wish.bits),
        }
        return Description(index_bytes=_faiss.index_bytes(index), details=details)


def _lowered(used: int, wish: int) -> int | str:
    return used if used == wish else f"{used} of the recipe's {wish}: the gallery is small"
