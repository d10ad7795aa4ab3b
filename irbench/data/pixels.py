"""Image sets as uint8 arrays: decoded once, in parallel, and cached; small or timed sets are decoded in memory."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError, writing
from irbench.data.contents import digest
from irbench.data.decode import View, fit
from irbench.data.sources import Source
from irbench.runtime.cache import Key, Store
from irbench.runtime.code import code_digest
from irbench.runtime.progress import track
from irbench.runtime.timer import caches_bypassed, subspan

if TYPE_CHECKING:
    from irbench.runtime.machine import Runtime

__all__ = ["Pixels", "View", "drop_unreadable", "pixels", "unreadable"]

_SMALL = 256  # a set of fewer images, such as a batch of queries, is decoded in memory and never stored
_IN_MEMORY = 1 << 30  # largest bytes of a set decoded in memory; beyond that, batch by batch
_FREE_SHARE = 0.5  # largest share of the free disk space of a stored set; beyond that, batch by batch
_CHUNK = 256  # images decoded at a time


class Pixels(Protocol):
    """N RGB images of S x S pixels, uint8."""

    @property
    def content(self) -> str:
        """Digest for the keys of artefacts computed from these pixels."""

    @property
    def array(self) -> NDArray[np.uint8] | None:
        """[N,S,S,3], read-only; None for a set that is decoded batch by batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        """Return the images at `rows`, in that order: [B,S,S,3]."""


def pixels(images: ImageSet, view: View, runtime: "Runtime") -> Pixels:
    """Return `images` resized as `view` says; an unreadable image raises a `DataError` that names it.

    A set of 256 images or more is decoded once and stored. Smaller sets, and all sets under a timer that bypasses
    caches, are decoded into memory on first access. A set that exceeds the memory limit (1 GiB) or half of the free
    disk space is decoded batch by batch on each access.
    """
    source = Source(images)
    size = len(images) * view.image_size**2 * 3
    if caches_bypassed() or len(images) < _SMALL:
        return _InMemory(source, view) if size <= _IN_MEMORY else _OnDemand(source, view)
    key = _key("pixels", source, image_size=view.image_size, fit=view.fit)
    if size > _FREE_SHARE * _free_disk(runtime.store.root) and runtime.store.find(key) is None:
        return _OnDemand(source, view)
    entry = runtime.store.ensure(key, partial(_decode_into, source=source, view=view), span="decode")
    return _Stored(np.load(entry.path / "pixels.npy", mmap_mode="r", allow_pickle=False), entry.content)


def unreadable(images: ImageSet, store: Store) -> dict[int, str]:
    """Return the rows that cannot be decoded, each with the reason; computed once and cached."""
    if images.arrays is not None or images.vectors is not None:
        return {}
    source = Source(images)
    if len(images) < _SMALL:
        return dict(_damaged(source))

    def make(folder: Path) -> None:
        (folder / "rows.json").write_text(json.dumps(list(_damaged(source))))

    entry = store.ensure(_key("unreadable", source), make, span="decode")
    return dict(json.loads((entry.path / "rows.json").read_text()))


def drop_unreadable(benchmark: Benchmark, store: Store) -> tuple[Benchmark, dict[str, list[str]]]:
    """Return the benchmark without images that cannot be decoded, and the ids of these by split."""
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    left_out = {images.name: [images.ids[row] for row in sorted(unreadable(images, store))] for images in splits}
    return benchmark.without([id_ for ids in left_out.values() for id_ in ids]), left_out


@dataclass(frozen=True, eq=False)
class _Stored:
    array: NDArray[np.uint8]
    content: str

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        return np.asarray(self.array[rows])


@dataclass(frozen=True, eq=False)
class _InMemory:
    source: Source
    view: View

    @cached_property
    def array(self) -> NDArray[np.uint8]:
        array = _decode_rows(self.source, self.view, range(len(self.source)))
        array.flags.writeable = False
        return array

    @cached_property
    def content(self) -> str:
        return hashlib.sha256(self.array.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        return self.array[rows]


@dataclass(frozen=True, eq=False)
class _OnDemand:
    source: Source
    view: View
    array: None = None

    @cached_property
    def content(self) -> str:
        return _key("pixels", self.source, image_size=self.view.image_size, fit=self.view.fit).digest

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        return _decode_rows(self.source, self.view, np.arange(len(self))[rows].tolist())


def _key(kind: str, source: Source, **parts: object) -> Key:
    return Key(kind, {"code": code_digest(pixels), "images": digest(source.images), **parts})


def _free_disk(folder: Path) -> int:
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def _decode_into(folder: Path, *, source: Source, view: View) -> None:
    """Write `pixels.npy` chunk by chunk; a full disk raises an error, which it would not behind a memory map."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(source), view.image_size, view.image_size, 3)}
    with (
        writing(f"decoded images to {folder.parent}", "--work"),
        (folder / "pixels.npy").open("wb") as file,
        _workers() as workers,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for rows in track(_chunks(len(source)), f"Decoding {len(source):,} images"):
            for square in workers.map(partial(_square, source, view), rows):
                file.write(square.tobytes())


def _decode_rows(source: Source, view: View, rows: Sequence[int]) -> NDArray[np.uint8]:
    with subspan("read") if source.in_files else nullcontext():
        return _squares(source, view, rows)


def _squares(source: Source, view: View, rows: Sequence[int]) -> NDArray[np.uint8]:
    square = partial(_square, source, view)
    if len(rows) == 1:  # single queries: starting threads would cost more than it saves
        return square(rows[0])[None]
    array = np.empty((len(rows), view.image_size, view.image_size, 3), np.uint8)
    with _workers() as workers:
        for place, decoded in enumerate(workers.map(square, rows)):
            array[place] = decoded
    return array


def _square(source: Source, view: View, row: int) -> NDArray[np.uint8]:
    return fit(source.seen(row), view)


def _damaged(source: Source) -> Iterator[tuple[int, str]]:
    def reason(row: int) -> str | None:
        try:
            source.image(row)
        except DataError as error:
            return str(error)
        return None

    with _workers() as workers:
        for rows in track(_chunks(len(source)), f"Checking {len(source):,} images"):
            yield from ((row, why) for row, why in zip(rows, workers.map(reason, rows), strict=True) if why)


def _chunks(total: int) -> list[range]:
    return [range(start, min(start + _CHUNK, total)) for start in range(0, total, _CHUNK)]


def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1))  # Pillow decodes without holding the GIL
