"""The user's own images, listed in a .csv file: path,label,split and optionally a box x1,y1,x2,y2."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError, nearest
from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import numbered

_SPLITS = ("train", "gallery", "query")
_NEEDED = ("path", "label", "split")
_BOX = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class CsvLoader:
    """One image per line; a path is absolute or relative to the file's folder, a label is any text.

    An image may be in several splits, once in each. Without rows of split train, the gallery is the training set.
    """

    marker: ClassVar[str] = ""
    shape: ClassVar[str] = "a file with a header path,label,split[,x1,y1,x2,y2], split being train, gallery or query"

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the file `root`."""
        rows = _rows(root)
        splits = np.array([row["split"] for row in rows])
        train, gallery, queries = (np.flatnonzero(splits == split) for split in _SPLITS)
        return Collection(
            ids=_ids([row["path"] for row in rows], root.parent),
            labels=numbered([row["label"] for row in rows]),
            split=Split(train=train if len(train) else gallery, gallery=gallery, queries=queries),
            boxes=(lambda: _boxes(rows, root)) if rows and set(_BOX) <= rows[0].keys() else None,
        )


def _ids(paths: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return one id for each image, seen from the folder, however its own is written: absolute, or through a link."""
    here = folder.resolve()
    parents = {Path(path).parent for path in paths}
    places = {parent: Path(os.path.relpath((folder / parent).resolve(), here)) for parent in parents}
    return tuple((places[Path(path).parent] / Path(path).name).as_posix() for path in paths)


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows, each with its line number under "line"."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", skipinitialspace=True, strict=True)
            _check_header(path, reader.fieldnames or [])
            return [_checked(row, f"{path}, line {reader.line_num}") | {"line": str(reader.line_num)} for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a .csv file in UTF-8 ({error})", code="bad-csv") from None


def _check_header(path: Path, names: Sequence[str]) -> None:
    for name in _NEEDED:
        if name not in names:
            raise DataError(
                f"{path}: its first line has no column '{name}'{nearest(name, names)}; needed are {_NEEDED}",
                code="missing-column",
            )


def _checked(row: dict[str, str], where: str) -> dict[str, str]:
    if "" in row or None in row.values():
        raise DataError(
            f"{where}: more or fewer columns than in the first line; quote texts with a comma", code="bad-csv"
        )
    row |= {name: row[name].strip() for name in _NEEDED}
    for name in _NEEDED:
        if not row[name] or "\0" in row[name]:
            raise DataError(f"{where}: column '{name}' is empty or contains a zero byte", code="empty-value")
    if row["split"] not in _SPLITS:
        raise DataError(f"{where}: split '{row['split']}' is not train, gallery or query", code="unknown-choice")
    return row | {"path": Path(os.path.normpath(row["path"])).as_posix()}  # ./b.jpg is b.jpg


def _boxes(rows: list[dict[str, str]], path: Path) -> NDArray[np.int32]:
    boxes = np.empty((len(rows), 4), np.int32)
    for place, row in enumerate(rows):
        try:
            boxes[place] = [round(float(row[corner])) for corner in _BOX]
        except (ValueError, OverflowError):
            raise DataError(
                f"{path}, line {row['line']}: x1,y1,x2,y2 are four numbers of pixels", code="bad-box"
            ) from None
    return boxes
