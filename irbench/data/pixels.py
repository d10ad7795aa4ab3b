"""Image sets as uint8 arrays: decoded once, in parallel, and cached in shards; small or timed sets decoded in memory.

A shard is an entry of the cache of its own, known by what its images contain: decoding that was stopped goes on with
the next one, and sets that begin with the same images share them. Whether a set is cached or decoded again each time
has no influence on what it is known by.
"""

import json
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError, writing
from irbench.data import shards
from irbench.data.contents import digest
from irbench.data.decode import View, fit
from irbench.data.sources import Source
from irbench.runtime.cache import Key, Store
from irbench.runtime.code import code_digest
from irbench.runtime.conditions import note_decoded_again
from irbench.runtime.progress import say, track
from irbench.runtime.timer import caches_bypassed, subspan

if TYPE_CHECKING:
    from irbench.runtime.machine import Runtime

__all__ = ["Pixels", "View", "drop_unreadable", "pixels", "room", "unreadable"]

_SMALL = 256  # a set of fewer images, such as a batch of queries, is decoded in memory and never stored
_IN_MEMORY = 1 << 30  # largest bytes of a set decoded in memory; beyond that, batch by batch
_FREE_SHARE = 0.5  # largest share of the free disk space of a stored set, where no limit is given
_SHARD = 1 << 28  # most bytes of a shard
_CHUNK = 256  # images decoded at a time
_FILE = "pixels.npy"


