"""Where the bytes of an image set come from: files, members of zip archives, or arrays in memory."""

import hashlib
import os
import zlib
from functools import cached_property, lru_cache
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from PIL import Image

from irbench.core.benchmark import ImageSet
from irbench.core.errors import DataError
from irbench.data.decode import MAX_BYTES, cut, decode, read_bytes

_UNZIP_ERRORS = (BadZipFile, KeyError, OSError, RuntimeError, EOFError, zlib.error)  # RuntimeError: a password


class Source:
    """The pictures of an image set, each decoded when asked for; safe for several threads."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images
        self._root = str(images.root)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def in_files(self) -> bool:
        """Are there files to read and decode? Else the pictures are in memory."""
        return self.images.arrays is None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the pictures depend on: ids, boxes, and each file's size and time of change.

        The place of the files is not part of it, nor are the labels; of a zip member it is the checksum that counts.
        """
        digest = hashlib.sha256()
        for row, id_ in enumerate(self.images.ids):
            digest.update(f"{id_}\0{self._version(row)}\n".encode("utf-8", "surrogateescape"))
        for array in (self.images.boxes, self.images.arrays):
            if array is not None:
                digest.update(f"{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def picture(self, row: int) -> Image.Image:
        """Return the whole RGB picture of a row; `DataError` names the file and says what is wrong."""
        if self.images.arrays is not None:
            return Image.fromarray(self.images.arrays[row])
        try:
            return decode(self._bytes(row))
        except DataError as error:
            raise DataError(f"{self._where(row)}: {error}; --on-bad-image skip leaves it out") from None

    def seen(self, row: int) -> Image.Image:
        """Return the part of the picture inside its box, or all of it where there are no boxes.

        A box that does not fit is never skipped: it means that the boxes were drawn on other pictures.
        """
        picture = self.picture(row)
        if self.images.boxes is None:
            return picture
        try:
            return cut(picture, self.images.boxes[row])
        except DataError as error:
            raise DataError(f"{self._where(row)}: {error}; get boxes for these pictures, or leave --crop out") from None

    def _where(self, row: int) -> str:
        return f"{self.images.root / self.images.ids[row]} (row {row} of {self.images.name})"

    def _bytes(self, row: int) -> bytes:
        archive, member = self._archive_and_member(row)
        if archive is None:
            return read_bytes(self.images.root / self.images.ids[row])
        try:
            info = _member(archive, member)
            if info.file_size > MAX_BYTES:
                raise DataError(f"more than {MAX_BYTES >> 20} MiB")
            return _open(archive).read(info)
        except _UNZIP_ERRORS as error:
            raise DataError(f"cannot be read from its archive: {error}") from None

    def _version(self, row: int) -> str:
        if self.images.arrays is not None:
            return ""
        archive, member = self._archive_and_member(row)
        try:
            if archive is not None:
                info = _member(archive, member)
                return f"{info.file_size} {info.CRC}"
            facts = os.stat(os.path.join(self._root, self.images.ids[row]))  # noqa: PTH116, PTH118 -- a million of them
        except _UNZIP_ERRORS:
            return "missing"
        return f"{facts.st_size} {facts.st_mtime_ns}"

    def _archive_and_member(self, row: int) -> tuple[Path | None, str]:
        head, inside, member = self.images.ids[row].partition(".zip/")
        if not inside:
            return None, ""
        archive = self.images.root / f"{head}.zip"
        return (archive, member) if os.path.isfile(archive) else (None, "")  # noqa: PTH113 -- false, not an error, for names too long


def _member(archive: Path, name: str) -> ZipInfo:
    return _open(archive).getinfo(name)


def _open(archive: Path) -> ZipFile:
    facts = archive.stat()
    return _opened(archive, facts.st_size, facts.st_mtime_ns, os.getpid())


@lru_cache(maxsize=16)
def _opened(archive: Path, _size: int, _changed: int, _process: int) -> ZipFile:
    """Open an archive once: again where it has changed, and in each process, for a shared file has one position."""
    return ZipFile(archive)
