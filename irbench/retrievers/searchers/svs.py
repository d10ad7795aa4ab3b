"""Vamana graphs of Intel's Scalable Vector Search (intel/ScalableVectorSearch, package scalable-vs).

Recipes: methods/search/vamana.toml, and vamana-lvq.toml for vectors by locally-adaptive quantisation (LVQ, Aguerrebere
et al. 2023), which the library computes on Intel's processors only: on another one it ends the process.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from irbench.config.fields import Share
from irbench.core.cell import Overrides
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import NotApplicable
from irbench.core.promises import Promises
from irbench.core.ranking import MISSING, Ranking
from irbench.retrievers.searchers import _library
from irbench.retrievers.searchers._ranking import by_distance, once
from irbench.runtime.conditions import processor_name
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock

_LVQ = {"lvq8": (8, 0), "lvq4x4": (4, 4), "lvq4x8": (4, 8), "lvq8x8": (8, 8)}  # bits of a dimension, and of its rest
_CONSTANTS = 4  # bytes of a quantised vector beside its codes: scale and offset in float16
_SPARE = 4  # results beyond k: where vectors are equal the library returns a row twice at times
_NUMBER = 4  # bytes of a float, and of a neighbour's number


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params], by the library's own names."""

    sweep: ClassVar[tuple[Overrides, ...]] = tuple(
        (("search_window_size", candidates),) for candidates in (10, 20, 40, 80, 160, 320)
    )
    query_keys: ClassVar[frozenset[str]] = frozenset({"search_window_size"})

    graph_max_degree: PositiveInt  # neighbours of a vector
    window_size: PositiveInt  # candidates among which these are chosen
    alpha: PositiveFloat  # how much farther a neighbour may be that shortens the way
    search_window_size: PositiveInt  # candidates that a query keeps, never fewer than k
    compression: Literal["none", "lvq8", "lvq4x4", "lvq4x8", "lvq8x8"] = "none"
    recall: Share = 0.95  # least share of the true 10 nearest that is found, see `Promises`


class SvsSearcher:
    """A graph that one thread builds, so that the same vectors give the same one."""

    _index: Any

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    @property
    def promises(self) -> Promises:
        """What the recipe says of its index."""
        return Promises(recall=self.config.recall)

    def build(self, gallery: Embeddings) -> None:
        """Build the graph over the whole gallery."""
        svs, config = library(), self.config
        self._size, self._dim = gallery.array.shape
        parameters = svs.VamanaBuildParameters(
            alpha=config.alpha, graph_max_degree=config.graph_max_degree, window_size=config.window_size
        )
        if config.compression == "none":
            self._index = svs.Vamana.build(parameters, gallery.array, svs.DistanceType.L2, num_threads=1)
        else:
            _demand_intel(config.compression)
            with tempfile.TemporaryDirectory(prefix="irbench-svs-") as folder:  # from where it reads and compresses
                path = str(Path(folder) / "vectors.fvecs")
                svs.write_vecs(gallery.array, path)
                vectors = svs.VectorDataLoader(path, svs.DataType.float32, dims=self._dim)
                loader = svs.LVQLoader(vectors, *_LVQ[config.compression])
                self._index = svs.Vamana.build(parameters, loader, svs.DistanceType.L2, num_threads=1)
        self._index.num_threads = self.runtime.threads or 1

    def set_query_parameters(self, config: Config) -> bool:
        """Keep another number of candidates."""
        self.config = config
        return True

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows, by the distances to the vectors as they are stored."""
        with off_the_clock():
            self._index.search_window_size = max(k + _SPARE, self.config.search_window_size)
        rows, distances = self.call_library(queries.array, min(k + _SPARE, self._size))
        with off_the_clock():
            answered = once(np.where(rows < self._size, rows.astype(np.int64), MISSING))
            return by_distance(answered, np.where(answered == MISSING, np.inf, distances), k)

    def call_library(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Search the index: rows and distances [Q,K]."""
        found: tuple[NDArray[np.uint64], NDArray[np.float32]] = self._index.search(queries, k)
        return found

    def describe(self) -> Description:
        """Tell the kind of index, and its bytes as counted: vectors, and the neighbours of each with their number."""
        config = self.config
        codes = sum(_LVQ.get(config.compression, (8 * _NUMBER, 0))) * self._dim / 8
        vectors = self._size * (codes + (_CONSTANTS if config.compression != "none" else 0))
        graph = self._size * _NUMBER * (config.graph_max_degree + 1)
        kind = f"Vamana{config.graph_max_degree}, Euclidean"
        details = {
            "index": kind if config.compression == "none" else f"{kind}, {config.compression.upper()}",
            "search_window_size": config.search_window_size,
        }
        return Description(index_bytes=int(vectors + graph), details=details)


def _demand_intel(compression: str) -> None:
    name = processor_name()
    if "intel" not in name.lower():
        raise NotApplicable(
            f"{compression} is computed on processors of Intel only, and this one is an {name}: --search vamana keeps "
            "the vectors as they are",
            code="not-applicable",
        )


def library() -> Any:
    """Import Scalable Vector Search, or tell how to install it."""
    return _library.load("svs", "Scalable Vector Search", "pip install 'irbench-retrieval[svs]' (Linux on x86-64)")
