"""CAGRA: a graph of neighbours that a GPU builds and searches (rapidsai/cuvs). Recipe: methods/search/cagra.toml."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from irbench.core.cell import Overrides
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import MissingLibrary
from irbench.core.promises import Promises
from irbench.core.ranking import MISSING, Ranking
from irbench.retrievers.searchers import _library
from irbench.retrievers.searchers._ranking import by_distance
from irbench.retrievers.searchers.linear import Config as LinearConfig
from irbench.retrievers.searchers.linear import LinearSearcher
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock

_NUMBER = 4  # bytes of a float, and of a neighbour's number
_STEP = 32  # candidates are kept in multiples of it


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params], by the library's own names."""

    sweep: ClassVar[tuple[Overrides, ...]] = tuple(
        (("itopk_size", candidates),) for candidates in (32, 64, 128, 256, 512)
    )
    query_keys: ClassVar[frozenset[str]] = frozenset({"itopk_size"})

    graph_degree: PositiveInt  # neighbours of a vector
    intermediate_graph_degree: PositiveInt  # of the graph that these are chosen from
    itopk_size: PositiveInt  # candidates that a query keeps, never fewer than k
    exact_below: PositiveInt  # a gallery of fewer images is compared exactly: too few for such a graph


class CagraSearcher:
    """A graph in the memory of the GPU."""

    promises = Promises(recall=0.9)

    _index: Any  # None: scanned
    _scan: LinearSearcher

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    def build(self, gallery: Embeddings) -> None:
        """Build the graph over the whole gallery, on the GPU."""
        cagra = self._library()
        self._size, self._dim = gallery.array.shape
        self._index = None
        if self._size < self.config.exact_below:
            self._scan = LinearSearcher(LinearConfig(), self.runtime)
            self._scan.build(gallery)
            return
        parameters = cagra.IndexParams(
            metric="sqeuclidean",
            graph_degree=self.config.graph_degree,
            intermediate_graph_degree=self.config.intermediate_graph_degree,
        )
        self._index = cagra.build(parameters, self._on_gpu(gallery.array))

    def set_query_parameters(self, config: Config) -> bool:
        """Keep another number of candidates."""
        self.config = config
        return True

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows by exact distance."""
        if self._index is None:
            return self._scan.search(queries, k)
        cagra = self._library()
        kept = _STEP * math.ceil(max(k, self.config.itopk_size) / _STEP)
        answered = cagra.search(cagra.SearchParams(itopk_size=kept), self._index, self._on_gpu(queries.array), k)
        host = [np.asarray(array.copy_to_host()) for array in answered]  # waits for the GPU
        with off_the_clock():
            (distances,) = [array for array in host if array.dtype.kind == "f"]
            (rows,) = [array for array in host if array.dtype.kind != "f"]
            found = rows.astype(np.int64)
            return by_distance(np.where((found >= 0) & (found < self._size), found, MISSING), distances, k)

    def _on_gpu(self, vectors: NDArray[np.float32]) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(vectors)).to(self.runtime.device)

    def describe(self) -> Description:
        """Tell the kind of index, and its bytes as counted: vectors and neighbours."""
        if self._index is None:
            kind = f"exact scan: {self.config.exact_below} images are needed for a graph"
            return Description(index_bytes=self._scan.describe().index_bytes, details={"index": kind})
        size = self._size * _NUMBER * (self._dim + self.config.graph_degree)
        details = {
            "index": f"CAGRA{self.config.graph_degree}, Euclidean, on the GPU",
            "itopk_size": self.config.itopk_size,
        }
        return Description(index_bytes=size, details=details)

    def _library(self) -> Any:
        install = "pip install cuvs-cu12, or cuvs-cu13, as the driver has it"
        if self.runtime.device != "cuda":
            raise MissingLibrary(f"CAGRA runs on an NVIDIA GPU only (--device cuda): {install}")
        return _library.load("cuvs.neighbors.cagra", "cuVS", install)
