"""Readers of lists, tables and folders. Every `DataError` names the file, and the line or row."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.data.decode import SUFFIXES


def lines(path: Path, *kinds: Callable[[str], Any], skip: int = 0) -> Iterator[tuple[Any, ...]]:
    """Yield the whitespace-separated columns of a text file, each converted by its kind; blank lines are skipped.

    `skip` lines at the top are a header. Raises `DataError` for a line that does not match `kinds`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in islice(enumerate(file, start=1), skip, None):
                columns = line.split()
                if columns:
                    yield _convert(columns, kinds, f"{path}, line {number}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error.reason}); get it again", code="damaged-file") from None


def whole(text: str) -> int:
    """Convert to an integer of less than 32 bits, as all labels, counts and pixels are."""
    number = int(text)
    if abs(number) >> 31:
        raise ValueError(text)
    return number


def _convert(columns: list[str], kinds: tuple[Callable[[str], Any], ...], where: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(text) for kind, text in zip(kinds, columns, strict=True))
    except ValueError:
        wanted = ", ".join("text" if kind is str else "a number" for kind in kinds)
        raise DataError(
            f"{where}: expected {wanted}, found {' '.join(columns)!r}; get the file again", code="bad-annotation"
        ) from None


def check_labels(labels: NDArray[np.int64], low: int, high: int, path: Path) -> None:
    """Raise `DataError` for a label outside of `low` to `high`."""
    wrong = (labels < low) | (labels > high)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{path}, row {row}: label {labels[row]} is not between {low} and {high}; get the file again",
            code="bad-label",
        )


def folders(root: Path) -> list[str]:
    """Return the names of the folders in `root`, sorted.

    Links to folders count, except those to `root` or a folder above it; hidden folders do not count.
    """
    above = {root.resolve(), *root.resolve().parents}
    with os.scandir(root) as entries:
        found = [entry for entry in entries if _is_folder(entry) and not entry.name.startswith(".")]
    return sorted(entry.name for entry in found if not entry.is_symlink() or Path(entry).resolve() not in above)


def image_files(folder: Path) -> list[str]:
    """Return the names of the image files in `folder`, sorted; not those of its subfolders, which may be loops."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if is_named_as_image(entry.name) and not entry.name.startswith(".") and is_file(entry)
        )


def classes_of(root: Path, below: str) -> list[tuple[str, str]]:
    """Return (class, id) of each image `root/below/<class>/<image>`, sorted; a class without images has no rows."""
    return [
        (name, f"{below}{name}/{file}") for name in folders(root / below) for file in image_files(root / below / name)
    ]


def numbered(names: list[str]) -> NDArray[np.int64]:
    """Return the label of each name: its place among the sorted distinct names."""
    place = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([place[name] for name in names], dtype=np.int64)


def is_named_as_image(name: str) -> bool:
    """Has a file of this name the suffix of an image?"""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 -- a million of them


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Is it a file, or a link that leads to one, or to nothing?"""
    return entry.is_file(follow_symlinks=False) or (entry.is_symlink() and not _is_folder(entry))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
