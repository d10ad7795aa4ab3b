"""The output of a retriever: the gallery rows found for each query, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irbench.core.errors import ContractError

MISSING = -1  # the row of a missing result


@dataclass(frozen=True, eq=False)
class Ranking:
    """The K best gallery rows for each of Q queries, checked once on construction.

    Order: higher score first, ties by lower row. A query with fewer than K results ends in `MISSING` with score -inf.
    No row appears twice for one query.

    Raises `ContractError` where any of this does not hold.
    """

    rows: NDArray[np.int64]  # [Q,K]
    scores: NDArray[np.float32]  # [Q,K] larger is better

    def __post_init__(self) -> None:
        rows, scores = self.rows, self.scores
        if rows.dtype.kind != "i" or scores.dtype.kind != "f":
            raise ContractError(
                f"a ranking has whole numbers as rows and real ones as scores, not {rows.dtype}, {scores.dtype}",
                code="bad-ranking",
            )
        if rows.ndim != 2 or rows.shape != scores.shape:
            raise ContractError(
                f"a ranking has rows and scores of one shape [Q,K], not {rows.shape}, {scores.shape}",
                code="wrong-shape",
            )
        missing = rows == MISSING
        if (rows < MISSING).any() or np.isnan(scores).any():
            raise ContractError(
                "a ranking has gallery rows from 0, or -1 for a missing result, and no score is NaN", code="bad-ranking"
            )
        if (missing[:, :-1] & ~missing[:, 1:]).any() or (scores[missing] != -np.inf).any():
            raise ContractError(
                "missing results (-1, score -inf) are allowed at the end of a query's ranking only",
                code="misplaced-row",
            )
        tied = scores[:, :-1] == scores[:, 1:]
        out_of_order = (scores[:, :-1] < scores[:, 1:]) | (tied & (rows[:, :-1] > rows[:, 1:]) & ~missing[:, 1:])
        if out_of_order.any():
            raise ContractError(
                f"query {int(out_of_order.any(1).argmax())}: results are not sorted by score, ties by row",
                code="unsorted-ranking",
            )
        ordered = np.sort(rows, axis=1)
        repeated = (ordered[:, :-1] == ordered[:, 1:]) & (ordered[:, 1:] != MISSING)
        if repeated.any():
            raise ContractError(
                f"query {int(repeated.any(1).argmax())}: the same gallery row is returned twice", code="repeated-row"
            )

    @classmethod
    def from_topk(cls, rows: ArrayLike, scores: ArrayLike) -> Self:
        """Return the ranking of an index's unsorted rows [Q,K] and scores [Q,K]; negative rows are missing results."""
        rows, scores = _numbers(rows, "rows", "iu"), _numbers(scores, "scores", "fiu")
        if rows.ndim != 2 or rows.shape != scores.shape:
            raise ContractError(
                f"rows and scores of one shape [Q,K] are needed, not {rows.shape}, {scores.shape}", code="wrong-shape"
            )
        rows, scores = rows.astype(np.int64), scores.astype(np.float32)  # copies: what an index reuses may change
        if _are_in_order(rows, scores):
            return cls(rows, scores)
        scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
        rows = np.where(rows < 0, MISSING, rows)
        order = np.lexsort((rows, -scores, rows < 0), axis=1)
        return cls(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))

    @classmethod
    def stack(cls, parts: Sequence["Ranking"]) -> Self:
        """Concatenate the rankings of batches of queries."""
        return cls._checked(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts]))

    @classmethod
    def _checked(cls, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> Self:
        """Return the ranking of arrays that are parts of checked ones: checking takes longer than a fast search."""
        ranking = object.__new__(cls)
        object.__setattr__(ranking, "rows", rows)
        object.__setattr__(ranking, "scores", scores)
        return ranking

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def top_k(self) -> int:
        """K, the number of results for each query, missing ones included."""
        return self.rows.shape[1]

    def take(self, queries: NDArray[np.int64]) -> "Ranking":
        """Return the results of these queries."""
        return self._checked(self.rows[queries], self.scores[queries])

    def cut(self, k: int) -> "Ranking":
        """Return the best `k` results of each query."""
        return self if k >= self.top_k else self._checked(self.rows[:, :k], self.scores[:, :k])

    def widened(self, k: int) -> "Ranking":
        """Return at least `k` results of each query; those that were not given are missing."""
        if k <= self.top_k:
            return self
        more = ((0, 0), (0, k - self.top_k))
        return self._checked(
            np.pad(self.rows, more, constant_values=MISSING), np.pad(self.scores, more, constant_values=-np.inf)
        )

    def without(self, own_rows: NDArray[np.int64]) -> "Ranking":
        """Remove the gallery row in `own_rows` [Q] from each query's results, at any rank; -1 removes none."""
        if len(own_rows) != len(self):
            raise ContractError(f"{len(own_rows)} queries need as many results, not {len(self)}", code="wrong-shape")
        own = (self.rows == own_rows[:, None]) & (own_rows[:, None] != MISSING)
        return Ranking.from_topk(np.where(own, MISSING, self.rows), self.scores)


def _are_in_order(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> bool:
    """Are there no missing results, and every score smaller than the one before? Most indexes return such rows."""
    return bool((scores[:, :-1] > scores[:, 1:]).all() and (rows >= 0).all())


def _numbers(given: ArrayLike, what: str, kinds: str) -> NDArray[Any]:
    """Return an array of numbers of these kinds; nothing is rounded or parsed."""
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ContractError(f"{what} [Q,K]: {error}", code="wrong-shape") from None
    if array.size and array.dtype.kind not in kinds:
        raise ContractError(f"{what} are numbers of another kind: {array.dtype}", code="bad-ranking")
    return array
