"""Any index of Faiss, by its factory string. Recipes: faiss, hnsw, nsg, sq8 and ivf-rabitq in methods/search.

The string is Faiss's own ("HNSW32", "IVF1024,PQ16x8", "OPQ16,IVF256,PQ16x4fs"; "The index factory" in the wiki of
facebookresearch/faiss), and so are the settings of a query ("nprobe=16,efSearch=64"; faiss/AutoTune.cpp).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt
from threadpoolctl import threadpool_limits

from irbench.config.fields import Share
from irbench.core.cell import Overrides
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import NotApplicable, RecipeError
from irbench.core.promises import Promises
from irbench.core.ranking import Ranking
from irbench.retrievers.searchers import _faiss
from irbench.retrievers.searchers._ranking import by_distance, once
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import off_the_clock

_CELLS, _EXACT = "{cells}", "Flat"
_VECTORS_PER_CELL = 39  # below this Faiss calls a cell's centre badly trained


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's [params]."""

    factory: Annotated[str, Field(min_length=1)]  # of the index; {cells} stands for the number of cells
    query: str = ""  # settings of a query, such as "nprobe=16"; NSG's is "search_L"
    sweeps: tuple[str, ...] = ()  # such settings between fast and exact, for `irbench ablate index`
    cells: PositiveInt = 1024  # of an inverted file; lowered where the gallery has fewer than 39 images for each
    rerank: NonNegativeInt = 0  # candidates that are scored by exact distances, never fewer than k; 0: by the index's
    spare: NonNegativeInt = 0  # results beyond k that are asked for, since Faiss's NSG returns a vector twice at times
    exact_below: NonNegativeInt = 0  # a gallery of fewer images is compared exactly: too few to build such an index
    recall: Share = 0.1  # least share of the true 10 nearest that is found, see `Promises`

    query_keys: ClassVar[frozenset[str]] = frozenset({"query"})

    @property
    def sweep(self) -> tuple[Overrides, ...]:
        """The points of its curve of recall and speed."""
        return tuple((("query", setting),) for setting in self.sweeps)


