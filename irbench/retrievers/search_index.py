"""A searcher as the harness uses it, so that an algorithm has nothing to write but `build` and `search`."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.core.ranking import MISSING, Ranking
from irbench.core.rows import Rows
from irbench.protocols import Searcher, UpdatableSearcher


class SearchIndex:
    """Checks what goes into a searcher and what comes out of it, and lets any searcher take updates.

    The searcher within is never given an empty gallery, queries of other dimensions than the gallery's, or a `k`
    beyond the gallery. It may return fewer than `k` columns. Where it has no `add` and `remove` of its own, its index
    is built again over the vectors that are left, which are stored for that.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._updatable = searcher if isinstance(searcher, UpdatableSearcher) else None
        self._rows: Rows | None = None
        self._vectors: Embeddings | None = None  # of a searcher that is built again for an update
        self._dim = 0
        self._rebuilds = 0

    def build(self, gallery: Embeddings) -> None:
        """Index every row of the gallery; building again starts afresh."""
        if 0 in gallery.array.shape:
            raise ContractError(
                f"nothing to index: the gallery's embeddings have shape {gallery.array.shape}", code="wrong-shape"
            )
        self._dim, self._rebuilds = gallery.dim, 0
        self._build(gallery, Rows.first(len(gallery)))

    def add(self, vectors: Embeddings) -> None:
        """Index more vectors: their rows follow those that are there, in order."""
        rows = self._indexed.with_more(len(vectors))
        self._check_dim("vectors to add", vectors)
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
        rows = self._indexed
        self._check_dim("queries", queries)
        width = min(k, len(rows))
        found = self.searcher.search(queries, width)
        self._check(found, len(queries), width, rows.end if self._updatable else len(rows))
        return _padded(found if self._updatable else rows.named(found), k)

    def describe(self) -> Description:
        """Describe the index; the vectors that are stored for building it again are no part of it."""
        described = self.searcher.describe()
        rebuilt = {"built_again": self._rebuilds} if self._rebuilds else {}
        return replace(described, details={**described.details, **rebuilt})

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

    def _check_dim(self, what: str, vectors: Embeddings) -> None:
        if vectors.dim != self._dim:
            raise ContractError(
                f"the {what} have {vectors.dim} dimensions, the gallery has {self._dim}", code="wrong-shape"
            )

    def _check(self, found: Ranking, queries: int, width: int, end: int) -> None:
        name = type(self.searcher).__name__
        if len(found) != queries or found.top_k > width:
            due = f"[{queries}, {width}] or narrower"
            raise ContractError(
                f"{name}.search returned a ranking of shape {list(found.rows.shape)}, due is {due}", code="wrong-shape"
            )
        if found.rows.size and found.rows.max() >= end:
            raise ContractError(
                f"{name}.search returned row {found.rows.max()} of a gallery of {end} rows", code="no-such-row"
            )


def _padded(found: Ranking, k: int) -> Ranking:
    """Bring a ranking to `k` columns."""
    blank = ((0, 0), (0, k - found.top_k))
    if found.top_k == k:
        return found
    return Ranking(
        np.pad(found.rows, blank, constant_values=MISSING), np.pad(found.scores, blank, constant_values=-np.inf)
    )
