"""What images contain: a hash of each one's bytes, by which image sets are told apart, and copies found.

Every file is read once; as long as size, times and inode of all files of a data set stay as they are, its hashes are
taken from the work folder. A file that is replaced gets another inode or time of change (ctime), which, unlike the time
of modification, no program sets.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.data.arrays import content_of
from irbench.data.sources import Source
from irbench.runtime.cache import Key, Store
from irbench.runtime.progress import track

_CHUNK = 1024
_SMALL = 256  # of fewer files the hashes are not stored


def with_contents(benchmark: Benchmark, store: Store | None = None) -> Benchmark:
    """Return the benchmark with the contents of its images, each file read once; with `store` once for all runs."""
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    if all(split.contents is not None or not split.in_files for split in splits):
        return benchmark
    places = {path: row for row, path in enumerate(dict.fromkeys(path for split in splits for path in _paths(split)))}
    hashes = _of_files(tuple(places), store) if places else np.empty((0, 32), np.uint8)

    def known(split: ImageSet) -> ImageSet:
        if not split.in_files:
            return split
        return replace(split, contents=hashes[[places[path] for path in _paths(split)]])

    train, gallery, queries = map(known, splits)
    return replace(benchmark, train=train, gallery=gallery, queries=queries)


def contents(images: ImageSet) -> NDArray[np.uint8]:
    """Return the SHA-256 [N,32] of each image; zeros where there is no file that can be read."""
    if images.vectors is not None and images.contents is None:
        return content_of(images.vectors)
    if images.generated is not None:
        return images.generated.contents()
    if images.arrays is None:
        return _of_files(tuple(_paths(images)), None) if images.contents is None else images.contents
    return _rows(hashlib.sha256(f"{one.shape}".encode() + one.tobytes()).digest() for one in images.arrays)


def digest(images: ImageSet) -> str:
    """Return the SHA-256 of what is seen of the images: contents and boxes, neither places nor labels."""
    found = hashlib.sha256(contents(images).tobytes())
    if images.boxes is not None:
        found.update(
            f"{images.boxes.shape}{images.boxes.dtype}".encode() + np.ascontiguousarray(images.boxes).tobytes()
        )
    return found.hexdigest()


def _paths(images: ImageSet) -> Iterator[str]:
    root = os.path.abspath(images.root)  # noqa: PTH100 -- a million of them
    return (os.path.join(root, id_) for id_ in (images.ids if images.in_files else ()))  # noqa: PTH118


def _of_files(paths: Sequence[str], store: Store | None) -> NDArray[np.uint8]:
    source = Source(ImageSet(name="images", ids=tuple(paths), labels=np.zeros(len(paths), np.int64)))
    if store is None or len(paths) < _SMALL or not _can_be_written(store.root):
        return _rows(_hashes(source))

    def make(folder: Path) -> None:
        np.save(folder / "sha256.npy", _rows(_hashes(source)))

    entry = store.ensure(Key("contents", {"files": _state(source)}), make, span="read")
    return np.asarray(np.load(entry.path / "sha256.npy", allow_pickle=False))


def _can_be_written(folder: Path) -> bool:
    existing = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def _state(source: Source) -> str:
    """Return the SHA-256 of what changes when any of the files does, without reading them."""
    found = hashlib.sha256()
    for row, id_ in enumerate(source.images.ids):
        found.update(f"{id_}\0{source.state(row)}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _hashes(source: Source) -> Iterator[bytes]:
    starts = range(0, len(source), _CHUNK)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as workers:
        for start in track(starts, f"Reading {len(source):,} images"):
            yield from workers.map(partial(_hash, source), range(start, min(start + _CHUNK, len(source))))


def _hash(source: Source, row: int) -> bytes:
    return source.content(row) or bytes(32)


def _rows(hashes: Iterator[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)
