"""The user's own images, listed in a .csv or .tsv file: path,label,split and optionally a box x1,y1,x2,y2."""

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError, nearest
from irbench.core.judgements import SharedLabel
from irbench.core.text import SEPARATORS, separator
from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import numbered

_SPLITS = ("train", "gallery", "query")
_NEEDED = ("path", "label", "split")
_BOX = ("x1", "y1", "x2", "y2")
_OR = "|"  # between the labels of an image that has several
_MORE = "\0"  # the key of what a row has too many
# the columns of Open Metric Learning, whose split "validation" has a role for each image
_ROLES = {"query": "is_query", "gallery": "is_gallery"}
_ALSO_CALLED = {"x_1": "x1", "y_1": "y1", "x_2": "x2", "y_2": "y2"}
_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0", "")


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class CsvLoader:
    """One image per line; a path is absolute or relative to the file's folder, a label is any text.

    Where labels have a | in them, it stands between several of one image, and images that share one are relevant.
    An image may be in several splits, once in each. Without rows of split train, the gallery is the training set.
    Also read are columns separated by ; or tabs, an index column without a name, and the columns is_query and
    is_gallery, with which Open Metric Learning divides the split "validation".
    """

    marker: ClassVar[str] = ""
    shape: ClassVar[str] = "a file with a header path,label,split[,x1,y1,x2,y2], split being train, gallery or query"

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the file `root`."""
        rows = _rows(root)
        _check_boxes_whole(root, rows)
        splits = np.array([row["split"] for row in rows])
        train, gallery, queries = (np.flatnonzero(splits == split) for split in _SPLITS)
        names = [row["label"] for row in rows]
        several = _Several(names)
        ids = _ids([row["path"] for row in rows], root.parent)
        _check_repeated(root, rows, ids)
        if not len(gallery) and not len(train):
            listed = f"only queries ({len(rows)})" if rows else "no images"
            raise DataError(f"{root}: lists {listed}; rows of split gallery are needed", code="no-images")
        return Collection(
            ids=ids,
            labels=numbered(names),
            classes=tuple(sorted(set(names))),
            split=Split(train=train if len(train) else gallery, gallery=gallery, queries=queries),
            boxes=(lambda: _boxes(rows, root)) if rows and set(_BOX) <= rows[0].keys() else None,
            judgements=several.judgements,
            remarks=tuple(several.remarks),
        )


class _Several:
    """The different labels of each image; what is empty between two | is none."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sets = [frozenset(label.strip() for label in name.split(_OR)) - {""} for name in names]

    @property
    def judgements(self) -> SharedLabel | None:
        """Which images share a label, where some have several."""
        if all(len(labels) < 2 for labels in self._sets):
            return None
        number = {label: place for place, label in enumerate(sorted(frozenset().union(*self._sets)))}
        numbered_sets = [frozenset(number[label] for label in labels) for labels in self._sets]
        return SharedLabel(numbered_sets, numbered_sets)

    @property
    def remarks(self) -> Iterator[str]:
        """How many images have several, and how many an empty or a repeated one."""
        count = sum(len(labels) > 1 for labels in self._sets)
        if not count:
            return
        yield (
            f"several labels, separated by {_OR}: {count:,} of {len(self._sets):,} images; those that share one are "
            "relevant, and methods are trained on the combinations as classes"
        )
        pairs = zip(self._names, self._sets, strict=True)
        if odd := sum(name.count(_OR) >= len(labels) for name, labels in pairs):
            yield f"images with an empty or repeated label between {_OR}: {odd:,}"


