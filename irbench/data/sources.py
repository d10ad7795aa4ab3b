"""The sources of an image set: files, members of zip archives, or arrays in memory."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from PIL import Image

from irbench.core.benchmark import ImageSet
from irbench.core.errors import DataError
from irbench.core.filestate import state_of
from irbench.data.decode import MAX_BYTES, cut, decode, read_bytes

_UNZIP_ERRORS = (BadZipFile, KeyError, OSError, RuntimeError, EOFError, zlib.error)  # RuntimeError: a password


class Source:
    """The images of a set, each decoded on access; thread-safe.

    Where it `proves` them, a file that has changed since its content was hashed is refused.
    """

    def __init__(self, images: ImageSet, *, proves: bool = False) -> None:
        self.images, self.proves = images, proves
        self._root = str(images.root)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, row: int) -> Image.Image:
        """Return the whole RGB image of a row; `DataError` names the file and the reason."""
        if self.images.vectors is not None:
            raise DataError(f"{self._where(row)}: a vector, and no image that could be looked at", code="needs-images")
        if self.images.arrays is not None:
            return Image.fromarray(self.images.arrays[row])
        if self.images.generated is not None:
            return Image.fromarray(self.images.generated.image(row))
        try:
            content = self._bytes(row)
            self._prove(row, content)
            return decode(content)
        except DataError as error:
            if error.code == "changed-image":
                raise
            raise DataError(
                f"{self._where(row)}: {error}; --on-bad-image skip leaves it out", code=error.code
            ) from None

    def seen(self, row: int) -> Image.Image:
        """Return the image cropped to its box, or the whole image where there are no boxes.

        A box that does not fit is never ignored: it means that the boxes are those of other images.
        """
        image = self.image(row)
        if self.images.boxes is None:
            return image
        try:
            return cut(image, self.images.boxes[row])
        except DataError as error:
            raise DataError(
                f"{self._where(row)}: {error}; get boxes for these images, or give --crop none", code=error.code
            ) from None

    def _where(self, row: int) -> str:
        return f"{self.images.root / self.images.ids[row]} (row {row} of {self.images.name})"

    def _bytes(self, row: int) -> bytes:
        archive, member = self._archive_and_member(row)
        if archive is None:
            return read_bytes(self.images.root / self.images.ids[row])
        try:
            info = _member(archive, member)
            if info.file_size > MAX_BYTES:
                raise DataError(f"more than {MAX_BYTES >> 20} MiB", code="image-too-large")
            return _open(archive).read(info)
        except _UNZIP_ERRORS as error:
            raise DataError(f"cannot be read from its archive: {error}", code="unreadable-image") from None

    def _prove(self, row: int, content: bytes) -> None:
        known = self.images.contents
        if not self.proves or known is None or not known[row].any():
            return
        packed = self._archive_and_member(row)[0] is not None  # and known by what its archive lists
        found = self.content(row) if packed else hashlib.sha256(content).digest()
        if found != known[row].tobytes():
            raise DataError(
                f"{self._where(row)}: the file has changed since this command began; give the command again",
                code="changed-image",
            )

    def content(self, row: int) -> bytes | None:
        """Return the SHA-256 of a row's file, of a zip member that of size and checksum; None if it cannot be read."""
        archive, member = self._archive_and_member(row)
        try:
            if archive is not None:
                info = _member(archive, member)
                return hashlib.sha256(f"{info.file_size} {info.CRC}".encode()).digest()
            path = os.path.join(self._root, self.images.ids[row])  # noqa: PTH118 -- a million of them
            if not os.path.isfile(path):  # noqa: PTH113 -- as above; reading a pipe would never end
                return None
            with open(path, "rb") as file:  # noqa: PTH123
                return hashlib.file_digest(file, "sha256").digest()
        except _UNZIP_ERRORS:
            return None

    def state(self, row: int) -> str:
        """Return what changes with the file of a row: size, times and inode; of a zip member, size and checksum."""
        archive, member = self._archive_and_member(row)
        try:
            if archive is not None:
                info = _member(archive, member)
                return f"{info.file_size} {info.CRC}"
            return state_of(os.path.join(self._root, self.images.ids[row]))  # noqa: PTH118 -- a million of them
        except _UNZIP_ERRORS:
            return "missing"

    def _archive_and_member(self, row: int) -> tuple[Path | None, str]:
        head, inside, member = self.images.ids[row].partition(".zip/")
        if not inside:
            return None, ""
        archive = self.images.root / f"{head}.zip"
        return (archive, member) if os.path.isfile(archive) else (None, "")  # noqa: PTH113 -- false, not an error, for names too long


def absent_files(paths: set[str]) -> Iterator[str]:
    """Yield the paths without a file; members of zip archives are taken to exist."""
    listed: dict[str, set[str]] = {}
    for path in paths:
        if ".zip/" in path:  # the loader took it from the archive's list
            continue
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = _names_in(folder)
        if name not in listed[folder]:
            yield path


def _names_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (OSError, ValueError):  # missing, not a folder, or not a possible name
        return set()


def _member(archive: Path, name: str) -> ZipInfo:
    return _open(archive).getinfo(name)


def _open(archive: Path) -> ZipFile:
    return _opened(archive, state_of(archive), os.getpid())


@lru_cache(maxsize=16)
def _opened(archive: Path, _state: str, _process: int) -> ZipFile:
    """Open an archive once; again if it has changed, and in each process, since a shared file has one position."""
    return ZipFile(archive)
