"""From what an index found to a ranking."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irbench.core.ranking import Ranking


def by_distance(rows: ArrayLike, distances: ArrayLike, k: int) -> Ranking:
    """Return the best `k` of rows [Q,K] (-1: nothing found), nearest first, scored by minus their squared distances."""
    scores = 0 - np.asarray(distances, np.float32)  # not -distances, which would make a zero negative
    return Ranking.from_topk(rows, scores).cut(k)


def once(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows [Q,K] with -1 in place of what was there before in the same query: some graphs return rows twice."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    again = np.zeros(rows.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    return np.where(again, -1, rows) if again.any() else rows
