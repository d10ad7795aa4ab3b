"""Data sets whose queries are judged against a gallery that they are no part of: rows of the gallery, then of queries.

There are no classes, and no training set: methods see the gallery, unlabelled.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from irbench.core.judgements import Pairs
from irbench.data.loaders import Split

Judged = Sequence[tuple[NDArray[np.int64], int]]  # gallery rows of one query, and the grade of these


def split(gallery: int, queries: int) -> Split:
    """Return the split of so many images."""
    rows = np.arange(gallery + queries)
    return Split(train=rows[:gallery], gallery=rows[:gallery], queries=rows[gallery:])


def pairs(gallery: int, judged: Sequence[Judged]) -> Pairs:
    """Return the judgements between all images of a collection, from those of each query; each pair is judged once."""
    none = np.empty(0, np.int64)
    query, row, grade = [none], [none], [none]
    for number, of_query in enumerate(judged):
        for rows, value in of_query:
            query.append(np.full(len(rows), gallery + number))
            row.append(rows)
            grade.append(np.full(len(rows), value))
    every = gallery + len(judged)
    return Pairs.of((every, every), *(np.concatenate(column) for column in (query, row, grade)))
