"""SPANN: a graph over a part of the vectors in memory, everything else in lists on disk (engine of `sptag`).

Recipe: methods/search/spann.toml. Parameters carry the engine's own names (microsoft/SPTAG:
AnnService/inc/Core/SPANN/ParameterDefinitionList.h).
"""

import math
import os
import shutil
import tempfile
import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.cell import Overrides
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.promises import Promises
from irbench.core.ranking import Ranking
from irbench.retrievers.searchers import _sptag
from irbench.retrievers.searchers._ranking import by_distance
from irbench.retrievers.searchers.linear import Config as LinearConfig
from irbench.retrievers.searchers.linear import LinearSearcher
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock

_FEWEST = 256  # distinct vectors: the engine fails to build, or crashes, on a dozen; a scan of these is as quick
_SEARCH_HEADS = "SearchInternalResultNum"  # the engine's name
_ROW, _FLOAT, _PAGE = 4, 4, 4096  # bytes of a row number, of one dimension, and of a page on disk


def _engine(section: str, name: str) -> Any:
    return field(metadata={"section": section, "name": name})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params]."""

    sweep: ClassVar[tuple[Overrides, ...]] = tuple(
        (("search_heads", lists),) for lists in (1, 2, 4, 8, 16, 32, 64, 128)
    )

    query_keys: ClassVar[frozenset[str]] = frozenset({"search_heads"})  # `max_check` sets how the lists are made, too

    threads: int  # 0: one for each core
    # which vectors become heads, the ones in memory
    ratio: float = _engine("SelectHead", "Ratio")  # heads / gallery
    head_tree_k: int = _engine("SelectHead", "BKTKmeansK")
    head_tree_leaf: int = _engine("SelectHead", "BKTLeafSize")
    head_samples: int = _engine("SelectHead", "SamplesNumber")
    select_threshold: int = _engine("SelectHead", "SelectThreshold")
    split_factor: int = _engine("SelectHead", "SplitFactor")
    split_threshold: int = _engine("SelectHead", "SplitThreshold")
    # the graph over the heads
    neighborhood: int = _engine("BuildHead", "NeighborhoodSize")
    graph_trees: int = _engine("BuildHead", "TPTNumber")
    graph_tree_leaf: int = _engine("BuildHead", "TPTLeafSize")
    graph_check: int = _engine("BuildHead", "MaxCheckForRefineGraph")
    refine_iterations: int = _engine("BuildHead", "RefineIterations")
    # the lists on disk
    replicas: int = _engine("BuildSSDIndex", "ReplicaCount")  # lists that a vector may stand in
    posting_vectors: int  # in the longest list
    build_heads: int = _engine("BuildSSDIndex", "InternalResultNum")
    # the search
    search_heads: int = _engine("BuildSSDIndex", _SEARCH_HEADS)  # lists that a query reads
    max_check: int = _engine("BuildSSDIndex", "MaxCheck")

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value < 0 or (value == 0 and item.name != "threads"):
                raise ValueError(f"{item.name} = {value} is not greater than 0")
        if self.ratio > 1:
            raise ValueError(f"ratio = {self.ratio}: there are no more heads than vectors")


class SpannSearcher:
    """SPANN with its lists in a temporary folder, or an exact scan of a gallery that is too small for it."""

    promises = Promises(recall=0.95, exact_scores=True)

    _index: _sptag.Index | None  # None: scanned
    _scan: LinearSearcher

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime
        self._resources = ExitStack()
        weakref.finalize(self, self._resources.close)

    def build(self, gallery: Embeddings) -> None:
        """Index the gallery; what an earlier build left on disk is removed."""
        _sptag.library()
        self._resources.close()
        vectors = gallery.array
        self._index = None
        if _distinct(vectors, _FEWEST) < _FEWEST:
            self._scan = LinearSearcher(LinearConfig(), self.runtime)
            self._scan.build(gallery)
            return
        folder = Path(tempfile.mkdtemp(prefix="irbench-spann-"))
        self._resources.callback(shutil.rmtree, folder, ignore_errors=True)
        _sptag.build(vectors, self._sections(gallery.dim), seed=self.runtime.seed, folder=folder)
        self._index = _sptag.Index(folder, threads=min(self.runtime.threads or self._threads, self._threads))
        self._resources.callback(self._index.close)

    def set_query_parameters(self, config: Config) -> bool:
        """Read another number of lists."""
        self.config = config
        if self._index is not None:
            self._index.set({_SEARCH_HEADS: str(config.search_heads)})
        return True

    @property
    def _threads(self) -> int:
        """How many threads the engine has, and queues to the disk."""
        return self.config.threads or os.cpu_count() or 1

    def _sections(self, dim: int) -> _sptag.Sections:
        """The recipe's values by the engine's own names."""
        common = {"isExecute": "true", "NumberOfThreads": str(self._threads)}
        # the engine counts pages, in which a vector of 768 dimensions takes six times the room of one of SIFT's
        pages = str(math.ceil(self.config.posting_vectors * (_ROW + dim * _FLOAT) / _PAGE))
        sections = {
            "Base": {"IndexAlgoType": "BKT", "DistCalcMethod": "L2"},
            "SelectHead": common | {"SelectHeadType": "BKT", "TreeNumber": "1"},
            "BuildHead": dict(common),
            "BuildSSDIndex": common
            | {"BuildSsdIndex": "true", "PostingPageLimit": pages, "SearchPostingPageLimit": pages},
        }
        for item in fields(self.config):
            if item.metadata:
                sections[item.metadata["section"]][item.metadata["name"]] = str(getattr(self.config, item.name))
        return sections

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows out of the lists that the query reads, by exact distance."""
        if self._index is None:
            return self._scan.search(queries, k)
        rows, distances = self._index.search(queries.array, k)
        with off_the_clock():
            return by_distance(rows, distances, k)

    def describe(self) -> Description:
        """Tell the kind of index, and the bytes of its files."""
        if self._index is None:
            kind = f"exact scan: SPANN's engine needs {_FEWEST} distinct vectors"
            return Description(index_bytes=self._scan.describe().index_bytes, details={"index": kind})
        details = {"index": "SPANN, Euclidean, lists on disk", "heads": self._index.heads}
        return Description(index_bytes=self._index.bytes, details=details)


def _distinct(vectors: NDArray[np.float32], enough: int) -> int:
    """Count the vectors [N,D] that differ from each other; counting ends at `enough`."""
    seen: set[bytes] = set()
    for vector in vectors:
        seen.add(vector.tobytes())
        if len(seen) == enough:
            break
    return len(seen)
