"""`irbench data audit`: images that are nearly the same, in and between the splits of a benchmark.

Two images are near-duplicates where their perceptual hashes differ in few bits and their thumbnails correlate, or, with
features of an encoder, where these are similar. Hashes find candidates among all pairs, mirrored ones included;
thumbnails or features decide. The hash is that of Zauner (2010), the signs of the lowest frequencies of a cosine
transform about their median, as in JohannesBuchner/imagehash:phash.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError
from irbench.data.sources import Source
from irbench.runtime.progress import track

BITS, BITS_OF_FEATURES = 10, 20  # in which hashes of near-duplicates differ at most, of 64
ALIKE = 0.9  # the correlation of their thumbnails, or the cosine of their features, at least
_SIDE, _FREQUENCIES = 32, 8
_CHUNK = 256
_AT_ONCE = 4096  # hashes that are compared with all
_MOST = 5_000_000  # candidates that are looked at
SPLITS = ("queries", "gallery", "train")


@dataclass(frozen=True)
class Place:
    """An image: where it is listed first."""

    split: str
    row: int
    id: str
    label: int
    splits: frozenset[str]  # all that list it


@dataclass(frozen=True)
class Pair:
    """Two near-duplicates, in the order of `SPLITS`."""

    first: Place
    second: Place
    bits: int  # in which their hashes differ
    alike: float  # the correlation of their thumbnails, or the cosine of their features
    mirrored: bool  # by their hashes

    @property
    def conflicts(self) -> bool:
        """Do they have different labels?"""
        return self.first.label != self.second.label

    @property
    def kind(self) -> str:
        """Which splits they are between: "queries and gallery"; of one that is in several, the first that differs."""
        one = self.first.split
        other = next((split for split in SPLITS if split in self.second.splits and split != one), self.second.split)
        return one if other == one else f"{one} and {other}"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found."""

    benchmark: Benchmark
    images: int  # that were compared
    pairs: tuple[Pair, ...]  # the nearest first
    alone: int  # classes of the gallery and the queries together with a single image
    unreadable: tuple[str, ...]
    cut: bool = False  # were there more candidates than are looked at?

    @cached_property
    def by_kind(self) -> Mapping[str, list[Pair]]:
        """The pairs between each two splits."""
        kinds: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            kinds.setdefault(pair.kind, []).append(pair)
        return kinds

    @cached_property
    def conflicting(self) -> list[Pair]:
        """The pairs with different labels."""
        return [pair for pair in self.pairs if pair.conflicts] if self.benchmark.labelled else []

    @cached_property
    def queries(self) -> NDArray[np.int64]:
        """The rows of the queries with a near-duplicate among the training or gallery images, in ascending order."""
        row_of = {id_: row for row, id_ in enumerate(self.benchmark.queries.ids)}
        touched = {
            row_of[one.id]
            for pair in self.pairs
            for one, other in ((pair.first, pair.second), (pair.second, pair.first))
            if one.id in row_of and other.splits & {"gallery", "train"}
        }
        return np.array(sorted(touched), np.int64)


def audit(
    benchmark: Benchmark,
    *,
    bits: int | None = None,
    alike: float = ALIKE,
    features: Mapping[str, NDArray[np.float32]] | None = None,
) -> Audit:
    """Compare all images of a benchmark with each other, as they are seen: cropped where the benchmark is.

    `bits` are by default 10, or 20 with `features`: the vectors [N,D] of an encoder for each of `SPLITS`.

    Raises `DataError` where there are no images.
    """
    bits = bits if bits is not None else BITS if features is None else BITS_OF_FEATURES
    if benchmark.queries.vectors is not None:
        raise DataError(f"{benchmark.name} has vectors, and no images that could be compared", code="needs-images")
    places = list(_places(benchmark))
    thumbnails, unreadable = _thumbnails(benchmark, places)
    known = [place for place in places if place.id not in unreadable]
    vectors = None if features is None else np.stack([features[place.split][place.row] for place in known])
    found, cut = _pairs(known, thumbnails, vectors, bits, alike)
    return Audit(
        benchmark=benchmark,
        images=len(known),
        pairs=tuple(sorted(found, key=lambda pair: (pair.bits, -pair.alike, pair.first.id, pair.second.id))),
        alone=_alone(benchmark),
        unreadable=tuple(sorted(unreadable)),
        cut=cut,
    )


