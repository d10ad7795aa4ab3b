"""The images that a generative retriever can answer with: their identifiers, their features, and the trie of both.

Shape letters: N images, M codes in an identifier, D dimensions of a feature, B queries, K answers.
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
    """N images in the order in which they came. One that was removed keeps its row, which is never answered."""

    identifiers: Identifiers
    features: NDArray[np.float32] | None  # [N,D] where answers are compared by similarity
    rows: Rows  # that are present

    @classmethod
    def of(cls, identifiers: Identifiers, features: NDArray[np.float32] | None) -> "Gallery":
        """A gallery from which nothing has been removed."""
        return cls(identifiers=identifiers, features=features, rows=Rows.first(len(identifiers)))

    @cached_property
    def trie(self) -> Trie:
        """The identifiers of the images that are present; its rows are those of the gallery."""
        if self.rows.whole:
            return Trie.build(self.identifiers)
        present = self.rows.numbers
        trie = Trie.build(Identifiers(self.identifiers.codes[present], self.identifiers.codebook_size))
        return replace(trie, rows=present[trie.rows].astype(trie.rows.dtype))

    @property
    def nbytes(self) -> int:
        """Bytes that answering reads; the table of identifiers, kept for changes of the gallery, is not among them."""
        return self.trie.nbytes + (0 if self.features is None else self.features.nbytes)

    def with_more(self, identifiers: Identifiers, features: NDArray[np.float32] | None) -> "Gallery":
        """Return the gallery with more images after those that are there."""
        old = self.identifiers
        if (identifiers.num_codebooks, identifiers.codebook_size) != (old.num_codebooks, old.codebook_size):
            raise ContractError("the identifiers of images that are added are not of the gallery's kind")
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
        """Squared distances [B,K] of features [B,D] to those of gallery `rows` [B,K]; infinite where a row is -1."""
        out = np.empty(rows.shape, np.float32)
        asked, some_row = np.ascontiguousarray(features), np.maximum(rows, 0)
        arrays = (faiss.swig_ptr(array) for array in (out, asked, self._all_features, some_row))
        faiss.fvec_L2sqr_by_idx(*arrays, features.shape[1], *rows.shape)  # type: ignore[attr-defined]  # from SWIG
        return np.where(rows == MISSING, np.inf, out)

    @property
    def _all_features(self) -> NDArray[np.float32]:
        if self.features is None:
            raise ContractError("this gallery was made without features")
        return self.features


def by_similarity(found: Ranking, distances: NDArray[np.float32], *, within: bool, rerank: int) -> Ranking:
    """Return the answers in another order: `within` an identifier, and then the best `rerank`, the nearest first.

    Answers that have one score are those of one identifier; `distances` [B,K] are infinite where one is missing. No
    single number orders all answers then, neither a log-probability nor a distance, so that scores are minus the place
    in the order: 0 for the best, then -1, -2 ….
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