class FaissSearcher:
    """An index that Faiss builds from a string, on one thread, so that the same vectors give the same index.

    Searched on the GPU where there is one and Faiss has such an index there.
    """

    _index: Any  # in host memory
    _searched: _faiss.Searched
    _vectors: NDArray[np.float32] | None  # [N,D] where candidates are scored again
    _factory: str
    _query: str

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    @property
    def promises(self) -> Promises:
        """What the recipe says of its index."""
        return Promises(recall=self.config.recall, exact_scores=self.config.rerank > 0)

    def build(self, gallery: Embeddings) -> None:
        """Train the index on the gallery, as far as it is trained at all, and add every row."""
        faiss = _faiss.library()
        size, dim = gallery.array.shape
        self._factory = self._factory_for(size)
        with threadpool_limits(limits=1):  # an index that several threads build is another one each time
            self._index = self._made(faiss, dim)
            self._train(faiss, gallery.array)
        self._vectors = gallery.array if self.config.rerank else None
        self._query = ""
        self.set_query_parameters(self.config)

    def _refuse_copies(self, faiss: Any, vectors: NDArray[np.float32]) -> None:
        """Raise `NotApplicable` where a graph would perhaps never be done: Faiss's NSG of many equal vectors."""
        graph = getattr(faiss.downcast_index(self._index), "nsg", None)
        if graph is not None and (most := _most_copies(vectors)) > graph.R:
            raise NotApplicable(
                f"a vector is {most} times in the gallery: of more than {graph.R} equal ones Faiss may build "
                f"'{self._factory}' without end; leave copies out, or take another index",
                code="not-applicable",
            )

    def set_query_parameters(self, config: Config) -> bool:
        """Set how queries are answered; False where a setting has to be taken back, whose default is Faiss's secret."""
        query = "" if self._index.ntotal < config.exact_below else config.query  # an exact index has no settings
        if _names(self._query) - _names(query):
            return False
        self.config, self._query = config, query
        self._set(_faiss.library())
        self._searched = _faiss.searched(self._index, np.zeros((1, self._index.d), np.float32), self.runtime)
        return True

    def _factory_for(self, size: int) -> str:
        if size < self.config.exact_below:
            return _EXACT
        return self.config.factory.replace(_CELLS, str(min(self.config.cells, max(1, size // _VECTORS_PER_CELL))))

    def _made(self, faiss: Any, dim: int) -> Any:
        try:
            return faiss.index_factory(dim, self._factory, faiss.METRIC_L2)
        except RuntimeError as error:
            raise RecipeError(
                f"Faiss builds no index '{self._factory}' of {dim} dimensions: {_faiss.reason(error)}",
                code="bad-factory",
            ) from None

    def _train(self, faiss: Any, vectors: NDArray[np.float32]) -> None:
        for clustering in _clusterings(faiss, self._index):
            clustering.seed = self.runtime.seed % 2**31
            clustering.min_points_per_centroid = 1  # a warning for each small gallery otherwise
        self._refuse_copies(faiss, vectors)
        try:
            self._index.train(vectors)
            self._index.add(vectors)
        except RuntimeError as error:
            raise NotApplicable(
                f"Faiss cannot build '{self._factory}' over {len(vectors):,} images: {_faiss.reason(error)}",
                code="not-applicable",
            ) from None

    def _set(self, faiss: Any) -> None:
        """Set how queries are answered."""
        space = faiss.ParameterSpace()
        for setting in filter(None, self._query.split(",")):
            name, _, value = setting.strip().partition("=")
            try:
                if name == "search_L":  # not known to ParameterSpace
                    faiss.downcast_index(self._index).nsg.search_L = int(value)
                else:
                    space.set_index_parameter(self._index, name, float(value))
            except (RuntimeError, ValueError, AttributeError) as error:
                why = _faiss.reason(error) if isinstance(error, RuntimeError) else "no number, or not of this index"
                raise RecipeError(
                    f"query = '{self._query}' of index '{self._factory}': {setting.strip()}: {why}",
                    code="bad-factory",
                ) from None

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows that the index finds, by its own distances or, re-ranked, by exact ones."""
        distances, rows = self.call_library(queries.array, k)
        with off_the_clock():
            return by_distance(once(rows), distances, k)

    def call_library(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search the index, and where candidates are scored again compute their distances: these and rows [Q,C]."""
        width = min(max(k + self.config.spare, self.config.rerank), self._index.ntotal)
        distances, rows = self._searched.search(queries, width)
        if self._vectors is not None:
            distances = _faiss.exact_distances(queries, self._vectors, rows)
        return distances, rows

    def count_distances(self, queries: Embeddings, k: int) -> float | None:
        """Return how many distances a query takes on average, where Faiss counts them."""
        return _faiss.count_distances(self._index, queries.array, k)

    def describe(self) -> Description:
        """Tell the index as it was built, and its bytes; vectors that are kept to score candidates included."""
        vectors = 0 if self._vectors is None else self._vectors.nbytes
        asked = {"query": self._query} if self._query else {}
        again = {"reranked": self.config.rerank} if self.config.rerank else {}
        details = {"index": f"{self._factory}, Euclidean", "device": self._searched.device, **asked, **again}
        return Description(index_bytes=_faiss.index_bytes(self._index) + vectors, details=details)


def _names(query: str) -> set[str]:
    return {setting.partition("=")[0].strip() for setting in query.split(",") if setting}


def _most_copies(vectors: NDArray[np.float32]) -> int:
    """Return how often the commonest of the vectors [N,D] is among them; by hashes, which take little memory."""
    hashes = np.fromiter((hash(vector.tobytes()) for vector in vectors), np.int64, len(vectors))
    return int(np.unique(hashes, return_counts=True)[1].max())


def _clusterings(faiss: Any, index: Any) -> list[Any]:
    """Return the k-means of an index, of its cells and of its product quantiser, within what stands around it."""
    index = faiss.downcast_index(index)
    found = [getattr(index, "cp", None), getattr(getattr(index, "pq", None), "cp", None)]
    inner = [getattr(index, name, None) for name in ("index", "base_index", "quantizer")]
    more = [one for part in inner if part is not None for one in _clusterings(faiss, part)]
    return [one for one in found if one is not None] + more