def _places(benchmark: Benchmark) -> Iterator[Place]:
    """Yield each image once."""
    sets = {name: getattr(benchmark, name) for name in SPLITS}
    held: dict[str, set[str]] = {}
    for name, images in sets.items():
        for id_ in images.ids:
            held.setdefault(id_, set()).add(name)
    seen: set[str] = set()
    for name, images in sets.items():
        for row, id_ in enumerate(images.ids):
            if id_ not in seen:
                seen.add(id_)
                yield Place(name, row, id_, int(images.labels[row]), frozenset(held[id_]))


def _thumbnails(benchmark: Benchmark, places: Sequence[Place]) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Return the grey thumbnails [U,S,S] of the images that can be read, and why others cannot."""
    sources = {name: Source(getattr(benchmark, name)) for name in SPLITS}
    unreadable: dict[str, str] = {}

    def thumbnail(place: Place) -> NDArray[np.uint8] | None:
        try:
            image = sources[place.split].seen(place.row)
        except DataError as error:
            unreadable[place.id] = str(error)
            return None
        return np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX))

    found: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor() as pool:
        for start in track(range(0, len(places), _CHUNK), f"Looking at {len(places):,} images"):
            found += [one for one in pool.map(thumbnail, places[start : start + _CHUNK]) if one is not None]
    return np.stack(found) if found else np.empty((0, _SIDE, _SIDE), np.uint8), unreadable


def hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the perceptual hash [U,8] of thumbnails [U,S,S], as bytes."""
    low = dctn(thumbnails.astype(np.float32), axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(thumbnails), -1)
    return np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors [U,D] of length one; 0 of an image of one colour stays 0."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _pairs(
    places: Sequence[Place],
    thumbnails: NDArray[np.uint8],
    features: NDArray[np.float32] | None,
    bits: int,
    least: float,
) -> tuple[list[Pair], bool]:
    """Return the near-duplicates, and whether there were too many candidates to look at all."""
    if len(places) < 2:
        return [], False
    if features is None:
        grey = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
        unit = _unit(grey - grey.mean(axis=1, keepdims=True))
        turned = unit.reshape(thumbnails.shape)[:, :, ::-1].reshape(unit.shape)
    else:
        unit = turned = _unit(features)
    index = faiss.IndexBinaryFlat(8 * _FREQUENCIES)
    index.add(hashes(thumbnails))
    found: dict[tuple[int, int], Pair] = {}
    looked = 0
    for mirrored, seen in ((False, thumbnails), (True, thumbnails[:, :, ::-1])):
        for one, other, apart in _candidates(index, hashes(seen), bits):
            looked += len(one)
            if looked > _MOST:
                return list(found.values()), True
            alike = np.einsum("pd,pd->p", (turned if mirrored else unit)[one], unit[other])
            for at in np.flatnonzero(alike >= least).tolist():
                key = (int(one[at]), int(other[at]))
                first, second = sorted((places[row] for row in key), key=lambda place: SPLITS.index(place.split))
                found.setdefault(key, Pair(first, second, int(apart[at]), float(alike[at]), mirrored))
    return list(found.values()), False


def _candidates(
    index: faiss.IndexBinaryFlat, asked: NDArray[np.uint8], bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]]:
    """Yield pairs of rows, the smaller one first, whose hashes differ in so many bits at most, and in how many."""
    for start in range(0, len(asked), _AT_ONCE):
        ends, apart, rows = index.range_search(np.ascontiguousarray(asked[start : start + _AT_ONCE]), bits + 1)
        one = start + np.repeat(np.arange(len(ends) - 1), (ends[1:] - ends[:-1]).astype(np.int64))
        later = rows > one
        yield one[later], rows[later], apart[later].astype(np.int32)


def _alone(benchmark: Benchmark) -> int:
    """Return how many classes have a single image in the gallery and the queries together."""
    if not benchmark.labelled:
        return 0
    images: dict[str, int] = {}
    for split in (benchmark.gallery, benchmark.queries):
        images |= dict(zip(split.ids, split.labels.tolist(), strict=True))
    return int((np.unique(list(images.values()), return_counts=True)[1] == 1).sum())
