"""Images that are drawn when they are read: a million of them take no file and no more memory than their labels."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256  # images that are drawn together where they are read one after the other


class Generator(Protocol):
    """Draws images by number: the same number gives the same image, whatever else is drawn, on every machine."""

    @property
    def identity(self) -> str:
        """What the images are made from: equal where all images are."""

    @property
    def side(self) -> int:
        """Pixels a side."""

    def draw(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the grey images [B,S,S] of these numbers [B]."""


@dataclass(frozen=True, eq=False)
class GeneratedImages:
    """The images of some numbers [N], of S x S pixels: number n is image n // P of the P-th part, P = n % parts.

    Contents and fingerprint are those of what the images are made from, without drawing any. So two images of different
    numbers count as different even where all their pixels are equal; `irbench data verify` compares the pixels.
    """

    generator: Generator
    numbers: NDArray[np.int64]
    parts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def ids(self) -> "NumberedIds":
        """[N], written when they are asked for."""
        return NumberedIds(self.parts, self.numbers)

    def take(self, rows: NDArray[np.int64]) -> "GeneratedImages":
        """Return the images at `rows`, in that order."""
        return GeneratedImages(self.generator, self.numbers[rows], self.parts)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return one image [S,S,3]; whoever reads the first of a block will read the others, drawn along with it."""
        start, last = row - row % _BLOCK, self._last
        with last.lock:
            if row == start and len(self) > _BLOCK and last.start != start:
                last.grey = self.generator.draw(self.numbers[start : start + _BLOCK])
                last.start = start
            grey = last.grey[row - start] if last.start == start else None
        return _coloured(self.generator.draw(self.numbers[row : row + 1])[0] if grey is None else grey)

    def contents(self) -> NDArray[np.uint8]:
        """Return the SHA-256 [N,32] of what each image is made from."""
        side = self.generator.side
        made_from = f"{(side, side, 3)}".encode() + self._origin()
        hashes = (hashlib.sha256(made_from + number.to_bytes(8, "little")) for number in self.numbers.tolist())
        return np.frombuffer(b"".join(one.digest() for one in hashes), np.uint8).reshape(-1, 32)

    @property
    def made_from(self) -> bytes:
        """What all images together are made from."""
        side = self.generator.side
        return f"{(len(self), side, side, 3)}".encode() + self._origin() + self.numbers.astype("<i8").tobytes()

    def _origin(self) -> bytes:
        return hashlib.sha256(self.generator.identity.encode()).digest()

    @cached_property
    def _last(self) -> "_Block":
        return _Block()

    def __getstate__(self) -> dict[str, Any]:  # neither a lock nor what was drawn goes into another process
        return {"generator": self.generator, "numbers": self.numbers, "parts": self.parts}


class _Block:
    """The images that were drawn last."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.start = -1
        self.grey: NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)


class NumberedIds(Sequence[str]):
    """Ids "gallery/0000042" of numbered images, written when they are asked for."""

    def __init__(self, parts: tuple[str, ...], numbers: NDArray[np.int64]) -> None:
        self._parts, self._numbers = parts, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return map(self._id, self._numbers.tolist())

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: slice) -> "NumberedIds": ...
    def __getitem__(self, rows: int | slice) -> "str | NumberedIds":
        if isinstance(rows, slice):
            return NumberedIds(self._parts, self._numbers[rows])
        return self._id(int(self._numbers[rows]))

    def _id(self, number: int) -> str:
        return f"{self._parts[number % len(self._parts)]}/{number // len(self._parts):07d}"


def _coloured(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)
