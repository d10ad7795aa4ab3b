"""Google Landmarks Dataset v2, retrieval (Weyand et al. 2020): index and test images. Recipe: datasets/gldv2.toml.

The layout is that of cvdfoundation/google-landmark:README.md: the archives of a set unpacked into a folder of its name.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from irbench.core.errors import DataError
from irbench.data.loaders import Collection, Split, Task, listed

_INDEX = "index.csv"
_USES = ("Private", "Public", "Ignored")


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class LandmarksLoader:
    """Gallery: the index images; queries: the test images that are judged, those of one half under each protocol.

    Training images are not read: they have landmarks, and index images are judged for each query, without any.
    """

    marker: ClassVar[str] = "retrieval_solution_v2.1.csv"
    shape: ClassVar[str] = (
        f"{_INDEX}, retrieval_solution_v2.1.csv, index/0/1/2/0123456789abcdef.jpg ..., and test/... likewise"
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the list of the index, and the solution: which of its images show the landmark of a test image."""
        gallery = [id_ for _, (id_,) in _rows(root / _INDEX, "id")]
        row_of = {id_: row for row, id_ in enumerate(gallery)}
        path, queries, unused = root / self.marker, [], []
        for line, (id_, images, usage) in _rows(path, "id", "images", "Usage"):
            if usage not in _USES:
                raise DataError(
                    f"{path}, line {line}: usage '{usage}' is not {', '.join(_USES)}; get the file again",
                    code="unknown-choice",
                )
            if usage == "Ignored":
                unused.append(id_)
                continue
            names = set(images.split())
            if not names <= row_of.keys():
                raise DataError(
                    f"{path}, line {line}: image '{min(names - row_of.keys())}' is not in {_INDEX}; get both again",
                    code="unknown-id",
                )
            queries.append((id_, usage, np.array(sorted(map(row_of.__getitem__, names)), np.int64)))
        every = listed.split(len(gallery), len(queries))
        judged = listed.pairs(len(gallery), [[(rows, 1)] for *_, rows in queries])
        usages = np.array([usage for _, usage, _ in queries], np.str_)
        tasks = {
            usage.lower(): Task(
                split=Split(train=every.train, gallery=every.gallery, queries=every.queries[usages == usage]),
                judgements=judged,
            )
            for usage in ("Private", "Public")
        }
        return Collection(
            ids=(*(_path("index", id_) for id_ in gallery), *(_path("test", id_) for id_, *_ in queries)),
            labels=np.zeros(len(gallery) + len(queries), np.int64),
            split=tasks["private"].split,
            tasks=tasks,
            labelled=False,
            unused=tuple(_path("test", id_) for id_ in unused),
        )


def _path(part: str, id_: str) -> str:
    return f"{part}/{id_[0]}/{id_[1]}/{id_[2]}/{id_}.jpg"


def _rows(path: Path, *columns: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the values of each row of a CSV with exactly these columns, the id of an image first."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            if next(reader, []) != list(columns):
                raise DataError(
                    f"{path}: its first line is not {','.join(columns)}; get the file again", code="missing-column"
                )
            for values in reader:
                if len(values) != len(columns) or len(values[0]) < len("abc") or "/" in values[0]:
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(values)} values, and the id of an image first, are not "
                        f"{','.join(columns)}; get the file again",
                        code="bad-annotation",
                    )
                yield reader.line_num, values
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV in UTF-8 ({error}); get it again", code="damaged-file") from None
