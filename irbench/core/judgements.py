"""Which gallery images are relevant to which queries: those of a class, those that share a label, or pair by pair.

A grade of 1 or more is relevant, and a higher one more so; 0 is not relevant; `JUNK` is neither right nor wrong: such
an image is removed from a ranking before it is scored. Shape letters: Q queries, N gallery images, Q' chosen queries, K
results, P pairs.
"""

import hashlib
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irbench.core.errors import ContractError
from irbench.core.ranking import MISSING

JUNK = -1
HIGHEST = 127  # grade

Rows = NDArray[np.int64]
Grades = NDArray[np.int8]
_AT_ONCE = 1 << 22  # words of label sets that are compared together


class Judgements(Protocol):
    """The relevance of N gallery images for Q queries."""

    def grades(self, queries: Rows, rows: Rows) -> "Grades | NDArray[np.bool_]":
        """Return the grades of rows [Q',K] for queries [Q']; a missing result has 0."""

    def counts(self, rows: range) -> Rows:
        """Return for each query [Q] how many of these gallery rows are relevant."""

    def of_query(self, query: int) -> tuple[Rows, Grades]:
        """Return the rows [P] of one query whose grade is not 0, in ascending order, and their grades [P]."""

    def take(self, queries: Rows, gallery: Rows) -> Self:
        """Return the judgements of these queries on these gallery images; both are numbered anew."""

    @property
    def shape(self) -> tuple[int, int]:
        """Q, N."""

    @property
    def junk(self) -> Rows:
        """[Q] number of junk images of each query."""

    @property
    def graded(self) -> bool:
        """Is one relevant image more so than another?"""

    @property
    def digest(self) -> str:
        """SHA-256, equal for equal judgements; "" where the labels of the images tell them."""


class _ByLabels:
    """What is common to judgements that follow from labels: nothing is graded, and nothing is junk."""

    queries: Sized  # [Q]
    gallery: Sized  # [N]
    graded = False

    @property
    def shape(self) -> tuple[int, int]:
        """Q, N."""
        return len(self.queries), len(self.gallery)

    @property
    def junk(self) -> Rows:
        """[Q] zeros: there is none."""
        return np.zeros(len(self.queries), np.int64)