def _check_boxes_whole(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    present = [corner for corner in _BOX if rows and corner in rows[0]]
    if present and len(present) < len(_BOX):
        missing = ", ".join(corner for corner in _BOX if corner not in present)
        raise DataError(
            f"{path}: columns {', '.join(present)} of a box are there, but not {missing}", code="missing-column"
        )


def _check_repeated(path: Path, rows: Sequence[Mapping[str, str]], ids: Sequence[str]) -> None:
    first: dict[tuple[str, str], Mapping[str, str]] = {}
    for row, id_ in zip(rows, ids, strict=True):
        before = first.setdefault((row["split"], id_), row)
        if before is not row:
            labels = (
                "" if before["label"] == row["label"] else f", with labels '{before['label']}' and '{row['label']}'"
            )
            raise DataError(
                f"{path}, line {row['line']}: {id_} is listed in split {row['split']} a second time, after line "
                f"{before['line']}{labels}",
                code="duplicate-image",
            )


def _ids(paths: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return one id for each image, seen from the folder, however its own is written: absolute, or through a link."""
    here = folder.resolve()
    parents = {Path(path).parent for path in paths}
    places = {parent: Path(os.path.relpath((folder / parent).resolve(), here)) for parent in parents}
    return tuple((places[Path(path).parent] / Path(path).name).as_posix() for path in paths)


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows in the words of irbench, each with its line number under "line"."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = separator(file.readline(), _NEEDED)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, restkey=_MORE, skipinitialspace=True, strict=True)
            names = [name.strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = [_ALSO_CALLED.get(name, name) for name in names]
            _check_header(path, reader.fieldnames, delimiter)
            return [
                row | {"line": str(reader.line_num)}
                for read in reader
                for row in _checked(read, f"{path}, line {reader.line_num}", path.parent, delimiter)
            ]
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"{path}: not a text in UTF-8 (it has a byte {byte:#04x}); save it as CSV UTF-8", code="bad-csv"
        ) from None
    except csv.Error as error:
        open_ended = "a quotation mark is opened and not closed" if "unexpected end" in str(error) else str(error)
        raise DataError(f"{path}: not a list that can be read: {open_ended}", code="bad-csv") from None


def _check_header(path: Path, names: Sequence[str], delimiter: str) -> None:
    for name in _NEEDED:
        if name not in names:
            raise DataError(
                f"{path}: its first line has no column '{name}'{nearest(name, names)}; needed are "
                f"{', '.join(_NEEDED)}, separated by , ; or tabs{_other_separator(names)}",
                code="missing-column",
            )
    for name in names:
        places = [str(place) for place, other in enumerate(names, 1) if other == name]
        if name and len(places) > 1:
            raise DataError(
                f"{path}: in its first line, separated by {SEPARATORS[delimiter]}, columns {' and '.join(places)} are "
                f"both '{name}'; keep the one that is meant, and rename or delete the other",
                code="bad-csv",
            )


def _other_separator(names: Sequence[str]) -> str:
    """Name what stands between the needed names of a line that was not separated."""
    found = re.search(r"(?:path|label|split)[\"' ]*([^\w\"' ]| +)[\"' ]*(?:path|label|split)", ",".join(names))
    between = found.group(1) if found else ","
    if between == ",":
        return ""
    return f", and not by {'spaces' if between.isspace() else between}"


def _checked(row: dict[str, str], where: str, folder: Path, delimiter: str) -> Iterator[dict[str, str]]:
    """Yield the row, or one for each split that Open Metric Learning's columns put its image into."""
    if _MORE in row or None in row.values():
        raise DataError(
            f"{where}: more or fewer columns than in the first line, which is separated by {SEPARATORS[delimiter]}; "
            "quote texts that contain this separator",
            code="bad-csv",
        )
    row.pop("", None)  # an index without a name, as pandas writes it
    row |= {name: row[name].strip() for name in _NEEDED}
    for name in _NEEDED:
        if not row[name] or "\0" in row[name]:
            raise DataError(f"{where}: column '{name}' is empty or contains a zero byte", code="empty-value")
    place = {"path": Path(os.path.normpath(_separated(row["path"], folder))).as_posix()}  # ./b.jpg is b.jpg
    yield from (row | place | {"split": split} for split in _splits(row, where))


def _splits(row: Mapping[str, str], where: str) -> Sequence[str]:
    if row["split"] in _SPLITS:
        return [row["split"]]
    roles = [split for split, column in _ROLES.items() if row["split"] == "validation" and _is_true(row, column, where)]
    if row["split"] == "validation" and roles:
        return roles
    if row["split"] == "validation" and set(_ROLES.values()) & row.keys():
        raise DataError(f"{where}: neither is_query nor is_gallery is true", code="unknown-choice")
    raise DataError(f"{where}: split '{row['split']}' is not train, gallery or query", code="unknown-choice")


def _is_true(row: Mapping[str, str], column: str, where: str) -> bool:
    value = row.get(column, "").strip().lower()
    if value not in (*_TRUE, *_FALSE):
        raise DataError(f"{where}: {column} '{row[column]}' is neither true nor false", code="unknown-choice")
    return value in _TRUE


def _separated(path: str, folder: Path) -> str:
    r"""Return a path that was written on Windows, images\1.jpg, with the separators of this system."""
    other = path.replace("\\", "/")
    return other if other != path and not (folder / path).exists() and (folder / other).exists() else path


def _boxes(rows: list[dict[str, str]], path: Path) -> NDArray[np.int32]:
    boxes = np.array([[_number(row[corner]) for corner in _BOX] for row in rows])
    bad = ~(np.abs(boxes) < 2**31).all(axis=1)
    if bad.any():
        line = rows[int(bad.argmax())]["line"]
        raise DataError(f"{path}, line {line}: x1,y1,x2,y2 are four numbers of pixels", code="bad-box")
    if (boxes <= 1).all():
        raise DataError(
            f"{path}: no x1,y1,x2,y2 is larger than 1: boxes are in pixels, so multiply shares of an image by its "
            "width and height",
            code="bad-box",
        )
    turned = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    if turned.any():
        line = rows[int(turned.argmax())]["line"]
        raise DataError(
            f"{path}, line {line}: x2 ≤ x1 or y2 ≤ y1, as in {int(turned.sum())} of {len(boxes)} rows; x2,y2 is the "
            "lower right corner, not width and height",
            code="bad-box",
        )
    return boxes.round().astype(np.int32)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
