"""Images that are drawn when they are read: a million of them take no file and no more memory than their labels.

An image set carries its images in memory as an array [N,H,W,3]; `GeneratedImages` stands in the place of one.
"""

import hashlib
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, Protocol, cast, overload

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


class _Undrawn:
    """An image by what it is made from, where it only has to be told from others."""

    __slots__ = ("_made_from", "shape")

    def __init__(self, shape: tuple[int, ...], made_from: bytes) -> None:
        self.shape, self._made_from = shape, made_from

    def tobytes(self) -> bytes:
        return self._made_from


class GeneratedImages:
    """N images in the place of an array uint8 [N,H,W,3], of which an image is drawn when its row is asked for.

    A row is an image, and several rows are `GeneratedImages` again; `numpy.asarray` draws all. `tobytes` and iteration
    do not draw: they give what tells the images from others, for hashes. So two images of different numbers count as
    different even where all their pixels are equal; `irbench data verify` compares the pixels.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, generator: Generator, numbers: NDArray[np.int64]) -> None:
        self.generator, self.numbers = generator, numbers
        self.shape = (len(numbers), generator.side, generator.side, 3)
        self._block = _Block()

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[_Undrawn]:
        prefix, shape = self._origin(), self.shape[1:]
        return (_Undrawn(shape, prefix + number.to_bytes(8, "little")) for number in self.numbers.tolist())

    def _origin(self) -> bytes:
        return hashlib.sha256(self.generator.identity.encode()).digest()

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, int | np.integer):
            return self._image(range(len(self))[int(rows)])
        return GeneratedImages(self.generator, self.numbers[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001 -- numpy's protocol
        if copy is False:
            raise ValueError("generated images are always drawn anew")
        return _coloured(self.generator.draw(self.numbers)).astype(dtype or self.dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:  # neither a lock nor what was drawn goes into another process
        return {"generator": self.generator, "numbers": self.numbers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def tobytes(self) -> bytes:
        """Return what the images are made from."""
        return self._origin() + self.numbers.astype("<i8").tobytes()

    def _image(self, row: int) -> NDArray[np.uint8]:
        """Return one image; whoever reads the first of a block will read the others, which are drawn with it."""
        start = row - row % _BLOCK
        with self._block.lock:
            if row == start and len(self) > _BLOCK and self._block.start != start:
                self._block.grey = self.generator.draw(self.numbers[start : start + _BLOCK])
                self._block.start = start
            grey = self._block.grey[row - start] if self._block.start == start else None
        return _coloured(self.generator.draw(self.numbers[row : row + 1])[0] if grey is None else grey)


class _Block:
    """The images that were drawn last."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.start = -1
        self.grey: NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)


class NumberedIds(Sequence[str]):
    """Ids "gallery/0000042" of numbered images, written when they are asked for."""

    def __init__(self, prefixes: tuple[str, ...], numbers: NDArray[np.int64]) -> None:
        self._prefixes, self._numbers = prefixes, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return map(self._id, self._numbers.tolist())

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: "slice | NDArray[np.int64]") -> "NumberedIds": ...
    def __getitem__(self, rows: "int | slice | NDArray[np.int64]") -> "str | NumberedIds":
        if isinstance(rows, int | np.integer):
            return self._id(int(self._numbers[rows]))
        return NumberedIds(self._prefixes, self._numbers[rows])

    def _id(self, number: int) -> str:
        return f"{self._prefixes[number % len(self._prefixes)]}/{number // len(self._prefixes):07d}"


def chosen(ids: Sequence[str], rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the ids at `rows`; numbered ones stay numbers, and stand in the place of a tuple."""
    if isinstance(ids, NumberedIds):
        return cast("tuple[str, ...]", ids[rows])
    return tuple(ids[row] for row in rows.tolist())


def _coloured(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)
