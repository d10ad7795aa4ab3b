"""Sets of labelled images, and the benchmark that three of them make."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """N labelled images in a fixed order; row numbers stand for images everywhere inside irbench.

    An image is found at `root / ids[row]`; an id may lead into a zip archive (`drawings.zip/Latin/0708_01.png`).
    Images that exist only in memory (scikit-learn's digits) are carried in `arrays` instead.
    """

    name: str  # "train", "gallery" or "queries", for messages
    ids: tuple[str, ...]  # unique; two rows of two sets with the same id are the same photograph
    labels: NDArray[np.int64]  # [N] class of each image, 0-based over the whole benchmark
    root: Path = Path()
    boxes: NDArray[np.int32] | None = None  # [N,4] x1, y1, x2, y2 in pixels: only this part of the image is seen
    arrays: NDArray[np.uint8] | None = None  # [N,H,W,3]
    mirror: bool = True  # is a mirrored image still the same thing? False for anything written

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError(f"the {self.name} split has no images: check the split column or file of the data set")
        if len(set(self.ids)) != len(self.ids):
            raise DataError(f"image listed twice in the {self.name} split: {_first_repeated(self.ids)}")
        for what, column in (("labels", self.labels), ("boxes", self.boxes), ("arrays", self.arrays)):
            if column is not None and len(column) != len(self.ids):
                raise DataError(f"{self.name} split: {len(self.ids)} images but {len(column)} {what}")
        if self.labels.min() < 0:
            row = int(np.argmax(self.labels < 0))
            raise DataError(f"negative label {self.labels[row]} for {self.ids[row]} in the {self.name} split")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and boxes: equal for equal manifests, wherever the images lie."""
        digest = hashlib.sha256("\n".join(self.ids).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(self.labels, "<i8").tobytes())
        if self.boxes is not None:
            digest.update(np.ascontiguousarray(self.boxes, "<i4").tobytes())
        return digest.hexdigest()

    def take(self, rows: "NDArray[np.integer] | slice") -> Self:
        """Return the images at `rows`, in that order."""
        index = np.arange(len(self))[rows]
        return type(self)(
            name=self.name,
            ids=tuple(self.ids[row] for row in index),
            labels=self.labels[index],
            root=self.root,
            boxes=None if self.boxes is None else self.boxes[index],
            arrays=None if self.arrays is None else self.arrays[index],
            mirror=self.mirror,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark:
    """A data set under a protocol: training images, gallery and queries.

    Metrics are computed at each K in `ks`; a ranking has `top_k` results per query.
    """

    name: str
    protocol: str  # "closed-set" or "metric-learning"
    crop: str  # "none" or "bbox"
    train: ImageSet
    gallery: ImageSet
    queries: ImageSet
    ks: tuple[int, ...]
    top_k: int
    incremental: int = 0  # so many gallery images, the last ones, are added when all else has been trained and indexed
    shortened: dict[str, int] = field(
        default_factory=dict
    )  # {"max_queries": 100} when only a part of the queries is evaluated

    def __post_init__(self) -> None:
        if not 0 <= self.incremental < len(self.gallery):
            raise DataError(f"{self.incremental} of {len(self.gallery)} gallery images are new: some have to be old")
        asked = np.flatnonzero(self.own_rows >= 0)
        differs = self.gallery.labels[self.own_rows[asked]] != self.queries.labels[asked]
        if differs.any():
            id_ = self.queries.ids[asked[int(differs.argmax())]]
            raise DataError(f"{id_} has one label in the gallery and another among the queries")

    @cached_property
    def own_rows(self) -> NDArray[np.int64]:
        """[Q] gallery row of each query's own photograph, -1 where the gallery does not hold it."""
        row_of = {id_: row for row, id_ in enumerate(self.gallery.ids)}
        return np.array([row_of.get(id_, -1) for id_ in self.queries.ids], dtype=np.int64)

    @cached_property
    def positives(self) -> NDArray[np.int64]:
        """[Q] number of gallery images that share the query's label, the query itself not counted."""
        return self.positives_among(range(len(self.gallery)))

    def positives_among(self, rows: range) -> NDArray[np.int64]:
        """[Q] number of such images among these rows of the gallery."""
        size = 1 + int(max(self.gallery.labels.max(), self.queries.labels.max()))
        per_class = np.bincount(self.gallery.labels[rows.start : rows.stop], minlength=size)
        return per_class[self.queries.labels] - ((self.own_rows >= rows.start) & (self.own_rows < rows.stop))

    @cached_property
    def old_gallery(self) -> ImageSet:
        """The gallery images that are indexed first: all of them, in an ordinary benchmark."""
        return self.gallery.take(slice(self.old_rows.stop)) if self.incremental else self.gallery

    @cached_property
    def new_gallery(self) -> ImageSet:
        """The gallery images that are added afterwards; there are some where `incremental` is not 0."""
        return self.gallery.take(slice(self.new_rows.start, None))

    @property
    def old_rows(self) -> range:
        """Gallery rows that are indexed first."""
        return range(len(self.gallery) - self.incremental)

    @property
    def new_rows(self) -> range:
        """Gallery rows that are added afterwards."""
        return range(len(self.gallery) - self.incremental, len(self.gallery))

    @cached_property
    def classes(self) -> int:
        """Number of classes over all three splits."""
        return len(np.unique(np.concatenate([s.labels for s in (self.train, self.gallery, self.queries)])))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that defines the benchmark: two results compare only where it is equal."""
        facts = {
            "protocol": self.protocol,
            "crop": self.crop,
            "self_match": "removed by identity",
            "ties": "higher score, then lower gallery row",
            "splits": [s.fingerprint for s in (self.train, self.gallery, self.queries)],
        } | ({"incremental": self.incremental} if self.incremental else {})
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _first_repeated(ids: tuple[str, ...]) -> str:
    return next(id_ for id_, times in Counter(ids).items() if times > 1)
