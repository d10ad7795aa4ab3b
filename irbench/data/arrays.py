"""Reads vectors and their labels from files: what people have who computed embeddings elsewhere.

Nothing is unpickled. An array of float32 in C order is not read but mapped: the memory that it takes is the system's,
which gives it up where others need it. Shape letters: N vectors, D dimensions.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.runtime.progress import track

_ROWS = 1 << 14  # that are looked at together
_FLOAT32 = np.dtype(np.float32)


def read_vectors(path: Path) -> NDArray[np.float32]:
    """Return the vectors [N,D] of a .npy file as float32 in C order, whatever numbers are stored there in what order.

    Raises `DataError` for a file that holds no such array, or a vector with NaN, infinity, or nothing but zeros.
    """
    stored = _array(path)
    if stored.dtype.kind not in "fiu":
        raise DataError(f"{path}: vectors are real numbers, not {stored.dtype}", code="bad-vectors")
    if stored.ndim != 2 or 0 in stored.shape:
        raise DataError(
            f"{path}: vectors are an array [N,D] with at least one of each, not {list(stored.shape)}",
            code="bad-vectors",
        )
    usual = stored.dtype == _FLOAT32 and stored.flags.c_contiguous
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which is refused below
        vectors = stored if usual else np.ascontiguousarray(stored, _FLOAT32)
    for start in track(range(0, len(vectors), _ROWS), f"Reading {len(vectors):,} vectors"):
        _check(vectors[start : start + _ROWS], start, path)
    return vectors


def check_dimensions(gallery: NDArray[Any], gallery_path: Path, queries: NDArray[Any], queries_path: Path) -> None:
    """Raise `DataError` unless queries [Q,D] have the dimensions of the gallery [N,D]."""
    if queries.shape[1] != gallery.shape[1]:
        raise DataError(
            f"{queries_path}: its vectors have {queries.shape[1]} dimensions, those of {gallery_path} have "
            f"{gallery.shape[1]}",
            code="wrong-shape",
        )


def read_labels(path: Path, count: int) -> list[str]:
    """Return the `count` labels of a .npy file [N] of whole numbers or texts, or of a text file with one in each line.

    Raises `DataError` for a file that holds no such labels, or another number of them.
    """
    labels = _stored_labels(path) if path.suffix.lower() == ".npy" else _lines(path)
    if len(labels) != count:
        raise DataError(
            f"{path}: {len(labels):,} labels for {count:,} vectors; one for each is needed, and no line above them",
            code="wrong-shape",
        )
    for row, label in enumerate(labels):
        if not label:
            raise DataError(f"{path}, label {row} (counted from 0) is empty", code="bad-label")
    return labels


def made_equal(path: Path, vectors: NDArray[np.float32]) -> int:
    """Return how many of the different vectors in a file are no longer different in float32, as it was read."""
    stored = _array(path)
    if np.can_cast(stored.dtype, _FLOAT32):
        return 0
    return len({row.tobytes() for row in stored}) - len({row.tobytes() for row in vectors})


def content_of(vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the SHA-256 [N,32] of each vector as it is searched: the same for the same numbers, however stored."""
    return np.frombuffer(b"".join(_hashes(vectors)), np.uint8).reshape(-1, 32)


def _hashes(vectors: NDArray[np.float32]) -> Iterator[bytes]:
    for vector in vectors:
        yield hashlib.sha256(vector.astype("<f4", copy=False).tobytes()).digest()


def _check(vectors: NDArray[np.float32], start: int, path: Path) -> None:
    """Find the first vector, of those from row `start` on, of which no distance can be had."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = start + int(finite.argmin())
        raise DataError(f"{path}: row {row} (counted from 0) has NaN, infinity or no float32", code="not-finite")
    zero = ~vectors.any(axis=1)
    if zero.any():
        row = start + int(zero.argmax())
        raise DataError(
            f"{path}: row {row} (counted from 0) is zero, as where nothing was encoded; leave it out",
            code="no-direction",
        )


def _array(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", code="no-such-file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", code="unreadable-file") from None
    except (ValueError, EOFError, SyntaxError, TokenError):
        raise DataError(f"{path}: not an array of numbers as numpy.save writes it", code="bad-vectors") from None
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path}: several arrays (.npz); save one as .npy with numpy.save", code="bad-vectors")
    return found


def _stored_labels(path: Path) -> list[str]:
    stored = _array(path)
    if stored.ndim != 1 or stored.dtype.kind not in "iuU":
        raise DataError(
            f"{path}: labels are whole numbers or texts [N], not {stored.dtype} {list(stored.shape)}", code="bad-label"
        )
    return [str(label).strip() for label in stored.tolist()]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", code="no-such-file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8 ({error.reason}), and no .npy", code="bad-label") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", code="unreadable-file") from None
