"""The gallery of a generative retriever: identifiers, features, and the trie of the images that are present.

Shape letters: N images, M codes, D dimensions of a feature, B queries, K results.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import faiss
import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import MISSING, Ranking
from irbench.core.rows import Rows
from irbench.retrievers.irgen.trie import Trie


@dataclass(frozen=True, eq=False, kw_only=True)
class Gallery:
    """N images in the order in which they were added. A removed image keeps its row, which is never returned."""

    identifiers: Identifiers
    features: NDArray[np.float32] | None  # [N,D] where results are ordered by similarity
    rows: Rows  # of the images that are present

    @classmethod
    def of(cls, identifiers: Identifiers, features: NDArray[np.float32] | None) -> "Gallery":
        """Return a gallery with all images present."""
        return cls(identifiers=identifiers, features=features, rows=Rows.first(len(identifiers)))

    @cached_property
    def trie(self) -> Trie:
        """The trie of the images that are present; its rows are those of the gallery."""
        if self.rows.whole:
            return Trie.build(self.identifiers)
        present = self.rows.numbers
        trie = Trie.build(Identifiers(self.identifiers.codes[present], self.identifiers.codebook_size))
        return replace(trie, rows=present[trie.rows].astype(trie.rows.dtype))

    @property
    def nbytes(self) -> int:
        """Bytes that a search reads; not the table of identifiers, which is for updates of the gallery."""
        return self.trie.nbytes + (0 if self.features is None else self.features.nbytes)

    def with_more(self, identifiers: Identifiers, features: NDArray[np.float32] | None) -> "Gallery":
        """Return the gallery with more images after the present ones.

        Raises `ContractError` if their identifiers have another length or codebook size.
        """
        old = self.identifiers
        if (identifiers.num_codebooks, identifiers.codebook_size) != (old.num_codebooks, old.codebook_size):
            raise ContractError(
                f"identifiers of {identifiers.num_codebooks} codes of {identifiers.codebook_size} cannot be added to "
                f"a gallery with identifiers of {old.num_codebooks} codes of {old.codebook_size}",
                code="wrong-shape",
            )
        return Gallery(
            identifiers=Identifiers(np.concatenate([old.codes, identifiers.codes]), old.codebook_size),
            features=None if self.features is None or features is None else np.concatenate([self.features, features]),
            rows=self.rows.with_more(len(identifiers)),
        )

    def without(self, rows: NDArray[np.int64]) -> "Gallery":
        """Return the gallery without the images at `rows`, which are present."""
        return replace(self, rows=self.rows.without(rows))

    def of_leaves(self, leaves: NDArray[np.int64]) -> Identifiers:
        """Return the identifiers [B,M] of leaves [B] of the trie."""
        rows = self.trie.rows[self.trie.first_row[leaves]]
        return Identifiers(self.identifiers.codes[rows], self.identifiers.codebook_size)

    def of_nearest(self, features: NDArray[np.float32]) -> Identifiers:
        """Return, for features [B,D], the identifiers [B,M] of the images with the nearest ones."""
        present = self.rows.numbers
        _, nearest = faiss.knn(np.ascontiguousarray(features), self._all_features[present], 1)
        return Identifiers(self.identifiers.codes[present[nearest[:, 0]]], self.identifiers.codebook_size)

    def distances(self, features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return squared distances [B,K] of features [B,D] to those of gallery `rows` [B,K]; infinite for row -1."""
        out = np.empty(rows.shape, np.float32)
        queries, some_row = np.ascontiguousarray(features), np.maximum(rows, 0)
        arrays = (faiss.swig_ptr(array) for array in (out, queries, self._all_features, some_row))
        faiss.fvec_L2sqr_by_idx(*arrays, features.shape[1], *rows.shape)  # type: ignore[attr-defined]  # from SWIG
        return np.where(rows == MISSING, np.inf, out)

    @property
    def _all_features(self) -> NDArray[np.float32]:
        if self.features is None:
            raise ContractError("this gallery was made without features", code="no-features")
        return self.features


def by_similarity(found: Ranking, distances: NDArray[np.float32], *, within: bool, rerank: int) -> Ranking:
    """Reorder results by distance, nearest first: `within` each identifier, and then the best `rerank` of all.

    Results of one identifier are those of equal score. `distances` [B,K] are infinite for missing results. No single
    number orders all results afterwards, neither a log-probability nor a distance, so that the scores are minus the
    rank: 0 for the best, then -1, -2 ….
    """
    rows, scores = found.rows, found.scores
    if within:
        order = np.lexsort((rows, distances, -scores), axis=1)
        rows, distances = np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)
    if rerank:
        order = np.lexsort((rows[:, :rerank], distances[:, :rerank]), axis=1)
        rows = np.concatenate([np.take_along_axis(rows[:, :rerank], order, 1), rows[:, rerank:]], axis=1)
    places = np.broadcast_to(-np.arange(rows.shape[1], dtype=np.float32), rows.shape)
    return Ranking(rows, np.where(rows == MISSING, -np.inf, places).astype(np.float32))
