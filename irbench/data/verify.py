"""`irbench data verify`: checks that the files on disk are the complete, undamaged data set.

Every image is decoded. Images are duplicates if their decoded pixels are equal, whatever their names and formats.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError, UsageError
from irbench.core.text import as_text
from irbench.data import boxes, relevance
from irbench.data.boxes import doubt
from irbench.data.datasets import Dataset, assemble, under
from irbench.data.decode import SUFFIXES, cut
from irbench.data.irregular import kind
from irbench.data.loaders import Collection
from irbench.data.sources import Source, absent_files
from irbench.runtime.progress import track

_CHUNK = 256


@dataclass(frozen=True)
class Count:
    """The images of one split."""

    images: int
    per_class: Mapping[int, int]  # images of each class, by its published number

    @property
    def range(self) -> tuple[int, int]:
        """Images of the rarest and the most frequent class in the split."""
        return min(self.per_class.values(), default=0), max(self.per_class.values(), default=0)


@dataclass(frozen=True)
class Copy:
    """A query whose pixels are those of a gallery image of another name."""

    query: str
    gallery: str
    same_label: bool


@dataclass(kw_only=True)
class Findings:
    """The findings; `problems` is empty if there are none."""

    name: str
    root: Path
    crop: str  # with "bbox", misfitting boxes are problems
    images: int  # of all splits together, each counted once
    splits: dict[str, Count]
    classes: Mapping[int, str]  # number of each class, and the id of its first image
    expected: bool  # does the recipe state the expected counts?
    lists: list[str] = field(default_factory=list)  # problems of the lists themselves
    labels: list[str] = field(default_factory=list)  # images with two labels
    differences: list[str] = field(default_factory=list)  # from what the recipe expects
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    irregular: dict[str, str] = field(default_factory=dict)  # id → what it is, if it is no file
    unreadable: dict[str, str] = field(default_factory=dict)  # id → reason
    boxes: dict[str, str] = field(default_factory=dict)  # id → why its box does not fit
    doubtful_boxes: dict[str, str] = field(default_factory=dict)  # id → why its box, which fits, is hardly meant so
    duplicates: list[Copy] = field(default_factory=list)
    contradicting: list[str] = field(default_factory=list)  # copies with another label, as "this = that"
    trained: list[Copy] = field(default_factory=list)  # queries, and their copies in train outside the gallery
    own: bool = False  # are images and labels the user's, who can mend them?
    published_duplicates: int = 0  # of which this many are known from the published data
    notes: list[str] = field(default_factory=list)  # not problems

    @property
    def problems(self) -> list[str]:
        """One line for each kind of problem."""
        counted = (
            ("images with two labels", self.labels),
            ("listed images that are missing", self.missing),
            ("images on disk that are not part of it", self.surplus),
            ("listed images that are no files", self.irregular),
            ("images that cannot be read", self.unreadable),
            ("boxes that do not fit their images", self.boxes if self.crop == "bbox" else ()),
            ("boxes that are hardly meant so", self.doubtful_boxes if self.crop == "bbox" else ()),
            ("copies with another label", self.contradicting if self.own else ()),
            ("queries with a copy in training", self.trained if self.own else ()),
        )
        found = [f"{what}: {len(ids):,}" for what, ids in counted if ids]
        if len(self.duplicates) > self.published_duplicates:
            known = f", and {self.published_duplicates:,} are known" if self.published_duplicates else ""
            relabelled = sum(not copy.same_label for copy in self.duplicates)
            labels = f", {relabelled:,} of them with another label" if relabelled else ""
            found.append(f"queries with a copy in the gallery: {len(self.duplicates):,}{labels}{known}")
        return [*self.lists, *self.differences, *found]


def verify(dataset: Dataset, data: Path, *, crop: str | None = None) -> Findings:
    """Check every image of a data set, under its default protocol.

    Raises `DataError` if the data set is missing or its lists cannot be read.
    """
    crop, protocol = dataset.conditions(crop=crop, protocol=None)
    root, collection = dataset.collect(data)
    collection = under(dataset, collection, protocol)
    if crop == "bbox" and collection.boxes is None:
        raise UsageError(f"--crop bbox: {dataset.name} has no boxes; leave --crop out", code="no-boxes")
    findings = _counted(dataset, root, collection, crop)
    try:
        _compare(findings, dataset, assemble(dataset, root, collection, crop="none", protocol=protocol))
    except DataError as error:
        findings.lists.append(str(error))
    findings.notes += collection.remarks
    if crop == "bbox":
        with suppress(DataError):  # which is told where the images are looked at
            cropped = assemble(dataset, root, collection, crop=crop, protocol=protocol)
            findings.notes += boxes.remarks(replace(cropped, collection="") if findings.own else cropped)
    findings.labels = _relabelled(collection)
    if collection.vectors is not None:  # which were checked when they were read; there are no images
        return findings
    if collection.in_files:
        findings.missing, findings.surplus = _missing(root, collection), _surplus(root, collection)
    if dataset.own is not None:  # a user's list need not be complete, and what a folder has more is in the remarks
        if root.is_file() and findings.surplus:
            count, first = len(findings.surplus), as_text(findings.surplus[0])
            findings.notes.append(f"{count:,} further images lie in its folders, first {first}")
        findings.surplus = []
    _look(findings, root, collection)
    return findings


def _counted(dataset: Dataset, root: Path, collection: Collection, crop: str) -> Findings:
    expected = dataset.head.expected
    first: dict[int, str] = {}
    for id_, label in zip(collection.ids, collection.labels.tolist(), strict=True):
        first.setdefault(label, id_)
    return Findings(
        name=dataset.name,
        root=root,
        crop=crop,
        images=len({collection.ids[row] for rows in _splits(collection).values() for row in rows.tolist()}),
        splits={name: _count(collection.labels[rows]) for name, rows in _splits(collection).items()},
        classes=dict(sorted(first.items())),
        expected=expected is not None,
        own=dataset.own is not None,
        published_duplicates=expected.duplicates if expected else 0,
    )


def _splits(collection: Collection) -> dict[str, NDArray[np.int64]]:
    split = collection.split
    return {"train": split.train, "gallery": split.gallery, "queries": split.queries}


def _count(labels: NDArray[np.int64]) -> Count:
    return Count(len(labels), dict(sorted(Counter(labels.tolist()).items())))


def _compare(findings: Findings, dataset: Dataset, benchmark: Benchmark) -> None:
    lonely = int((benchmark.positives == 0).sum())
    if lonely:
        findings.notes.append(f"{lonely:,} queries have no image of their class in the gallery, and are not scored")
    findings.notes += relevance.remarks(benchmark)
    expected = dataset.head.expected
    if expected is None:
        return
    for name, count in findings.splits.items():
        if name == "train" and not benchmark.labelled:  # nothing is trained on it
            continue
        findings.differences += _differs(f"images of {name}", f"{count.images:,}", f"{getattr(expected, name):,}")
        if name in expected.per_class:
            findings.differences += _differs(
                f"images per class of {name}", *map(_span, (count.range, expected.per_class[name]))
            )
    findings.differences += _differs("classes", f"{benchmark.classes:,}", f"{expected.classes:,}")
    if not findings.differences and expected.fingerprint:
        what = "fingerprint of names, labels and splits"
        findings.differences += _differs(what, benchmark.manifest, expected.fingerprint)


def _differs(what: str, found: str, wanted: str) -> list[str]:
    return [] if found == wanted else [f"{what}: {found}, expected {wanted}"]


def _span(ends: Sequence[int]) -> str:
    return " to ".join(f"{end:,}" for end in sorted(set(ends)))


def _relabelled(collection: Collection) -> list[str]:
    first: dict[str, int] = {}
    rows = zip(collection.ids, collection.labels.tolist(), strict=True)
    return sorted({id_ for id_, label in rows if first.setdefault(id_, label) != label})


def _missing(root: Path, collection: Collection) -> list[str]:
    base = _base(root)
    place = {os.path.join(base, id_): id_ for id_ in collection.ids}  # noqa: PTH118 -- a million of them
    return sorted(place[path] for path in absent_files(set(place)))


def _base(root: Path) -> Path:
    """Return the folder that ids are relative to; for a list of images, the folder of the list."""
    return root.parent if root.is_file() else root


def _surplus(root: Path, collection: Collection) -> list[str]:
    """Return images in the folders or archives of listed ones that are not part of the data set."""
    known = {*collection.ids, *collection.unused}
    below = [id_ for id_ in known if not id_.startswith(("/", "../"))]
    archives = {f"{head}.zip" for head, inside, _ in (id_.partition(".zip/") for id_ in below) if inside}
    found = [*_in_archives(_base(root), archives), *_in_folders(_base(root), _tops(below))]
    return sorted(set(found) - known)


def _tops(ids: Iterable[str]) -> set[str]:
    """Return for each folder at the root the deepest one with all of its listed images: Img/img of In-shop."""
    groups: dict[str, set[str]] = {}
    for id_ in ids:
        if ".zip/" not in id_:
            groups.setdefault(id_.partition("/")[0], set()).add(os.path.dirname(id_))  # noqa: PTH120 -- a million
    return {os.path.commonpath(folders) for folders in groups.values()}


def _in_folders(base: Path, tops: set[str]) -> Iterator[str]:
    for top in tops:
        for folder, inner, names in os.walk(base / top):
            below = os.path.relpath(folder, base)
            inner[:] = [name for name in inner if top and not name.startswith(".")]  # not below the root itself
            yield from (os.path.normpath(f"{below}/{name}") for name in names if _is_image(name))


def _in_archives(base: Path, archives: set[str]) -> Iterator[str]:
    for archive in archives:
        with suppress(OSError, BadZipFile), ZipFile(base / archive) as file:  # its images are then unreadable
            yield from (f"{archive}/{name}" for name in file.namelist() if _is_image(name))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")  # noqa: PTH122 -- a million


def _look(findings: Findings, root: Path, collection: Collection) -> None:
    """Decode every image once, to find unreadable images, misfitting boxes, and queries with a copy in the gallery."""
    rows = _present(collection, set(findings.missing))
    if not len(rows):
        return
    digests: dict[str, bytes] = {}
    for id_, seen in _each(findings, root, collection, rows):
        digests[id_] = seen.digest
        if seen.irregular:
            findings.irregular[id_] = seen.irregular
        if seen.damage:
            findings.unreadable[id_] = seen.damage
        if seen.misfit:
            findings.boxes[id_] = seen.misfit
        if seen.doubt:
            findings.doubtful_boxes[id_] = seen.doubt
    findings.duplicates = _copies(collection, digests)
    findings.contradicting = list(_contradicting(collection, digests))
    findings.trained = _in_training(collection, digests)
    if findings.contradicting and not findings.own:  # what was published is taken as it is
        count, first = len(findings.contradicting), findings.contradicting[0]
        findings.notes.append(f"{count:,} images are copies of others with another label, first {first}")
    if findings.boxes and findings.crop == "none":
        findings.notes.append(f"{len(findings.boxes):,} boxes do not fit their images: --crop bbox cannot be used")
    if findings.doubtful_boxes and findings.crop == "none":
        why = next(iter(findings.doubtful_boxes.values()))
        findings.notes.append(f"{len(findings.doubtful_boxes):,} boxes are hardly meant so, first: {why}")


def _each(
    findings: Findings, root: Path, collection: Collection, rows: NDArray[np.int64]
) -> Iterator[tuple[str, "_Seen"]]:
    """Decode the images at `rows`, first those without a box, and yield their ids and what is wrong with them."""
    boxes = _boxes(collection, findings)
    boxed = np.isin(rows, rows if collection.boxed is None else collection.boxed) & (boxes is not None)
    for some, corners in ((rows[~boxed], None), (rows[boxed], boxes)):
        if len(some):
            images = collection.images(
                some,
                name="images",
                labels=np.zeros(len(some), np.int64),
                root=_base(root),
                boxes=None if corners is None else corners[some],
            )
            yield from zip(images.ids, _seen(images), strict=True)


def _present(collection: Collection, gone: set[str]) -> NDArray[np.int64]:
    """Return one row for each image of any split whose file exists."""
    first: dict[str, int] = {}
    for row in np.concatenate(list(_splits(collection).values())).tolist():
        if collection.ids[row] not in gone:
            first.setdefault(collection.ids[row], row)
    return np.array(list(first.values()), dtype=np.int64)


def _seen(images: ImageSet) -> Iterator["_Seen"]:
    see = partial(_see, Source(images))
    chunks = [range(start, min(start + _CHUNK, len(images))) for start in range(0, len(images), _CHUNK)]
    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as workers:
        for rows in track(chunks, f"Checking {len(images):,} images"):
            yield from workers.map(see, rows)


def _boxes(collection: Collection, findings: Findings) -> NDArray[np.int32] | None:
    try:
        return collection.boxes() if collection.boxes else None
    except FileNotFoundError as error:
        reason = f"--crop bbox needs {error.filename}, which is missing"
    except DataError as error:
        reason = str(error)
    (findings.lists if findings.crop == "bbox" else findings.notes).append(reason)
    return None


@dataclass(frozen=True)
class _Seen:
    digest: bytes = b""
    irregular: str = ""
    damage: str = ""
    misfit: str = ""
    doubt: str = ""  # of a box that fits


def _see(source: Source, row: int) -> _Seen:
    images = source.images
    if images.in_files and (what := kind(images.root / images.ids[row])):
        return _Seen(irregular=what)
    try:
        image = source.image(row)
    except DataError as error:
        where = f"{images.root / images.ids[row]} (row {row} of {images.name}): "
        return _Seen(damage=str(error).removeprefix(where).partition("; --on-bad-image")[0])
    digest = blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=16).digest()
    if images.boxes is None:
        return _Seen(digest)
    box = images.boxes[row]
    misfit = _misfit(image, box)
    return _Seen(digest, misfit=misfit, doubt="" if misfit else doubt(box))


def _misfit(image: Image.Image, box: NDArray[np.int32]) -> str:
    try:
        cut(image, box)
    except DataError as error:
        return str(error)
    return ""


def _copies(collection: Collection, digests: Mapping[str, bytes]) -> list[Copy]:
    """Return each query whose pixels equal those of a gallery image with another id, and the first such image.

    One with another label goes before.
    """
    return _among(collection, collection.split.gallery, digests)


def _in_training(collection: Collection, digests: Mapping[str, bytes]) -> list[Copy]:
    """Return each query whose pixels equal those of a training image that is not in the gallery, as `_copies` does."""
    split, ids = collection.split, collection.ids
    held = {ids[row] for row in split.gallery.tolist()}
    return _among(collection, np.array([row for row in split.train.tolist() if ids[row] not in held], int), digests)


def _among(collection: Collection, rows: NDArray[np.int64], digests: Mapping[str, bytes]) -> list[Copy]:
    """Return each query whose pixels equal those of an image with another id among `rows`."""
    ids, labels = collection.ids, collection.labels
    holders: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        if digests.get(ids[row]):
            holders.setdefault(digests[ids[row]], []).append(row)
    found = []
    for row in collection.split.queries.tolist():
        others = [other for other in holders.get(digests.get(ids[row], b""), ()) if ids[other] != ids[row]]
        if others:
            other = next((other for other in others if labels[other] != labels[row]), others[0])
            found.append(Copy(ids[row], ids[other], bool(labels[row] == labels[other])))
    return found


def _contradicting(collection: Collection, digests: Mapping[str, bytes]) -> Iterator[str]:
    """Yield images whose pixels are those of another image with another label: among queries, and among the others."""
    split, ids, labels = collection.split, collection.ids, collection.labels
    for rows in (np.concatenate([split.train, split.gallery]), split.queries):
        groups: dict[bytes, dict[str, int]] = {}
        for row in rows.tolist():
            groups.setdefault(digests.get(ids[row], b""), {}).setdefault(ids[row], row)
        groups.pop(b"", None)  # what cannot be read is a copy of nothing
        for same in groups.values():
            for id_, row in same.items():
                other = next((one for one, place in same.items() if labels[place] != labels[row]), None)
                if other is not None:
                    yield f"{as_text(id_)} = {as_text(other)}"
