"""Unpacking of untrusted archives: no writes outside the folder, no links, and limits of size and number of members.

tarfile's own filter is not relied on: before Python 3.11.13 and 3.13.4 links could lead it out of the folder
(CVE-2025-4517), and a name that it refuses may be skipped while the rest is unpacked. Here one bad member refuses the
whole archive. zipfile changes such names silently, and has no limits.
"""

import errno
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Self
from zipfile import BadZipFile, ZipFile, ZipInfo

from irbench.core.errors import DataError, writing
from irbench.data.download.published import Packing
from irbench.runtime.progress import track

_DAMAGE = (
    tarfile.TarError,
    BadZipFile,
    EOFError,
    ValueError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
)
_DEEPEST = 64  # folders in folders
_IN_THE_WAY = (FileExistsError, NotADirectoryError, IsADirectoryError)


class Budget:
    """Limits of an unpacked archive; images hardly compress, so one that expands a lot is an attack."""

    def __init__(self, *, size: int, members: int) -> None:
        self._limits = size, members
        self._size = self._members = 0

    @classmethod
    def of(cls, archive: Path) -> Self:
        """Return the default limits: 20 times the size of the archive plus 64 MiB, and three million members."""
        return cls(size=20 * archive.stat().st_size + (64 << 20), members=3_000_000)

    def spend(self, size: int) -> None:
        """Count a member of `size` bytes; `DataError` above a limit."""
        if size < 0:  # makes tarfile read the same members forever (CVE-2025-8194)
            raise DataError("a member states a negative size", code="unsafe-archive")
        self._size += size
        self._members += 1
        for what, spent, limit in zip(("bytes", "members"), (self._size, self._members), self._limits, strict=True):
            if spent > limit:
                raise DataError(f"it contains more than {limit:,} {what}", code="archive-too-large")


class _Member(tarfile.TarInfo):
    """A member that raises an error if damaged; tarfile would take it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # the block of zeros that closes an archive
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def unpack(archive: Path, folder: Path, packing: Packing, limits: Budget | None = None) -> None:
    """Unpack `archive` into the empty `folder`.

    Raises `DataError` that names the archive and the member, or `StoreError` if it cannot be written; the caller has to
    remove what has been unpacked by then.
    """
    with writing(f"what {archive} holds to {folder}", "--data"):
        try:
            limits = limits or Budget.of(archive)
            if packing == "zip":
                _unzip(archive, folder, limits)
            else:
                with archive.open("rb") as content:
                    _untar(content, folder, limits, nested=packing == "tars", name=archive.name)
        except DataError as error:
            raise DataError(f"{archive} is refused, and none of it unpacked: {error}", code=error.code) from None
        except _DAMAGE as error:
            raise DataError(
                f"{archive} is not a whole {packing.removesuffix('s')} archive: {error}; get it again",
                code="damaged-file",
            ) from None
        except _IN_THE_WAY as error:
            raise DataError(
                f"{archive} is refused, and none of it unpacked: it contains {error.filename} twice",
                code="duplicate-member",
            ) from None
        except OSError as error:
            if error.errno in (None, errno.EINVAL):  # from gzip and bz2, and from a seek to an impossible offset
                raise DataError(f"{archive} is damaged: {error}; get it again", code="damaged-file") from None
            raise


def _untar(content: IO[bytes], folder: Path, limits: Budget, *, nested: bool, name: str) -> None:
    with tarfile.open(fileobj=content, mode="r:*", tarinfo=_Member) as tar:
        for member in track(_members(tar), f"Unpacking {name}"):
            place = _place(member.name, folder)
            if not (member.isreg() or member.isdir()):
                raise DataError(f"{member.name!r} is a link or a device", code="unsafe-archive")
            limits.spend(member.size)
            if place is None:
                continue
            if nested and member.isreg():
                _untar_inner(tar, member, folder, limits)
            else:
                _extract(tar, member, place)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        yield member
        tar.members.clear()  # type: ignore[attr-defined] # or a million of them stay in memory


def _untar_inner(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, limits: Budget) -> None:
    """Unpack a tar within a tar into a folder of its name: n01440764.tar into n01440764."""
    inner = folder / PurePosixPath(member.name).stem
    content = tar.extractfile(member)
    if content is None or PurePosixPath(member.name).suffix != ".tar":
        raise DataError(f"{member.name!r} is not a tar archive within this one", code="wrong-archive")
    inner.mkdir()
    with content:
        _untar(content, inner, limits, nested=False, name=member.name)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    """Write one file or folder, without its owner and permissions (Python 3.11.2 has no filter for that)."""
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    if os.path.lexists(place):
        raise DataError(f"it contains {member.name!r} twice", code="duplicate-member")
    content = tar.extractfile(member)
    if content is None:
        raise DataError(f"{member.name!r} is not a file", code="unsafe-archive")
    with content:
        _write(content, place)


def _unzip(archive: Path, folder: Path, limits: Budget) -> None:
    with ZipFile(archive) as file:
        members = file.infolist()
        for member in members:  # all of them before any is written
            _check_zipped(member, limits)
        for member in track(members, f"Unpacking {archive.name}"):
            place = _place(member.orig_filename, folder)
            if place is None:
                continue
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                with file.open(member) as content:
                    _write(content, place)


def _check_zipped(member: ZipInfo, limits: Budget) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{member.filename!r} is a link or a device", code="unsafe-archive")
    if member.flag_bits & 1:
        raise DataError(
            f"{member.filename!r} is encrypted; get the archive without a password", code="encrypted-archive"
        )
    limits.spend(member.file_size)


def _write(content: IO[bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as out:
        shutil.copyfileobj(content, out, 1 << 20)  # at most the stated size of the member, which was counted


def _place(name: str, folder: Path) -> Path | None:
    """Return the path of a member below `folder`; None for the folder itself ("./")."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or name[1:2] == ":":
        raise DataError(f"{name!r} leads out of the folder", code="unsafe-archive")
    if len(path.parts) > _DEEPEST:
        raise DataError(f"{name[:80]!r} lies in {len(path.parts) - 1} folders", code="unsafe-archive")
    if any(ord(letter) < 32 for letter in name) or any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise DataError(f"{name[:80]!r} is not a valid file name", code="unsafe-archive")
    return folder / path if path.parts else None
