"""The content of run and qrels files, whatever their format: names, ranks and scores in place of rows.

An image is named by its id, as `irbench.core.imagenames` writes it. Names are the same in every format.

Evaluators in the line of trec_eval sort by score and ignore the rank; equal scores they sort by name, backwards. So
the scores that are written decrease strictly, also where the retriever's own were equal: the later one is lowered to
the next float32. They decrease in single precision, in which trec_eval reads them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.imagenames import names
from irbench.core.judgements import Grades, Rows
from irbench.core.ranking import MISSING, Ranking

_AT_ONCE = 1000  # queries whose entries are in memory together
_LARGEST = np.float32(1e38)  # far enough from the end of float32 that a thousand steps down stay finite


@dataclass(frozen=True)
class Relevant:
    """Some entries of qrels, as columns; a grade of 1 or more is relevant, -1 neither right nor wrong."""

    queries: list[str]
    images: list[str]
    grades: NDArray[np.int32]


@dataclass(frozen=True)
class Entries:
    """Some entries of a run, as columns."""

    queries: list[str]
    images: list[str]
    ranks: NDArray[np.int32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class RunLine:
    """An entry of a run file; `line` is counted from 1, as editors do."""

    line: int
    query: str
    image: str
    score: float
    rank: int | None = None


class Format(Protocol):
    """A kind of file that rankings are written to."""

    suffix: str

    def write_run(self, path: Path, entries: Iterator[Entries], tag: str) -> None:
        """Write the results of the method called `tag`."""

    def write_qrels(self, path: Path, entries: Iterator[Relevant]) -> None:
        """Write which images are relevant to which queries."""


def run_entries(ranking: Ranking, benchmark: Benchmark) -> Iterator[Entries]:
    """Yield the results by name, rank by rank from 1; missing results have no entry."""
    queries, images = names(benchmark.queries.ids), names(benchmark.gallery.ids)
    scores = strictly_decreasing(ranking.scores)
    for start in range(0, len(ranking), _AT_ONCE):
        rows, places = np.nonzero(ranking.rows[start : start + _AT_ONCE] != MISSING)
        rows += start
        yield Entries(
            [queries[row] for row in rows.tolist()],
            [images[row] for row in ranking.rows[rows, places].tolist()],
            (places + 1).astype(np.int32),
            scores[rows, places],
        )


def qrels_entries(benchmark: Benchmark) -> Iterator[Relevant]:
    """Yield the positives of each query by name, and its junk, without the query image itself.

    Where there are no labels, these are as many of its nearest neighbours as the largest K of the metrics.
    """
    queries, images = names(benchmark.queries.ids), names(benchmark.gallery.ids)
    judged = _judged(benchmark)
    for start in range(0, len(queries), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(queries)))
        found = [judged(row) for row in rows]
        yield Relevant(
            [queries[row] for row, (listed, _) in zip(rows, found, strict=True) for _ in listed],
            [images[row] for listed, _ in found for row in listed.tolist()],
            np.concatenate([grades for _, grades in found]).astype(np.int32),
        )


def _judged(benchmark: Benchmark) -> Callable[[int], tuple[Rows, Grades]]:
    """Return what gives the gallery rows whose grade for a query is not 0, and their grades."""
    nearest, deepest = benchmark.nearest, max(benchmark.ks)

    def neighbours(row: int, rows: Rows) -> tuple[Rows, Grades]:
        found = rows[row, :deepest][rows[row, :deepest] != MISSING]
        return found, np.ones(len(found), np.int8)

    def of_query(row: int) -> tuple[Rows, Grades]:
        found, grades = benchmark.relevance.of_query(row)
        others = found != benchmark.own_rows[row]
        return found[others], grades[others]

    return of_query if nearest is None else partial(neighbours, rows=nearest.rows)


def strictly_decreasing(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores [Q,K], best first, with each that is not below the one before it lowered to the next float32."""
    decreasing = np.clip(scores, -_LARGEST, _LARGEST)
    for place in range(1, decreasing.shape[1]):
        decreasing[:, place] = np.minimum(
            decreasing[:, place], np.nextafter(decreasing[:, place - 1], np.float32(-np.inf))
        )
    return decreasing
