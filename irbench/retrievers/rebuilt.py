"""Lets any searcher grow, where its engine has no sound way of its own: the index is built again."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.ranking import Ranking
from irbench.core.rows import Rows
from irbench.protocols import Searcher, UpdatableSearcher
from irbench.retrievers.searchers._answers import as_more


def updatable(searcher: Searcher) -> UpdatableSearcher:
    """Return the searcher as one that can grow: itself, if it has a way of its own."""
    return searcher if isinstance(searcher, UpdatableSearcher) else Rebuilt(searcher)


class Rebuilt:
    """A searcher that is built anew over all vectors that are left whenever some come or go; they are kept for that."""

    _vectors: Embeddings
    _rows: Rows
    _times = 0  # that it was built again

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher

    def build(self, gallery: Embeddings) -> None:
        """Index every row of the gallery."""
        self._times = 0
        self._hold(gallery, Rows.first(len(gallery)))

    def add(self, vectors: Embeddings) -> None:
        """Build again with these vectors after the others."""
        more = as_more(vectors, self._vectors.dim)
        self._hold(Embeddings(np.concatenate([self._vectors.array, more])), self._rows.with_more(len(more)))
        self._times += 1

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Build again without these rows."""
        left = self._rows.without(rows)
        self._hold(Embeddings(self._vectors.array[self._rows.places(left.numbers)]), left)
        self._times += 1

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query."""
        return self._rows.named(self.searcher.search(queries, k))

    def describe(self) -> Description:
        """Tell the index; the vectors that are kept to build it again are no part of it."""
        told = self.searcher.describe()
        again = {"built_again": self._times} if self._times else {}
        return replace(told, details={**told.details, **again})

    def _hold(self, vectors: Embeddings, rows: Rows) -> None:
        self.searcher.build(vectors)
        self._vectors, self._rows = vectors, rows
