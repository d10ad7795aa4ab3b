"""Limits for Matlab files (version 5): scipy reads one by recursion, and makes an object of every value in it.

The layout is that of "MAT-File Format", MathWorks: elements of a type and a length, a matrix made of elements, and
compressed elements, each of which holds one other.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from irbench.core.errors import DataError

_HEADER = 128  # bytes
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_CONTAINERS = {1, 2, 3}  # classes of matrices that hold others: cells, structs and objects
_DEPTH = 50  # of matrices in matrices; those of data sets have 4
_MATRICES = 1_000_000  # the annotations of Cars196 have 100,000
_BYTES = 1 << 27  # of a file when nothing in it is compressed


def check_matlab(path: Path) -> None:
    """Raise `DataError` for a file that would take too much memory, or is nested too deeply to be read."""
    if path.stat().st_size > _BYTES:
        raise DataError(f"{path}: more than {_BYTES >> 20} MiB; is it another file?", code="damaged-file")
    content = path.read_bytes()
    if content[124:128] not in {b"\x00\x01IM", b"\x01\x00MI"}:
        return  # another version, of which scipy says what it thinks
    order = "little" if content[126:128] == b"IM" else "big"
    matrices = size = 0
    waiting = [(memoryview(content)[_HEADER:], 0)]
    while waiting:
        data, depth = waiting.pop()
        for kind, inner in _elements(data, order):
            if kind == _COMPRESSED:
                whole = _decompressed(inner)
                size += len(whole)
                waiting.append((memoryview(whole), depth))
            elif kind == _MATRIX:
                matrices += 1
                if _class_of(inner, order) in _CONTAINERS:
                    waiting.append((inner, depth + 1))
            if depth > _DEPTH or matrices > _MATRICES or size > _BYTES:
                raise DataError(f"{path}: too large or nested too deeply for annotations", code="damaged-file")


def _class_of(matrix: memoryview, order: str) -> int:
    """Return the class of a matrix: the lowest byte of its first element, the flags."""
    return matrix[8 if order == "little" else 11] if len(matrix) > 11 else 0


def _decompressed(data: memoryview) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _BYTES + 1)
    except zlib.error:
        return b""  # scipy reports it


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the content of each element; what is cut off ends the list."""
    place, read = 0, Struct("<II" if order == "little" else ">II").unpack_from
    while place + 8 <= len(data):
        first, length = read(data, place)
        kind, start = first, place + 8
        if first >> 16:  # a small element: its length beside its type, its content in the next four bytes
            kind, length, start, step = first & 0xFFFF, first >> 16, place + 4, 8
        else:
            step = 8 + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        yield kind, data[start : start + length]
        place += step
