"""Vectors that were computed elsewhere, in place of images: a small file names their arrays and labels.

`irbench run --vectors` writes it into the work folder (`write_list`), so that one path stands for the data set.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.data.arrays import check_dimensions, content_of, made_equal, read_labels, read_vectors
from irbench.data.loaders import Collection, Split, filelists
from irbench.data.loaders.files import numbered

SUFFIX = ".vectors"
SAMPLE = 1000  # rows of the gallery that are queries where no others are given


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a data set of vectors."""

    gallery: Path
    queries: Path | None = None  # None: an even sample of the gallery, each row searched among the others
    labels: Path | None = None  # of the gallery; None: the exact neighbours are relevant
    query_labels: Path | None = None  # where there are queries and labels

    def read(self) -> "Arrays":
        """Read all of them; `DataError` where they do not fit together."""
        gallery = read_vectors(self.gallery)
        queries = None if self.queries is None else read_vectors(self.queries)
        if queries is not None and self.queries is not None:
            check_dimensions(gallery, self.gallery, queries, self.queries)
        labels = [] if self.labels is None else read_labels(self.labels, len(gallery))
        if self.query_labels is not None and queries is not None:
            labels += read_labels(self.query_labels, len(queries))
        return Arrays(gallery, queries, tuple(labels), made_equal(self.gallery, gallery))


@dataclass(frozen=True, eq=False)
class Arrays:
    """What the files hold."""

    gallery: NDArray[np.float32]  # [N,D]
    queries: NDArray[np.float32] | None  # [Q,D]
    labels: tuple[str, ...]  # of the gallery, then of the queries; empty where there are none
    made_equal: int = 0  # of the gallery's different vectors, those that are equal to another in float32

    @property
    def split(self) -> Split:
        """The rows of gallery and queries, those of the queries counted on from the gallery's."""
        rows, gallery = len(self.gallery), np.arange(len(self.gallery))
        if self.queries is not None:
            return Split(train=gallery, gallery=gallery, queries=rows + np.arange(len(self.queries)))
        sample = np.arange(min(rows, SAMPLE)) * rows // min(rows, SAMPLE)
        return Split(train=gallery, gallery=gallery, queries=sample)

    @cached_property
    def contents(self) -> NDArray[np.uint8]:
        """[N+Q,32] SHA-256 of each vector."""
        return np.concatenate([content_of(one) for one in (self.gallery, self.queries) if one is not None])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of these rows, which rise; an array as a whole is not copied."""
        end = len(self.gallery)
        if self.queries is None or rows[-1] < end:
            return _rows(self.gallery, rows)
        before = int(np.searchsorted(rows, end))
        others = _rows(self.queries, rows[before:] - end)
        return others if before == 0 else np.concatenate([_rows(self.gallery, rows[:before]), others])


class VectorsLoader:
    """Gallery and queries are rows of two arrays, or of one; what is trained on is never looked at."""

    marker: ClassVar[str] = ""
    shape: ClassVar[str] = "a list of files as irbench run --vectors writes it"

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the arrays that the file `root` names."""
        files = read_list(root)
        arrays = files.read()
        split = arrays.split
        names = ("gallery", len(arrays.gallery)), ("queries", 0 if arrays.queries is None else len(arrays.queries))
        ids = tuple(f"{name}/{row}" for name, count in names for row in range(count))
        return Collection(
            ids=ids,
            labels=numbered(list(arrays.labels)) if arrays.labels else np.zeros(len(ids), np.int64),
            classes=tuple(sorted(set(arrays.labels))) or None,
            split=split,
            vectors=arrays.take,
            contents=arrays.contents,
            labelled=bool(arrays.labels),
            remarks=_remarks(arrays, split),
        )


def _rows(array: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return array if len(rows) == len(array) else array[rows]


def write_list(files: Files, work: Path) -> Path:
    """Write which files make up the data set, below the work folder, and return where: the path of the data set.

    Its name is that of the gallery's file.
    """
    return filelists.write(vars(files), work, title=files.gallery.stem, suffix=SUFFIX)


def read_list(path: Path) -> Files:
    """Return the files that a list names, seen from its folder."""
    return filelists.read(path, Files, VectorsLoader.shape)


def _remarks(arrays: Arrays, split: Split) -> tuple[str, ...]:
    found = [f"vectors of {arrays.gallery.shape[1]} dimensions, compared by Euclidean distance as they are"]
    if arrays.queries is None:
        found.append(
            f"queries are {len(split.queries):,} of the {len(arrays.gallery):,} gallery vectors, each searched among "
            "the others"
        )
    if arrays.made_equal:
        found.append(
            f"{arrays.made_equal:,} of the {len(arrays.gallery):,} gallery vectors equal another one in float32, in "
            "which they are compared, and not as they are stored"
        )
    if not arrays.labels:
        found.append(
            "no labels: recall@K is the share of the K exact nearest neighbours that are among the first K results"
        )
    return tuple(found)
