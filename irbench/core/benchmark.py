"""Sets of labelled images, and the benchmark that consists of three of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irbench.core.errors import DataError
from irbench.core.judgements import JUNK, Judgements, OfClass
from irbench.core.ranking import MISSING, Ranking


class Generated(Protocol):
    """N images that are drawn when they are read; `irbench.data.generated` has them."""

    def __len__(self) -> int: ...

    @property
    def ids(self) -> Sequence[str]:
        """[N]."""

    @property
    def made_from(self) -> bytes:
        """What the images are made from: equal for equal images."""

    def contents(self) -> NDArray[np.uint8]:
        """Return the SHA-256 [N,32] of what each image is made from."""

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return one image [H,W,3]."""

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the images at `rows`, in that order."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """N labelled images in a fixed order; inside irbench an image is identified by its row.

    An image is found at `root / ids[row]`; an id may lead into a zip archive (`drawings.zip/Latin/0708_01.png`).
    Images that exist only in memory (scikit-learn's digits) are carried in `arrays` instead, those that are drawn when
    they are read in `generated`; in place of images that were encoded elsewhere there are `vectors`.
    """

    name: str  # "train", "gallery" or "queries", for error messages
    ids: Sequence[str]  # unique; rows of two sets with the same id are the same image
    labels: NDArray[np.int64]  # [N] class of each image, 0-based over the whole benchmark
    root: Path = Path()
    contents: NDArray[np.uint8] | None = None  # [N,32] SHA-256 of each file, zeros where it is not at hand
    boxes: NDArray[np.int32] | None = None  # [N,4] x1, y1, x2, y2 in pixels: the image is cropped to it
    arrays: NDArray[np.uint8] | None = None  # [N,H,W,3]
    generated: "Generated | None" = None
    vectors: NDArray[np.float32] | None = None  # [N,D] in place of images; a copy is made only where rows are chosen
    mirror: bool = True  # does a mirrored image keep its class? False for characters

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", _as_labels(self.labels, self.name))
        if self.arrays is not None and (self.arrays.dtype != np.uint8 or self.arrays.shape[3:] != (3,)):
            raise DataError(
                f"{self.name} split: arrays are uint8 [N,H,W,3], not {self.arrays.dtype} {list(self.arrays.shape)}",
                code="wrong-shape",
            )
        if not self.ids:
            raise DataError(
                f"the {self.name} split has no images: check the split column or file of the data set", code="no-images"
            )
        if len(set(self.ids)) != len(self.ids):
            raise DataError(
                f"image listed twice in the {self.name} split: {_first_repeated(self.ids)}", code="duplicate-image"
            )
        for what in ("labels", "boxes", "arrays", "generated", "vectors", "contents"):
            column = getattr(self, what)
            if column is not None and len(column) != len(self.ids):
                raise DataError(
                    f"{self.name} split: {len(self.ids)} images but {len(column)} {what}", code="wrong-shape"
                )
        if self.labels.min() < 0:
            row = int(np.argmax(self.labels < 0))
            raise DataError(
                f"negative label {self.labels[row]} for {self.ids[row]} in the {self.name} split", code="bad-label"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def in_files(self) -> bool:
        """Are the images files, to be read from `root`?"""
        return self.arrays is None and self.generated is None and self.vectors is None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of contents, labels and boxes: equal for equal images, whatever their names and wherever they are.

        Of images whose contents are not known, ids stand for them.
        """
        if self.arrays is not None:
            return self._digest(f"{self.arrays.shape}".encode() + self.arrays.tobytes())
        if self.generated is not None:
            return self._digest(self.generated.made_from)
        return self.manifest if self.contents is None else self._digest(self.contents.tobytes())

    @cached_property
    def manifest(self) -> str:
        """SHA-256 of ids, labels and boxes: equal for equal lists of images."""
        return self._digest("\n".join(self.ids).encode("utf-8", "surrogateescape"))

    def _digest(self, images: bytes) -> str:
        digest = hashlib.sha256(images)
        digest.update(np.ascontiguousarray(self.labels, "<i8").tobytes())
        if self.boxes is not None:
            digest.update(np.ascontiguousarray(self.boxes, "<i4").tobytes())
        return digest.hexdigest()

    def take(self, rows: "NDArray[np.integer] | slice") -> Self:
        """Return the images at `rows`, in that order; the rows of the result start at 0."""
        index = np.arange(len(self))[rows]
        generated = None if self.generated is None else self.generated.take(index)
        return type(self)(
            name=self.name,
            ids=tuple(self.ids[row] for row in index) if generated is None else generated.ids,
            labels=self.labels[index],
            root=self.root,
            contents=None if self.contents is None else self.contents[index],
            boxes=None if self.boxes is None else self.boxes[index],
            arrays=None if self.arrays is None else self.arrays[index],
            generated=generated,
            vectors=None if self.vectors is None else self.vectors[rows],
            mirror=self.mirror,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark:
    """A data set under a protocol: training images, gallery and queries.

    Rankings have `top_k` results and are scored at each K in `ks`. Relevant are the images of a query's class, or those
    that `judgements` or `nearest` tell.

    Raises `DataError` if a query has another label in the gallery, or if the judgements are of other images.
    """

    name: str
    protocol: str  # "closed-set", "metric-learning", or one of the data set's own
    crop: str  # "none" or "bbox"
    train: ImageSet
    gallery: ImageSet
    queries: ImageSet
    ks: tuple[int, ...]
    top_k: int
    incremental: int = 0  # number of gallery images, the last ones, that are added after training and indexing
    shortened: dict[str, int] = field(default_factory=dict)  # {"max_queries": 100} where only some are evaluated
    remarks: tuple[str, ...] = ()  # what stands under every table: files that were passed over, copies of queries
    class_names: tuple[str, ...] = ()  # of each label; empty where the data set does not name them
    loaded: tuple[str, str] | None = None  # the name, and a digest of all that it held, when it was loaded
    collection: str | None = None  # of anyone's own images: what tells them from others, whatever the protocol
    path: Path | None = None  # of anyone's own images: the folder or list that they were read from
    labelled: bool = True  # False: all labels are 0, and nothing can be trained on them
    judgements: Judgements | None = None  # None: images of the query's class are relevant
    nearest: Ranking | None = None  # the exact neighbours [Q,T], T > top_k: they are relevant where there are no labels

    def __post_init__(self) -> None:
        if not 0 <= self.incremental < len(self.gallery):
            raise DataError(
                f"{self.incremental} of {len(self.gallery)} gallery images are added later: at least one must not be",
                code="bad-split",
            )
        shared = np.flatnonzero(self.own_rows >= 0)  # queries that are also gallery images
        differs = self.gallery.labels[self.own_rows[shared]] != self.queries.labels[shared]
        if differs.any():
            id_ = self.queries.ids[shared[int(differs.argmax())]]
            raise DataError(f"{id_} has one label in the gallery and another among the queries", code="two-labels")
        judged, images = self.relevance.shape, (len(self.queries), len(self.gallery))
        if judged != images:
            raise DataError(
                f"judgements of {judged[0]} queries and {judged[1]} gallery images for a benchmark of {images[0]} and "
                f"{images[1]}",
                code="wrong-shape",
            )

    @cached_property
    def relevance(self) -> Judgements:
        """Which gallery images are relevant to which queries."""
        return self.judgements or OfClass(self.queries.labels, self.gallery.labels)

    @property
    def depth(self) -> int:
        """How many results have to be retrieved besides a query's own image: `top_k` are left without its junk."""
        return self.top_k + int(self.relevance.junk.max(initial=0))

    def scored(self, ranking: Ranking, queries: NDArray[np.int64] | None = None) -> Ranking:
        """Return a ranking of `queries` as it is scored: each one's own image and junk removed, at any rank."""
        every = np.arange(len(self.queries)) if queries is None else queries
        ranking = ranking.without(self.own_rows[every])
        if not self.relevance.junk.any():
            return ranking
        is_junk = self.relevance.grades(every, ranking.rows) == JUNK
        return Ranking.from_topk(np.where(is_junk, MISSING, ranking.rows), ranking.scores)

    @cached_property
    def own_rows(self) -> NDArray[np.int64]:
        """[Q] gallery row of each query's own image, -1 where it is not in the gallery."""
        row_of = {id_: row for row, id_ in enumerate(self.gallery.ids)}
        return np.array([row_of.get(id_, -1) for id_ in self.queries.ids], dtype=np.int64)

    @cached_property
    def positives(self) -> NDArray[np.int64]:
        """[Q] number of gallery images that are relevant, the query itself not counted."""
        return self.positives_among(range(len(self.gallery)))

    def positives_among(self, rows: range) -> NDArray[np.int64]:
        """[Q] number of `positives` among these rows of the gallery."""
        own = self.own_rows[:, None]
        itself = (self.relevance.grades(np.arange(len(own)), own) > 0) & (own >= rows.start) & (own < rows.stop)
        return self.relevance.counts(rows) - itself[:, 0]

    @cached_property
    def old_gallery(self) -> ImageSet:
        """The gallery images that are indexed first: all of them, unless `incremental`."""
        return self.gallery.take(slice(self.old_rows.stop)) if self.incremental else self.gallery

    @cached_property
    def new_gallery(self) -> ImageSet:
        """The gallery images that are added afterwards; only where `incremental` is not 0."""
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
        """Number of classes of all three splits together; 0 where there are no labels."""
        if self.nearest is not None or not self.labelled:
            return 0
        return len(np.unique(np.concatenate([s.labels for s in (self.train, self.gallery, self.queries)])))

    @property
    def identity(self) -> tuple[str, str]:
        """Name and fingerprint."""
        return self.name, self.fingerprint

    def without(self, ids: Collection[str]) -> "Benchmark":
        """Return the benchmark without these images."""
        left_out = set(ids)

        def kept(images: ImageSet) -> NDArray[np.int64]:
            return np.array([row for row, id_ in enumerate(images.ids) if id_ not in left_out], np.int64)

        incremental = sum(self.gallery.ids[row] not in left_out for row in self.new_rows)
        train = _taken(self.train, kept(self.train))
        return self.take(kept(self.queries), kept(self.gallery), incremental=incremental, train=train)

    def take(self, queries: NDArray[np.int64], gallery: NDArray[np.int64] | None = None, **changes: Any) -> "Benchmark":
        """Return the benchmark of these queries, and of these gallery images, by default all of them.

        Rows are numbers or a mask. `changes` are those of other fields, with which it has to agree.

        Raises `DataError` for rows that there are not.
        """
        queries = _rows(self.queries, queries)
        every = np.arange(len(self.gallery)) if gallery is None else _rows(self.gallery, gallery)
        judged = None if self.judgements is None else self.judgements.take(queries, every)
        nearest = None if self.nearest is None else self.nearest.take(queries)
        return replace(
            self,
            queries=_taken(self.queries, queries),
            gallery=_taken(self.gallery, every),
            judgements=judged,
            nearest=nearest,
            **changes,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that defines the task: only results with equal ones can be compared."""
        same = [] if (self.own_rows < 0).all() else [hashlib.sha256(self.own_rows.astype("<i8").tobytes()).hexdigest()]
        return self._digest([*(s.fingerprint for s in (self.train, self.gallery, self.queries)), *same])

    @cached_property
    def manifest(self) -> str:
        """The fingerprint of the task by the names of the images alone: what can be told without their files."""
        return self._digest([s.manifest for s in (self.train, self.gallery, self.queries)])

    def _digest(self, splits: list[str]) -> str:
        facts: dict[str, object] = {
            "protocol": self.protocol,
            "crop": self.crop,
            "self_match": "removed by identity",
            "ties": "higher score, then lower gallery row",
            "splits": splits,
        }
        facts |= {"incremental": self.incremental} if self.incremental else {}
        facts |= {} if self.judgements is None else {"relevant": self.judgements.digest}
        facts |= {} if self.nearest is None else {"relevant": "exact neighbours"}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _rows(images: ImageSet, chosen: NDArray[Any]) -> NDArray[np.int64]:
    try:
        return np.arange(len(images))[chosen]
    except IndexError as error:
        raise DataError(
            f"{images.name}: rows of {len(images)} images are needed ({error})", code="no-such-row"
        ) from None


def _taken(images: ImageSet, rows: NDArray[np.int64]) -> ImageSet:
    return images if np.array_equal(rows, np.arange(len(images))) else images.take(rows)


def _as_labels(labels: ArrayLike, split: str) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(
            f"{split} split: labels are whole numbers [N], one for each image, not {array.dtype} {list(array.shape)}; "
            "number the classes from 0",
            code="bad-label",
        )
    return array.astype(np.int64, copy=False)


def _first_repeated(ids: Sequence[str]) -> str:
    return next(id_ for id_, count in Counter(ids).items() if count > 1)
