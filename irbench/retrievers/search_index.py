"""A searcher as the harness uses it, so that an algorithm has nothing to write but `build` and `search`."""

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.core.ranking import Ranking
from irbench.core.rows import Rows
from irbench.protocols import CountingSearcher, Searcher, TunableSearcher, UpdatableSearcher
from irbench.retrievers.checked import as_ranking, described
from irbench.runtime.timer import off_the_clock

_LARGEST, _SMALLEST = 1e16, 1e-15  # of 10,000 dimensions squared distances are below 1e37; above 1e-30 they are exact


class SearchIndex:
    """Checks what goes into a searcher and what comes out of it, and lets any searcher take updates.

    The searcher within is never given an empty gallery, queries of other dimensions than the gallery's, or a `k`
    beyond the gallery, and vectors whose numbers are far from 1 come to it scaled. It may return fewer than `k`
    columns. Where it has no `add` and `remove` of its own, its index is built again over the vectors that are left,
    which are stored for that.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._updatable = searcher if isinstance(searcher, UpdatableSearcher) else None
        self._rows: Rows | None = None
        self._vectors: Embeddings | None = None  # of a searcher that is built again for an update
        self._dim = 0
        self._rebuilds = 0
        self._scale = np.float32(1)  # of the vectors as the searcher gets them

    def build(self, gallery: Embeddings) -> None:
        """Index every row of the gallery; building again starts afresh."""
        if 0 in gallery.array.shape:
            raise ContractError(
                f"nothing to index: the gallery's embeddings have shape {gallery.array.shape}", code="wrong-shape"
            )
        self._dim, self._rebuilds = gallery.dim, 0
        largest = self._check_range("gallery", gallery)
        if 0 < largest < _SMALLEST:
            raise ContractError(
                f"the gallery's largest number is {largest:.3g}: its squared distances are 0 in float32; scale the "
                "vectors",
                code="out-of-range",
            )
        self._scale = _scale(largest)
        self._build(self._scaled(gallery), Rows.first(len(gallery)))

    def add(self, vectors: Embeddings) -> None:
        """Index more vectors: their rows follow those that are there, in order."""
        rows = self._indexed.with_more(len(vectors))
        vectors = self._checked("vectors to add", vectors)
        if self._updatable:
            self._updatable.add(vectors)
            self._rows = rows
        else:
            self._rebuild(np.concatenate([self._stored, vectors.array]), rows)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Never return these rows again; all others keep their numbers."""
        left = self._indexed.without(rows)
        if self._updatable:
            self._updatable.remove(np.unique(rows))
            self._rows = left
        else:
            self._rebuild(self._stored[self._indexed.places(left.numbers)], left)

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return `k` columns of gallery rows for each query; those that are not found are `MISSING`."""
        with off_the_clock():
            rows, queries = self._indexed, self._checked("queries", queries)
            width = min(k, len(rows))
        answer = self.searcher.search(queries, width)
        with off_the_clock():
            found = as_ranking(answer, self.searcher, len(queries))
            self._check(found, width, rows.end if self._updatable else len(rows))
            if self._scale != 1:
                found = Ranking(found.rows, found.scores / self._scale**2)
            return (found if self._updatable else rows.named(found)).widened(k)

    def set_query_parameters(self, other: Searcher) -> bool:
        """Search as another searcher would, over the index that is there; False where that needs another index."""
        mine = self.searcher
        if not isinstance(mine, TunableSearcher) or not isinstance(other, type(mine)):
            return False
        then, now = mine.config, other.config
        changed = {one.name for one in fields(now) if getattr(then, one.name) != getattr(now, one.name)}
        return changed <= now.query_keys and mine.set_query_parameters(now)

    def count_distances(self, queries: Embeddings, k: int) -> float | None:
        """Return how many distances are computed for a query on average, where the searcher counts them."""
        if not isinstance(self.searcher, CountingSearcher):
            return None
        return self.searcher.count_distances(self._checked("queries", queries), min(k, len(self._indexed)))

    def describe(self) -> Description:
        """Describe the index; the vectors that are stored for building it again are no part of it."""
        found = described(self.searcher, "searcher")
        rebuilt = {"built_again": self._rebuilds} if self._rebuilds else {}
        return replace(found, details={**found.details, **rebuilt})

    @property
    def dim(self) -> int:
        """D, the number of dimensions of the vectors; 0 before a gallery is indexed."""
        return self._dim

    @property
    def _indexed(self) -> Rows:
        if self._rows is None:
            raise ContractError(
                f"{type(self.searcher).__name__} was used before a gallery was indexed", code="not-indexed"
            )
        return self._rows

    @property
    def _stored(self) -> NDArray[np.float32]:
        assert self._vectors is not None  # noqa: S101 -- set by every build of a searcher without updates
        return self._vectors.array

    def _build(self, vectors: Embeddings, rows: Rows) -> None:
        self.searcher.build(vectors)
        self._rows = rows
        self._vectors = None if self._updatable else vectors

    def _rebuild(self, vectors: NDArray[np.float32], rows: Rows) -> None:
        self._build(Embeddings(vectors), rows)
        self._rebuilds += 1

    def _scaled(self, vectors: Embeddings) -> Embeddings:
        return vectors if self._scale == 1 else Embeddings(vectors.array * self._scale)

    def _checked(self, what: str, vectors: Embeddings) -> Embeddings:
        """Return vectors of the gallery's dimensions at the gallery's scale."""
        self._check_range(what, vectors)
        if vectors.dim != self._dim:
            raise ContractError(
                f"the {what} have {vectors.dim} dimensions, the gallery has {self._dim}", code="wrong-shape"
            )
        return self._scaled(vectors)

    @staticmethod
    def _check_range(what: str, vectors: Embeddings) -> float:
        """Return the largest number of vectors [N,D], which is not so large that squared distances overflow."""
        # not of the absolute values, which would be as many bytes again
        largest = max(float(vectors.array.max(initial=0)), -float(vectors.array.min(initial=0)))
        if largest > _LARGEST:
            raise ContractError(
                f"the {what} have a number of size {largest:.3g}: squared distances overflow float32; scale the "
                "vectors",
                code="out-of-range",
            )
        return largest

    def _check(self, found: Ranking, width: int, end: int) -> None:
        name = type(self.searcher).__name__
        if found.top_k > width:
            raise ContractError(
                f"{name}.search returned {found.top_k} results for a query, more than the {width} asked for",
                code="wrong-shape",
            )
        if found.rows.size and found.rows.max() >= end:
            raise ContractError(
                f"{name}.search returned row {found.rows.max()} of a gallery of {end} rows", code="no-such-row"
            )


def _scale(largest: float) -> np.float32:
    """Return the power of two that brings the largest number of a gallery near 1, where it is far from it.

    No digit is lost, so exact search finds the same. Libraries have absolute tolerances and sums: ScaNN's quantiser
    finds hardly any neighbour among vectors of length 1e-4, and Faiss's has other codes at 5e14.
    """
    exponent = int(np.frexp(largest)[1])
    return np.float32(1 if largest == 0 or -6 <= exponent <= 16 else 2.0**-exponent)
