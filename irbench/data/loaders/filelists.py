"""Small files in the work folder that stand for a data set of one's own: they name the files that make it up."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from irbench.core.errors import DataError, writing
from irbench.core.names import legal_name
from irbench.runtime.cache import write_atomically

T = TypeVar("T")  # the files of a data set


def write(files: Mapping[str, Path | None], work: Path, *, title: str, suffix: str) -> Path:
    """Write which files make up a data set called `title`, below the work folder, and return where.

    The same files have the same place. They are named as seen from there: both may move together.
    """
    absolute = {name: path and str(path.expanduser().resolve()) for name, path in files.items()}
    digest = hashlib.sha256(json.dumps(absolute).encode()).hexdigest()[:16]
    folder = work.expanduser() / suffix.strip(".") / digest
    place = folder / f"{legal_name(title, suffix.strip('.'))}{suffix}"
    known = {name: path and os.path.relpath(path, folder.resolve()) for name, path in absolute.items()}
    with writing(f"to the work folder {work}", "--work"):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(place, json.dumps(known))
    return place


def read(path: Path, made: Callable[..., T], shape: str) -> T:
    """Return what is `made` of the files that a list names, seen from its folder.

    Raises `DataError` where the list is not of this `shape`.
    """
    folder = path.resolve().parent
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
        places = {name: None if one is None else Path(os.path.normpath(folder / one)) for name, one in named.items()}
        return made(**places)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not {shape} ({error})", code="damaged-file") from None
