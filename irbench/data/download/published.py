"""The published facts of a data set: files with their checksums, and expected counts. Part of datasets/NAME.toml."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from irbench.core.errors import DataError, StoreError
from irbench.runtime.progress import transfer

Packing = Literal["", "tar", "zip", "tars"]  # "tars": a tar of tars, each unpacked into a folder of its name
_CHUNK = 1 << 20
_CHECKSUMS = {"sha256": re.compile("[0-9a-f]{64}"), "md5": re.compile("[0-9a-f]{32}")}


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A published file, downloaded from `url`; without one, the user has to get it by hand.

    It is unpacked into `into`, below the data set's folder; it is complete if the path `gives` exists there.
    """

    url: str = ""
    name: str = ""  # by default the last part of the address
    bytes: int = 0
    sha256: str = ""
    md5: str = ""  # where no SHA-256 is published
    unpack: Packing = ""
    into: str = ""
    gives: str = ""  # by default the file itself

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or _last_part(self.url))
        object.__setattr__(self, "gives", self.gives or str(PurePosixPath(self.into) / self.name))
        if self.url and not re.match(r"https?://\w", self.url):
            raise ValueError(f"url '{self.url}' does not begin with https:// or http://")
        if self.url and not (self.bytes and (self.sha256 or self.md5)):
            raise ValueError(f"{self.name} needs bytes and sha256 (or md5): a download has to be verifiable")
        for key, pattern in _CHECKSUMS.items():
            if getattr(self, key) and not pattern.fullmatch(getattr(self, key)):
                raise ValueError(f"{key} '{getattr(self, key)}' is not a checksum in lower-case hexadecimal digits")
        if "/" in self.name or not all(map(_is_inside, (self.name, self.into or ".", self.gives))):
            raise ValueError(f"name '{self.name}', into '{self.into}' and gives '{self.gives}' lead out of the folder")

    @property
    def checksum(self) -> tuple[str, str]:
        """Algorithm and hexadecimal digest; two empty texts where none is published."""
        return next(((key, value) for key in _CHECKSUMS if (value := getattr(self, key))), ("", ""))

    def __str__(self) -> str:
        facts = [f"{self.bytes:,} bytes"] if self.bytes else []
        checksums = [" ".join(self.checksum)] if any(self.checksum) else []
        return "  ".join([self.name, *facts, *checksums])


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The numbers of images of a complete data set under its default protocol."""

    train: int
    gallery: int
    queries: int
    classes: int
    per_class: dict[str, tuple[int, int]] = field(
        default_factory=dict
    )  # of a split: images of its rarest and most frequent class
    duplicates: int = 0  # queries that were published in the gallery too, under another name
    fingerprint: str = ""  # of ids, labels and splits, if known

    def __post_init__(self) -> None:
        unknown = self.per_class.keys() - {"train", "gallery", "queries"}
        if unknown:
            raise ValueError(f"per_class has no split '{min(unknown)}': train, gallery and queries are the splits")


def check(file: RemoteFile, path: Path) -> None:
    """Compare `path` with the published size and checksum; `DataError` if they differ."""
    try:
        size = path.stat().st_size
        if file.bytes and size != file.bytes:
            raise DataError(f"{path} has {size:,} bytes, and {file.bytes:,} are published: {_ANOTHER}", code="checksum")
        algorithm, wanted = file.checksum
        if algorithm and (found := _digest(path, algorithm)) != wanted:
            raise DataError(f"{path} has {algorithm} {found}, and {wanted} is published: {_ANOTHER}", code="checksum")
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", code="unreadable-file") from None


def _digest(path: Path, algorithm: str) -> str:
    digest, done = hashlib.new(algorithm, usedforsecurity=False), 0
    with path.open("rb") as content, transfer(f"Checking {path.name}", total=path.stat().st_size) as show:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            show(done)
    return digest.hexdigest()


_ANOTHER = "it is another version, or damaged; delete it and get it again"


def _last_part(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts and "\\" not in path and "\0" not in path
