"""ScaNN: anisotropic quantisation, exact distances for the best, a tree above large galleries.

Recipe: methods/search/scann.toml. Which stages a gallery gets follows docs/algorithms.md of google-research/scann.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from irbench.config.fields import Part, Share
from irbench.core.cell import Overrides
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.promises import Promises
from irbench.core.ranking import MISSING, Ranking
from irbench.retrievers.searchers import _library
from irbench.retrievers.searchers._ranking import by_distance
from irbench.runtime.machine import Runtime
from irbench.runtime.silence import STDERR, silenced
from irbench.runtime.timer import off_the_clock

_CENTROIDS = 16  # of each block of a quantised vector: fewer images cannot train them
# With fewer, what a query gets alone is not what it gets in a batch, whose leaves ScaNN chooses by other arithmetic: of
# 31 leaves one gives 72 % the same results, three give 97 %.
_FEWEST_LEAVES = 3
_FLOAT = 4  # bytes, also of the number of a leaf; centres of leaves are doubles


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params]."""

    sweep: ClassVar[tuple[Overrides, ...]] = (
        *((("reorder", best),) for best in (200, 400, 800)),
        *((("tree_from", 0), ("leaves_searched", share)) for share in (0.02, 0.05, 0.1, 0.2, 0.5)),
    )

    query_keys: ClassVar[frozenset[str]] = frozenset({"reorder", "leaves_searched"})

    dimensions_per_block: PositiveInt  # of the quantiser; a block takes four bits
    anisotropic_threshold: Part  # 0.2: errors along the vector weigh more than errors across it
    reorder: NonNegativeInt  # candidates that get their exact distance; never fewer than k
    tree_from: NonNegativeInt  # galleries of this size and above are split into sqrt(N) leaves
    leaves_searched: Share  # the share of the leaves that a query visits
    training_sample: PositiveInt  # vectors that tree and quantiser are trained on, at most


class ScannSearcher:
    """ScaNN on the CPU, its results scored by exact distances. The library draws from fixed seeds of its own."""

    promises = Promises(recall=0.95, exact_scores=True)

    _index: Any
    _stages: list[str]

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime

    def build(self, gallery: Embeddings) -> None:
        """Train and fill the index."""
        self._size, self._dim = gallery.array.shape
        builder = library().builder(gallery.array, 1, "squared_l2")
        builder.set_n_training_threads(1)  # sums over vectors are then always taken in one order
        self._add_tree(builder)
        self._stages = self._add_scoring(builder, len(gallery))
        with silenced(STDERR):
            self._index = builder.build()

    def set_query_parameters(self, config: Config) -> bool:
        """Visit other leaves and score other candidates; False where an index has no stage for the latter."""
        if (config.reorder > 0) != (self.config.reorder > 0):
            return False
        self.config = config
        return True

    @property
    def _leaves(self) -> int:
        """Of the tree; 0 where the gallery has none."""
        return math.isqrt(self._size) if self._size >= self.config.tree_from else 0

    @property
    def _searched(self) -> int:
        """The leaves that a query visits; -1, for the library, where there is no tree."""
        asked = round(self.config.leaves_searched * self._leaves)
        return min(self._leaves, max(_FEWEST_LEAVES, asked)) if self._leaves else -1

    def _add_tree(self, builder: Any) -> None:
        if leaves := self._leaves:
            # the library's default, random starting points, comes out differently on every call
            builder.tree(leaves, self._searched, training_sample_size=self.config.training_sample, random_init=False)

    def _add_scoring(self, builder: Any, size: int) -> list[str]:
        if size < _CENTROIDS:
            builder.score_brute_force()
            return [f"brute force: fewer than {_CENTROIDS} images cannot train the quantiser"]
        block, threshold = self.config.dimensions_per_block, self.config.anisotropic_threshold
        builder.score_ah(
            block, anisotropic_quantization_threshold=threshold, training_sample_size=self.config.training_sample
        )
        builder.reorder(self.config.reorder)
        return [f"asymmetric hashing ({block} dimensions per block, threshold {threshold})", "exact reordering"]

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows by exact distance, out of those that the quantised vectors proposed."""
        rows, distances = self.call_library(queries.array, k)
        with off_the_clock():
            found = np.where(np.isnan(distances), MISSING, rows.astype(np.int64))  # leaves may hold fewer than k
            return by_distance(found, distances, k)

    def call_library(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Search the index: rows and distances [Q,K]."""
        candidates = max(k, self.config.reorder)
        found: tuple[NDArray[np.uint32], NDArray[np.float32]] = self._index.search_batched_parallel(
            queries, k, candidates, self._searched
        )
        return found

    def describe(self) -> Description:
        """Tell the stages of the index, and its bytes as ScaNN writes it to disk, the vectors included.

        They are counted: writing an index of a million vectors takes seconds and half a gigabyte.
        """
        tree = [f"tree ({self._searched} of {self._leaves} leaves searched)"] if self._leaves else []
        return Description(index_bytes=self._bytes(), details={"index": ", ".join([*tree, *self._stages])})

    def _bytes(self) -> int:
        size, dim, block = self._size, self._dim, self.config.dimensions_per_block
        vectors = _FLOAT * size * dim
        codes, codebook = (0, 0) if size < _CENTROIDS else (size * -(-dim // block), _FLOAT * _CENTROIDS * dim)
        tree = 2 * _FLOAT * self._leaves * dim + _FLOAT * size if self._leaves else 0
        return vectors + codes + codebook + tree


def library() -> Any:
    """Import ScaNN's operations, or tell how to install them."""
    return _library.load("scann.scann_ops.py.scann_ops_pybind", "ScaNN", "pip install scann (Linux, macOS on ARM)")
