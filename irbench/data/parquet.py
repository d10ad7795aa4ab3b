"""Parquet files of images, as the library `datasets` writes them, and their images as plain files.

An image is a struct of `bytes` and `path`, or binary (huggingface/datasets:src/datasets/features/image.py); a null one
has no file. What the columns mean is JSON under the key `huggingface` of the schema's metadata: `info.features` maps
each name to its type, and a ClassLabel has the `names` of its numbers, with -1 for an image whose label is not told
(huggingface/datasets:src/datasets/features/features.py).
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from irbench.core.errors import DataError, writing
from irbench.core.text import as_text
from irbench.runtime.cache import make_folder, write_atomically
from irbench.runtime.libraries import pyarrow
from irbench.runtime.locks import locked
from irbench.runtime.progress import track

SUFFIX = ".parquet"
_BATCH = 64  # images in memory at a time
_BUFFER = 1 << 20  # bytes of a column that are read at a time: row groups may be as large as their file


@dataclass(frozen=True)
class Table:
    """The rows of one or several files, in this order: a split, a corpus, queries or judgements."""

    name: str  # of the folder of its images
    files: tuple[Path, ...]

    @cached_property
    def columns(self) -> Mapping[str, Any]:
        """The Arrow type of each column of the first file; the others have to have those that are read."""
        with _opened(self.files[0]) as file:
            return {field.name: field.type for field in file.schema_arrow}

    @property
    def parts(self) -> tuple["Table", ...]:
        """Each file by itself."""
        return tuple(Table(self.name, (path,)) for path in self.files)

    @property
    def listed(self) -> str:
        """The columns and their types, for messages."""
        return ", ".join(f"{as_text(name)} ({kind})" for name, kind in self.columns.items()) or "none"

    @cached_property
    def features(self) -> Mapping[str, Any]:
        """What `datasets` says of each column; empty where another program wrote the file."""
        with _opened(self.files[0]) as file:
            stored = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
        with suppress(ValueError, LookupError, TypeError):
            found = json.loads(stored)["info"]["features"]
            return {name: one for name, one in found.items() if isinstance(one, dict)}
        return {}

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of each file."""
        return tuple(map(_rows_of, self.files))

    def values(self, column: str) -> list[Any]:
        """Return a column of all rows; null is None."""
        found: list[Any] = []
        for path in self.files:
            with _opened(path) as file:
                if column not in file.schema_arrow.names:
                    raise DataError(
                        f"{path}: no column {as_text(column)}, which {self.files[0].name} has; its columns are "
                        f"{', '.join(map(as_text, file.schema_arrow.names)) or 'none'}",
                        code="missing-column",
                    )
                found += file.read(columns=[column]).column(0).to_pylist()
        return found

    def where(self, row: int) -> str:
        """Return the file of a row, and its number there, counted from 0, for messages."""
        for path, size in zip(self.files, self.sizes, strict=True):
            if row < size:
                return f"{path}, row {row}"
            row -= size
        raise IndexError(row)

    @cached_property
    def image_column(self) -> str:
        """The column of images: `image`, or the only one of the type; `DataError` where that is none or several."""
        structs = [name for name, kind in self.columns.items() if _has_bytes(kind)]
        found = structs or [name for name, kind in self.columns.items() if _is_binary(kind)]
        if "image" in found or len(found) == 1:
            return "image" if "image" in found else found[0]
        wanted = "a struct of bytes and path, or binary"
        if "image" in self.columns:
            raise DataError(
                f"{self.files[0]}: column image is {self.columns['image']}, and an image is {wanted}; write the files "
                "with the feature Image of datasets",
                code="bad-column",
            )
        if found:
            raise DataError(
                f"{self.files[0]}: {', '.join(map(as_text, found))} could all be the images; name one of them image",
                code="bad-column",
            )
        raise DataError(
            f"{self.files[0]}: no column of images ({wanted}); its columns are {self.listed}", code="missing-column"
        )

    def unpack(self, column: str, names: Sequence[str], folder: Path) -> int:
        """Write the image of each row to `folder/name`, unless they are there, and return how many rows have none.

        What was interrupted goes on with the file at which it was. Memory is bounded by a batch of images.
        """
        missing, start = 0, 0
        with writing(f"to the work folder {folder}", "--work"):
            make_folder(folder)
            with locked(folder.with_suffix(".lock")):
                for number, (path, size) in enumerate(zip(self.files, self.sizes, strict=True)):
                    done = folder.with_suffix(f".{number:05}.done")
                    if not done.is_file():
                        nulls = _write(path, column, [folder / name for name in names[start : start + size]])
                        os.sync()  # once for all of them: one by one it would take minutes
                        write_atomically(done, str(nulls))
                    missing, start = missing + int(done.read_text()), start + size
        return missing


def _write(path: Path, column: str, places: Sequence[Path]) -> int:
    """Write the images of a file to these places, and return how many rows have none."""
    missing = 0
    for place, content in zip(places, track(_images(path, column), f"Unpacking {path.name}", len(places)), strict=True):
        if content is None:
            missing += 1
            place.unlink(missing_ok=True)
        else:
            place.write_bytes(content)
    return missing


def _images(path: Path, column: str) -> Iterator[Any]:
    """Yield the content of each image of a file as a buffer, None where it is null."""
    pa = pyarrow()
    with _opened(path) as file:
        if column not in file.schema_arrow.names:
            raise DataError(
                f"{path}: no column {as_text(column)}, in which other files have images", code="missing-column"
            )
        is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
        for batch in file.iter_batches(batch_size=_BATCH, columns=[column]):
            found = batch.column(0)
            values = found.field("bytes") if is_struct else found
            if is_struct and any(_is_elsewhere(one) for one in found.to_pylist() if one is not None):
                raise DataError(
                    f"{path}: column {as_text(column)} has paths of images, and not the images; write the files with "
                    "images in them (datasets.Dataset.to_parquet does, of images that are files too)",
                    code="missing-images",
                )
            yield from (value.as_buffer() if value.is_valid else None for value in values)


def _is_elsewhere(image: Mapping[str, Any]) -> bool:
    return image.get("bytes") is None and bool(image.get("path"))


def _rows_of(path: Path) -> int:
    with _opened(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; whatever cannot be read of it within the block is a `DataError`."""
    pa = pyarrow()
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: not a Parquet file that can be read ({reason}); get it again", code="damaged-file"
        ) from error


def _is_binary(kind: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _has_bytes(kind: Any) -> bool:
    if not pyarrow().types.is_struct(kind):
        return False
    return any(field.name == "bytes" and _is_binary(field.type) for field in islice(kind, kind.num_fields))
