"""The content of run and qrels files, whatever their format: names, ranks and scores in place of rows.

An image is named by its id. White space and whatever cannot be printed would break the columns of a text file, so it
is percent-encoded, and so is the percent sign: `a%20cat.png`. Names are the same in every format.

Evaluators in the line of trec_eval sort by score and ignore the rank; equal scores they sort by name, backwards. So
the scores that are written decrease strictly, also where the retriever's own were equal: the later one is lowered to
the next float32. They decrease in single precision, in which trec_eval reads them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.ranking import MISSING, Ranking

_AT_ONCE = 1000  # queries whose entries are in memory together
_LARGEST = np.float32(1e38)  # far enough from the end of float32 that a thousand steps down stay finite


@dataclass(frozen=True)
class Entries:
    """Some entries of a file, as columns: of a run with ranks and scores, of qrels with neither."""

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

    def write_qrels(self, path: Path, entries: Iterator[Entries]) -> None:
        """Write which images are relevant to which queries."""


def run_entries(ranking: Ranking, benchmark: Benchmark) -> Iterator[Entries]:
    """Yield the results by name, rank by rank from 1; missing results have no entry."""
    queries, images = _names(benchmark.queries.ids), _names(benchmark.gallery.ids)
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


def qrels_entries(benchmark: Benchmark) -> Iterator[Entries]:
    """Yield the positives of each query by name, without the query image itself; a query without any has no entry.

    Where there are no labels, these are as many of its nearest neighbours as the largest K of the metrics.
    """
    queries, images = _names(benchmark.queries.ids), _names(benchmark.gallery.ids)
    positives_of = _positives(benchmark)
    for start in range(0, len(queries), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(queries)))
        positives = [positives_of(row) for row in rows]
        yield Entries(
            [queries[row] for row, found in zip(rows, positives, strict=True) for _ in found],
            [images[row] for found in positives for row in found.tolist()],
            np.zeros(sum(map(len, positives)), np.int32),
            np.zeros(sum(map(len, positives)), np.float32),
        )


def _positives(benchmark: Benchmark) -> Callable[[int], NDArray[np.int64]]:
    """Return what gives the gallery rows that are relevant to a query."""
    nearest, deepest = benchmark.nearest, max(benchmark.ks)
    if nearest is not None:
        return lambda row: nearest.rows[row, :deepest][nearest.rows[row, :deepest] != MISSING]
    labels, query_labels, own = benchmark.gallery.labels, benchmark.queries.labels, benchmark.own_rows
    rows_of = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}

    def of_class(row: int) -> NDArray[np.int64]:
        found = rows_of.get(int(query_labels[row]), np.array([], np.int64))
        return found[found != own[row]]

    return of_class


def strictly_decreasing(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores [Q,K], best first, with each that is not below the one before it lowered to the next float32."""
    decreasing = np.clip(scores, -_LARGEST, _LARGEST)
    for place in range(1, decreasing.shape[1]):
        decreasing[:, place] = np.minimum(
            decreasing[:, place], np.nextafter(decreasing[:, place - 1], np.float32(-np.inf))
        )
    return decreasing


def rows_by_name(ids: Sequence[str]) -> Mapping[str, int]:
    """Map each image's name to its row; its plain id is accepted as well, where that is no other image's name."""
    return {id_: row for row, id_ in enumerate(ids)} | {name(id_): row for row, id_ in enumerate(ids)}


def name(id_: str) -> str:
    """Return an image's id as files name it: no white space, nothing that cannot be printed."""
    return id_ if _is_plain(id_) else "".join(map(_encoded, id_))


def _is_plain(text: str) -> bool:
    return text.isprintable() and "%" not in text and not any(map(str.isspace, text))


@cache
def _encoded(sign: str) -> str:
    return sign if _is_plain(sign) else quote(sign, safe="", errors="surrogateescape")


def _names(ids: Sequence[str]) -> list[str]:
    return [name(id_) for id_ in ids]
