"""From what an index found to a ranking."""

import numpy as np
from numpy.typing import ArrayLike

from irbench.core.ranking import Ranking


def by_distance(rows: ArrayLike, distances: ArrayLike, k: int) -> Ranking:
    """Return the best `k` of rows [Q,K] (-1: nothing found), nearest first, scored by minus their squared distances."""
    scores = 0 - np.asarray(distances, np.float32)  # not -distances, which would make a zero negative
    return Ranking.from_topk(rows, scores).cut(k)