class Pixels(Protocol):
    """N RGB images of S x S pixels, uint8."""

    @property
    def content(self) -> str:
        """Digest for the keys of artefacts computed from these pixels."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, S, S, 3)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        """Return the images at `rows`, in that order: [B,S,S,3]."""


def pixels(images: ImageSet, view: View, runtime: "Runtime") -> Pixels:
    """Return `images` resized as `view` says; an unreadable image raises a `DataError` that names it.

    A set of 256 images or more is decoded once and stored, in shards. Smaller sets, and all sets under a timer that
    bypasses caches, are decoded into memory on first access. A set that exceeds the memory limit (1 GiB), or for which
    there is no room on disk (`Runtime.pixel_bytes`, or half of what is free), is decoded batch by batch on each access,
    which is said once.
    """
    source = Source(images, proves=not caches_bypassed())  # what is timed is stored nowhere
    size = len(images) * _bytes_each(view)
    if caches_bypassed() or len(images) < _SMALL:
        return _InMemory(source, view) if size <= _IN_MEMORY else _OnDemand(source, view)
    cached = _Cached(source, view, runtime.store)
    missing = cached.missing_bytes
    if missing and missing > (free := room(runtime.store, runtime.pixel_bytes)):
        _say_again(images, size, free)
        return _OnDemand(source, view)
    return cached.decoded()


def unreadable(images: ImageSet, store: Store) -> dict[int, str]:
    """Return the rows that cannot be decoded, each with the reason; computed once and cached."""
    if not images.in_files:
        return {}
    source = Source(images)
    if len(images) < _SMALL:
        return dict(_damaged(source))

    def make(folder: Path) -> None:
        (folder / "rows.json").write_text(json.dumps(list(_damaged(source))))

    key = Key("unreadable", {"code": code_digest(unreadable), "images": digest(images)})
    entry = store.ensure(key, make, span="decode")
    return dict(json.loads((entry.path / "rows.json").read_text()))


def drop_unreadable(benchmark: Benchmark, store: Store) -> tuple[Benchmark, dict[str, list[str]]]:
    """Return the benchmark without images that cannot be decoded, and the ids of these by split."""
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    left_out = {images.name: [images.ids[row] for row in sorted(unreadable(images, store))] for images in splits}
    left = benchmark.without([id_ for ids in left_out.values() for id_ in ids])
    if benchmark.judgements is not None and (lost := int(benchmark.positives.sum() - left.positives.sum())):
        left = replace(left, remarks=(*left.remarks, f"relevant pairs with an image that was left out: {lost:,}"))
    return left, left_out


@dataclass(frozen=True, eq=False)
class _Decoding:
    """A set of images and how each is seen: what its pixels are known by, however they are kept."""

    source: Source
    view: View

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.source), self.view.image_size, self.view.image_size, 3)

    @cached_property
    def key(self) -> Key:
        facts = {"image_size": self.view.image_size, "fit": self.view.fit}
        return Key("pixels", {"code": code_digest(Source, fit), "images": digest(self.source.images), **facts})

    @property
    def content(self) -> str:
        return self.key.digest

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class _InMemory(_Decoding):
    @cached_property
    def array(self) -> NDArray[np.uint8]:
        array = _decode_rows(self.source, self.view, range(len(self.source)))
        array.flags.writeable = False
        return array

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        return self.array[rows]


@dataclass(frozen=True, eq=False)
class _OnDemand(_Decoding):
    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        return _decode_rows(self.source, self.view, np.arange(len(self))[rows].tolist())


@dataclass(frozen=True, eq=False)
class _Cached(_Decoding):
    store: Store

    @cached_property
    def shards(self) -> list[_Decoding]:
        rows = shards.rows_of(_bytes_each(self.view), _SHARD)
        return [_Decoding(Source(part, proves=True), self.view) for part in shards.cut(self.source.images, rows)]

    @property
    def missing_bytes(self) -> int:
        """Bytes of the shards that are not stored."""
        return sum(len(shard) for shard in self._missing) * _bytes_each(self.view)

    @property
    def _missing(self) -> list[_Decoding]:
        return [shard for shard in self.shards if not self.store.holds(shard.key)]

    def decoded(self) -> Pixels:
        """Return the set, whose shards are decoded where they are not stored.

        A set of many shards is not hashed again whenever it is opened: sizes are compared.
        """
        chunks = sum(len(shards.cuts(len(shard), _CHUNK)) for shard in self._missing)
        steps = track(range(chunks), f"Decoding {len(self):,} images", total=chunks)
        arrays = []
        for shard in self.shards:
            make = partial(_decode_into, source=shard.source, view=self.view, steps=steps)
            entry = self.store.ensure(shard.key, make, span="decode", hashed=len(self.shards) == 1)
            arrays.append(np.load(entry.path / _FILE, mmap_mode="r", allow_pickle=False))
        for _ in steps:  # those of shards that another process has decoded meanwhile
            pass
        return _Stored(self.source, self.view, arrays)


@dataclass(frozen=True, eq=False)
class _Stored(_Decoding):
    shards: Sequence[NDArray[np.uint8]]  # [n,S,S,3] each, as many images but for the last one

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        if len(self.shards) == 1:
            return np.asarray(self.shards[0][rows])
        index = np.arange(len(self))[rows]
        which, within = np.divmod(index, len(self.shards[0]))
        chosen = np.empty((len(index), *self.shape[1:]), np.uint8)
        for number in np.unique(which).tolist():
            here = which == number
            chosen[here] = self.shards[number][within[here]]
            _let_go(self.shards[number])
        return chosen


def _let_go(shard: NDArray[np.uint8]) -> None:
    """Give back the pages of a file that were read: they would count as this process's memory, all of them in the end.

    They stay in the system's cache as long as there is room.
    """
    mapped: object = shard.base  # of an array that is mapped, whatever numpy's types say
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _bytes_each(view: View) -> int:
    return 3 * view.image_size**2


def room(store: Store, limit: int | None) -> int:
    """Return the bytes that decoded images may still take on disk: of a limit, or else of half of what is free."""
    folder = store.root / "pixels"
    if limit is None:
        return int(_FREE_SHARE * _free_disk(folder))
    return limit - sum(file.stat().st_size for file in folder.glob(f"*/{_FILE}"))


def _free_disk(folder: Path) -> int:
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def _say_again(images: ImageSet, size: int, room: int) -> None:
    note_decoded_again(images.name)
    say(
        f"{images.name}: {len(images):,} images are decoded whenever they are needed: decoded once they would take "
        f"{size / 1e6:,.1f} MB on disk, and there is room for {max(room, 0) / 1e6:,.1f} MB (--pixel-cache)"
    )


def _decode_into(folder: Path, *, source: Source, view: View, steps: Iterator[int]) -> None:
    """Write a shard chunk by chunk; a full disk raises an error, which it would not behind a memory map."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(source), view.image_size, view.image_size, 3)}
    with (
        writing(f"decoded images to {folder.parent}", "--work"),
        (folder / _FILE).open("wb") as file,
        _workers() as workers,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + len(source) * _bytes_each(view))  # others see at once how much it will take
        for rows in _chunks(len(source)):
            for square in workers.map(partial(_square, source, view), rows):
                file.write(square.tobytes())
            next(steps, None)


def _decode_rows(source: Source, view: View, rows: Sequence[int]) -> NDArray[np.uint8]:
    with subspan("read") if source.images.in_files else nullcontext():
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
