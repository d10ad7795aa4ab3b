"""Which images of a ranking are relevant, stored beside a result: all that a paired test needs.

A ranking takes 8 bytes per result and stays among the work files. Every metric follows from less: whether each result
is relevant, one bit, and how many relevant images there are for each query. Its uncertainty follows from the classes
of the queries, and what it rests on from the number of results of each. Deflated that is 0.7 to 22 KB for the 898
queries and 100 results of digits (`ls -l results/digits/*/*.safetensors`), where a ranking has 718 KB; so it is small
enough to be committed with the result, and two results can be compared query by query, also by a metric added later.

A file is made of arrays for each part of the gallery that was judged: `hits`, the deflated bits [Q',K] in NumPy's
packing of rows, `positives`, `classes` and `found`, each deflated little-endian int32 [Q'], and `shape`, Q' and K.
`found` is absent where the number of results is not known, `classes` where no class is. Where some images are more
relevant than others there are `grades`, deflated int8 [Q',K], and `best`, int8 [Q',T], with K and T in `shape`.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as unpacked
from safetensors.numpy import save as packed

from irbench.core.errors import StoreError, writing
from irbench.metrics.retrieval import Judged
from irbench.results.rankings import read_stored
from irbench.results.schema import Result, StoredHits
from irbench.runtime.cache import make_folder, write_atomically

_Arrays = dict[str, NDArray[np.generic]]
_PLACE = "it is stored beside its result"
_SHAPE = "shape"  # what the names of arrays of shapes begin with
_OF_QUERIES = ("positives", "classes", "found")  # the fields of Judged with a number for each query
_GRADES = ("grades", "best")  # its fields with several, or None; `shape` has their widths


def save(judged: Mapping[str, Judged], folder: Path, *, seed: int) -> StoredHits:
    """Store what `retrieval.judgements` marked in `folder`, the one of the cell's results, for the result of `seed`."""
    content = packed({f"{name}{part}": array for part, one in judged.items() for name, array in _pack(one).items()})
    digest = hashlib.sha256(content).hexdigest()
    stored = StoredHits(file=f"seed{seed}-{digest[:16]}.safetensors", sha256=digest, k=judged[""].top_k)
    with writing(folder / stored.file, "--results"):
        make_folder(folder)
        write_atomically(folder / stored.file, content)
    return stored


def load(stored: StoredHits, folder: Path) -> dict[str, Judged]:
    """Read what `save` stored in `folder`, refusing a file that is not the one of that hash."""
    path = folder / Path(stored.file).name
    return _unpacked(read_stored(path, stored.sha256, _PLACE), path)


class Reader:
    """The one way from a result of a folder to its hits, stored beside it; each file is read once.

    What metrics derive from hits, and these when they are unpacked, are larger than a file of them: only its content
    is kept.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[tuple[Path, str], bytes] = {}

    def __call__(self, result: Result) -> Mapping[str, Judged]:
        """Return the judged ranking of a result.

        Raises:
            StoreError: it has none, or they are damaged.
        """
        path, content = self._content(result)
        return _unpacked(content, path)

    def shapes(self, result: Result) -> Mapping[str, tuple[int, int]]:
        """Return the numbers of scored queries and of results, Q' and K, by part; the hits are proved, not unpacked.

        Raises:
            StoreError: it has none, or they are damaged.
        """
        path, content = self._content(result)
        arrays = _arrays(content, path)
        return {part: _shape(arrays, part) for part in _parts(arrays)}

    def damaged(self, results: Iterable[Result]) -> Iterator[str]:
        """Yield which hits of these results are missing or are not what was stored: their scores are not proved."""
        for result in results:
            try:
                if result.hits is not None:
                    self._content(result)
            except StoreError as error:
                yield f"{error} (irbench rescore makes it again where the ranking is kept)"

    def _content(self, result: Result) -> tuple[Path, bytes]:
        place = result.path(self.root)
        if result.hits is None:
            raise StoreError(f"{place}: no hits are stored beside it", code="no-hits")
        path = place.parent / Path(result.hits.file).name
        key = (path, result.hits.sha256)
        if key not in self._read:
            self._read[key] = read_stored(path, result.hits.sha256, _PLACE)
        return path, self._read[key]


def _unpacked(content: bytes, path: Path) -> dict[str, Judged]:
    arrays = _arrays(content, path)
    try:
        return {part: _unpack(arrays, part) for part in _parts(arrays)}
    except (KeyError, ValueError, TypeError, OverflowError, MemoryError, zlib.error) as error:
        raise StoreError(f"{path}: not the hits of a result: {error}", code="damaged-file") from error


def _arrays(content: bytes, path: Path) -> _Arrays:
    try:
        return unpacked(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: not the hits of a result: {error}", code="damaged-file") from error


def _parts(arrays: _Arrays) -> list[str]:
    return [name.removeprefix(_SHAPE) for name in arrays if name.startswith(_SHAPE)]


def _shape(arrays: _Arrays, part: str) -> tuple[int, int]:
    queries, k, *_ = arrays[f"{_SHAPE}{part}"].tolist()
    return queries, k


def _pack(judged: Judged) -> _Arrays:
    whole = {name: getattr(judged, name) for name in _OF_QUERIES if getattr(judged, name) is not None}
    graded = {name: getattr(judged, name) for name in _GRADES if getattr(judged, name) is not None}
    return {
        "hits": _deflated(np.packbits(judged.hits, axis=1)),
        **{name: _deflated(array.astype("<i4")) for name, array in whole.items()},
        **{name: _deflated(array) for name, array in graded.items()},
        _SHAPE: np.array([*judged.hits.shape, *(array.shape[1] for array in graded.values())], np.int64),
    }


def _unpack(arrays: _Arrays, part: str) -> Judged:
    queries, k = _shape(arrays, part)
    width = -(-k // 8)
    bits = _inflated(arrays[f"hits{part}"], queries * width).reshape(queries, width)
    whole = {
        name: _inflated(arrays[f"{name}{part}"], 4 * queries).view("<i4").astype(np.int64)
        for name in _OF_QUERIES
        if name == "positives" or f"{name}{part}" in arrays
    }
    widths = dict(zip(_GRADES, arrays[f"{_SHAPE}{part}"].tolist()[2:], strict=False))
    graded = {
        name: _inflated(arrays[f"{name}{part}"], queries * width).view(np.int8).reshape(queries, width)
        for name, width in widths.items()
    }
    return Judged(
        np.unpackbits(bits, axis=1, count=k).view(bool), **whole, grades=graded.get("grades"), best=graded.get("best")
    )


def _deflated(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.frombuffer(zlib.compress(np.ascontiguousarray(array).tobytes(), 9), np.uint8)


def _inflated(array: NDArray[np.generic], size: int) -> NDArray[np.uint8]:
    """Return exactly `size` bytes; what would be more, or less, is no file of ours."""
    stream = zlib.decompressobj()
    content = stream.decompress(array.tobytes(), size + 1)
    if len(content) != size:
        raise ValueError(f"{size} bytes were expected")
    return np.frombuffer(content, np.uint8)