@dataclass(frozen=True, eq=False)
class OfClass(_ByLabels):
    """Images of the query's class are relevant."""

    queries: Rows  # [Q] labels from 0
    gallery: Rows  # [N]

    digest = ""

    def grades(self, queries: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return which rows [Q',K] are of the classes of queries [Q']."""
        targets = self._targets if len(queries) == len(self.queries) else self._targets[queries]
        found: NDArray[np.bool_] = self._labels[rows] == targets[:, None]
        return found

    def counts(self, rows: range) -> Rows:
        """Return for each query [Q] how many of these gallery rows are of its class."""
        size = 1 + int(max(self.gallery.max(), self.queries.max()))
        return np.bincount(self.gallery[rows.start : rows.stop], minlength=size)[self.queries]

    def of_query(self, query: int) -> tuple[Rows, Grades]:
        """Return the rows [P] of the class of one query, and a grade of 1 for each."""
        label = int(self.queries[query])
        order, ends = self._order
        start, end = np.searchsorted(ends, [label, label + 1])
        found = order[start:end]
        return found, np.ones(len(found), np.int8)

    def take(self, queries: Rows, gallery: Rows) -> "OfClass":
        """Return the classes of these queries and gallery images."""
        return OfClass(self.queries[queries], self.gallery[gallery])

    @cached_property
    def _targets(self) -> NDArray[np.int32]:
        return self.queries.astype(np.int32)

    @cached_property
    def _labels(self) -> NDArray[np.int32]:
        return np.append(self.gallery, -1).astype(np.int32)  # row -1, a missing result, is of no class

    @cached_property
    def _order(self) -> tuple[Rows, Rows]:
        order = np.argsort(self.gallery, kind="stable")
        return order, self.gallery[order]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Judged pairs of a query and a gallery image, in order of query and row; what is not listed is not relevant.

    Raises `ContractError` where pairs are out of order, repeated, or of rows that there are not.
    """

    shape: tuple[int, int]  # Q, N
    query: Rows  # [P]
    row: Rows  # [P]
    grade: Grades  # [P]

    def __post_init__(self) -> None:
        if not len(self.query) == len(self.row) == len(self.grade):
            raise ContractError(
                f"{len(self.query)} queries, {len(self.row)} rows and {len(self.grade)} grades of pairs",
                code="wrong-shape",
            )
        if any(column.dtype != kind for column, kind in zip(self._columns, (np.int64, np.int64, np.int8), strict=True)):
            raise ContractError(
                f"pairs are int64, int64 and int8, not {self.query.dtype}, {self.row.dtype}, {self.grade.dtype}; see "
                "Pairs.of",
                code="bad-grade",
            )
        for numbers, size, what in zip((self.query, self.row), self.shape, ("query", "gallery row"), strict=True):
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < size:
                raise ContractError(f"a judgement of a {what} outside of 0 to {size - 1}", code="no-such-row")
        if (np.diff(self._keys) <= 0).any():
            raise ContractError("judgements are in order of query and row, each pair once", code="repeated-row")
        if len(self.grade) and self.grade.min() < JUNK:
            raise ContractError(f"a grade of {self.grade.min()}: junk has {JUNK}", code="bad-grade")

    @classmethod
    def of(cls, shape: tuple[int, int], query: ArrayLike, row: ArrayLike, grade: ArrayLike) -> "Pairs":
        """Return the judgements of pairs in any order, each listed once: rows of queries and gallery, and grades [P].

        Raises `ContractError` for what is no list of pairs, and for a grade that is not -1 to 127.
        """
        columns = [np.asarray(column) for column in (query, row, grade)]
        if len({column.shape for column in columns}) > 1 or any(column.ndim != 1 for column in columns):
            raise ContractError(
                f"pairs have queries, rows and grades of one shape [P], not {[column.shape for column in columns]}",
                code="wrong-shape",
            )
        for column, what in zip(columns, ("query", "row", "grade"), strict=True):
            if len(column) and column.dtype.kind not in "iu":
                raise ContractError(
                    f"column {what} of pairs has {column.dtype}, and whole numbers are needed",
                    code="bad-grade" if what == "grade" else "no-such-row",
                )
        given = columns[2]
        if len(given) and not (given.min() >= JUNK and given.max() <= HIGHEST):
            raise ContractError(
                f"grades are {JUNK} (junk) to {HIGHEST}, not {given.min()} to {given.max()}", code="bad-grade"
            )
        order = np.lexsort((columns[1], columns[0]))
        found = [
            column[order].astype(kind) for column, kind in zip(columns, (np.int64, np.int64, np.int8), strict=True)
        ]
        return cls(shape, *found)

    def grades(self, queries: Rows, rows: Rows) -> Grades:
        """Return the grades of rows [Q',K] for queries [Q']; of what is not judged it is 0."""
        if not len(self._keys):
            return np.zeros(rows.shape, np.int8)
        wanted = queries[:, None] * self.shape[1] + rows
        place = np.searchsorted(self._keys, wanted)
        place[place == len(self._keys)] = 0
        judged = (self._keys[place] == wanted) & (rows != MISSING)
        return np.where(judged, self.grade[place], np.int8(0))

    def counts(self, rows: range) -> Rows:
        """Return for each query [Q] how many of these gallery rows are relevant."""
        counted = (self.grade > 0) & (self.row >= rows.start) & (self.row < rows.stop)
        return np.bincount(self.query[counted], minlength=self.shape[0])

    def of_query(self, query: int) -> tuple[Rows, Grades]:
        """Return the rows [P] of one query whose grade is not 0, in ascending order, and their grades [P]."""
        start, end = np.searchsorted(self.query, [query, query + 1])
        rows, grades = self.row[start:end], self.grade[start:end]
        return rows[grades != 0], grades[grades != 0]

    def take(self, queries: Rows, gallery: Rows) -> "Pairs":
        """Return the judgements of these queries on these gallery images; both are numbered anew."""
        new_query, new_row = (np.full(size, MISSING, np.int64) for size in self.shape)
        new_query[queries], new_row[gallery] = np.arange(len(queries)), np.arange(len(gallery))
        query, row = new_query[self.query], new_row[self.row]
        stays = (query != MISSING) & (row != MISSING)
        return self.of((len(queries), len(gallery)), query[stays], row[stays], self.grade[stays])

    @cached_property
    def junk(self) -> Rows:
        """[Q] number of junk images of each query."""
        return np.bincount(self.query[self.grade == JUNK], minlength=self.shape[0])

    @cached_property
    def graded(self) -> bool:
        """Is one relevant image more so than another?"""
        return bool((self.grade > 1).any())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pairs and their grades."""
        found = hashlib.sha256(repr(self.shape).encode())
        for column in (self.query.astype("<i8"), self.row.astype("<i8"), self.grade):
            found.update(column.tobytes())
        return found.hexdigest()

    @property
    def _columns(self) -> tuple[NDArray[np.integer], ...]:
        return self.query, self.row, self.grade

    @cached_property
    def _keys(self) -> Rows:
        return self.query * self.shape[1] + self.row


@dataclass(frozen=True, eq=False)
class SharedLabel(_ByLabels):
    """Images are relevant that share at least one of their several labels with the query."""

    queries: Sequence[frozenset[int]]  # [Q]
    gallery: Sequence[frozenset[int]]  # [N]

    def grades(self, queries: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return which rows [Q',K] share a label with queries [Q']."""
        found = np.empty(rows.shape, bool)
        step = max(1, _AT_ONCE // (max(1, rows.shape[1]) * self._query_bits.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            wanted = self._query_bits[queries[part]][:, None]
            found[part] = (self._gallery_bits[rows[part]] & wanted).any(axis=2)
        return found

    def counts(self, rows: range) -> Rows:
        """Return for each query [Q] how many of these gallery rows share a label with it."""
        counts: dict[frozenset[int], int] = {}
        for labels in self.queries:
            if labels not in counts:
                found = self._with_any(labels)
                counts[labels] = int(((found >= rows.start) & (found < rows.stop)).sum())
        return np.array([counts[labels] for labels in self.queries], np.int64)

    def of_query(self, query: int) -> tuple[Rows, Grades]:
        """Return the rows [P] that share a label with one query, and a grade of 1 for each."""
        found = self._with_any(self.queries[query])
        return found, np.ones(len(found), np.int8)

    def take(self, queries: Rows, gallery: Rows) -> "SharedLabel":
        """Return the labels of these queries and gallery images."""
        return SharedLabel(
            [self.queries[row] for row in queries.tolist()], [self.gallery[row] for row in gallery.tolist()]
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the labels of each image."""
        every = [sorted(labels) for labels in (*self.queries, *self.gallery)]
        return hashlib.sha256(repr((len(self.queries), every)).encode()).hexdigest()

    def _with_any(self, labels: frozenset[int]) -> Rows:
        lists = [self._rows_of[label] for label in labels if label in self._rows_of]
        return np.unique(np.concatenate(lists)) if lists else np.array([], np.int64)

    @cached_property
    def _rows_of(self) -> dict[int, Rows]:
        rows: dict[int, list[int]] = {}
        for row, labels in enumerate(self.gallery):
            for label in labels:
                rows.setdefault(label, []).append(row)
        return {label: np.array(found, np.int64) for label, found in rows.items()}

    @cached_property
    def _query_bits(self) -> NDArray[np.uint8]:
        return _bits(self.queries, self._num_labels)

    @cached_property
    def _gallery_bits(self) -> NDArray[np.uint8]:
        return _bits([*self.gallery, frozenset()], self._num_labels)  # row -1, a missing result, has no label

    @cached_property
    def _num_labels(self) -> int:
        return 1 + max((max(labels, default=0) for labels in (*self.queries, *self.gallery)), default=0)


def _bits(sets: Sequence[frozenset[int]], size: int) -> NDArray[np.uint8]:
    """Return sets of numbers below `size` as bits, eight in a byte."""
    held = np.zeros((len(sets), size), bool)
    for row, labels in enumerate(sets):
        held[row, list(labels)] = True
    return np.packbits(held, axis=1)
