"""Loads data sets by name, or the user's own images by path, as a `Benchmark` under a protocol."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.config import recipes
from irbench.config.registry import LOADERS
from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError, RecipeError, UsageError, check_choice, nearest
from irbench.core.names import LONGEST, legal_name
from irbench.data import boxes, copies, irregular, neighbours, origins, relevance
from irbench.data.contents import contents, digest, with_contents
from irbench.data.download.published import Expected, RemoteFile
from irbench.data.loaders import JUDGED, Collection, Loader, Split, judged, vectors
from irbench.data.sources import absent_files
from irbench.runtime.cache import Store

PROTOCOLS = ("closed-set", "metric-learning")  # of a data set with classes that names no others
CROPS = ("none", "bbox")
OWN_SCALE = "mobile"  # of anyone's own images


@dataclass(frozen=True, kw_only=True)
class Head:
    """The top level of a data set's recipe."""

    loader: str
    folders: tuple[str, ...]  # searched below --data in this order, then --data itself. Empty: needs no files
    page: str = ""  # where to get it
    scale: str = OWN_SCALE  # "tiny", "small", "mobile" or "paper": the default scale of models
    ks: tuple[int, ...] = (1, 2, 4, 8)  # metrics are computed at these K
    top_k: int = 100  # results of a query
    protocols: tuple[str, ...] = PROTOCOLS  # under which it is evaluated, the default one first
    crop: str = "none"  # the default crop, as published
    mirror: bool = True  # does a mirrored image keep its class?
    license: str = ""  # the terms in a few words, shown before a download
    methods: tuple[str, ...] = ()  # that can be run on it, each with every search by default; empty: all
    by_hand: str = ""  # why some files cannot be downloaded, and how to get them
    files: tuple[RemoteFile, ...] = ()  # for `irbench data fetch`, the loader's marker last
    expected: Expected | None = None  # for `irbench data verify`

    def __post_init__(self) -> None:
        if self.scale not in recipes.SCALES:
            raise ValueError(f"unknown scale '{self.scale}'{nearest(self.scale, recipes.SCALES)}")
        if not self.ks or min(self.ks) < 1 or max(self.ks) > self.top_k:
            raise ValueError(f"ks {list(self.ks)} are not all between 1 and top_k {self.top_k}")
        if not self.protocols:
            raise ValueError("protocols: at least one name is needed")
        if self.crop not in CROPS:
            raise ValueError(f"unknown crop '{self.crop}' (one of {', '.join(CROPS)})")
        if self.files and not (self.license and self.folders):
            raise ValueError("files need a license (the terms that have to be accepted) and a folder")
        if not all(file.url for file in self.files) and not self.by_hand:
            raise ValueError("files without a url need by_hand, which explains how to get them")


_OWN = Head(loader="folders", folders=())
_VECTORS = Head(loader="vectors", folders=(), scale="paper", ks=(1, 10, 100), methods=("vectors",))
_LIST = replace(_OWN, loader="csv")
_JUDGED = replace(_OWN, loader="judged", protocols=(JUDGED,))
_PARQUET = replace(_OWN, loader="hub")
_OF_SUFFIX = {  # of files that stand for a data set
    ".csv": _LIST, ".tsv": _LIST, vectors.SUFFIX: _VECTORS, judged.SUFFIX: _JUDGED, origins.SUFFIX: _PARQUET,
}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """A data set known by name or path, not yet located."""

    name: str
    head: Head
    loader: Loader
    own: Path | None = None  # the user's own folder or .csv file

    def places(self, data: Path) -> list[Path]:
        """Return the candidate roots, in order."""
        if self.own is not None:
            return [self.own]
        return [data / folder for folder in self.head.folders] + [data] if self.head.folders else [Path()]

    def locate(self, data: Path) -> Path:
        """Return the first root with the loader's marker; `DataError` if there is none."""
        places = self.places(data)
        for place in places:
            if (place / self.loader.marker).exists():
                return place
        searched = ", ".join(str(place / self.loader.marker) for place in places)
        raise DataError(f"{self.name} not found: searched {searched}. {self.hint}", code="not-found")

    def is_here(self, data: Path) -> bool:
        """Return whether one of the candidate roots has the loader's marker."""
        return any((place / self.loader.marker).exists() for place in self.places(data))

    def conditions(self, *, crop: str | None, protocol: str | None) -> tuple[str, str]:
        """Return crop and protocol, by default the data set's own ones; `UsageError` for one that it does not have."""
        if crop is not None:
            check_choice("--crop", crop, CROPS)
        known = self.head.protocols
        if protocol is not None and protocol not in known:
            raise UsageError(
                f"{self.name} has no --protocol '{protocol}'{nearest(protocol, known)}; it has {', '.join(known)}",
                code="unknown-choice",
            )
        return crop or self.head.crop, protocol or known[0]

    @property
    def hint(self) -> str:
        """The expected content of its folder, and where to get it."""
        hint = f"What is needed: {self.loader.shape}."
        if self.own is None:
            source = f"Get it from {self.head.page} and point" if self.head.page else "Point"
            hint += f" {source} --data at its folder or the folder above."
        if self.own is None and self.head.files:
            hint += f" irbench data fetch {self.name} gets it, or explains how."
        return hint

    def collect(self, data: Path) -> tuple[Path, Collection]:
        """Return its root and the collection read there; `DataError` if files are missing or unreadable."""
        root = self.locate(data)
        try:
            return root, self.loader.read(root)
        except FileNotFoundError as error:
            raise DataError(f"{self.name}: {error.filename} is missing. {self.hint}", code="missing-file") from None
        except OSError as error:
            raise DataError(
                f"{self.name}: cannot read {error.filename or root}: {error.strerror}", code="unreadable-file"
            ) from None


def find(name: str | Path) -> Dataset:
    """Return the data set of a recipe's name, or of a path to a folder of images or a .csv list."""
    if is_path(str(name)):
        return _own(Path(name))
    if Path(name).is_file() and name not in recipes.names("datasets"):
        raise UsageError(f"{name} is no list of images: the name of one ends in .csv or .tsv", code="unknown-name")
    recipe = recipes.find("datasets", str(name))
    head = recipe.head(Head)
    loader, schema = LOADERS.load(head.loader), LOADERS.schema(head.loader)
    return Dataset(str(name), head, loader(recipe.config(schema, scale=head.scale, dataset=str(name))))


def default_protocol(name: str) -> str:
    """Return the default protocol of the data set of this name, of which there need not be a recipe."""
    return find(name).head.protocols[0] if name in recipes.names("datasets") else PROTOCOLS[0]


def load(  # noqa: PLR0913 -- each is an option of the command line
    name: str | Path,
    *,
    data: Path | None = None,
    crop: str | None = None,
    protocol: str | None = None,
    incremental: bool = False,
    max_queries: int | None = None,
    files_must_exist: bool = True,
    store: Store | None = None,
) -> Benchmark:
    """Return data set `name` (or the images at a path) as a benchmark, by default under its own crop and protocol.

    `incremental` excludes half of the gallery from training, see `make_incremental`. `max_queries` limits the
    evaluation to an even sample of the queries. With `files_must_exist` false, listed images that are missing raise an
    error when they are decoded, not here. All images are read once, to know them by their contents; with `store` once
    for all loads. Raises `UsageError` for a bad option, `DataError` for missing or broken data.
    """
    dataset = find(name)
    crop, protocol = dataset.conditions(crop=crop, protocol=protocol)
    root, collection = dataset.collect(data or Path("data"))
    if incremental and not collection.labelled:
        raise UsageError(
            f"--incremental: {dataset.name} has no labels, by which half of each class is added", code="unused-option"
        )
    benchmark = assemble(dataset, root, collection, crop=crop, protocol=protocol)
    if files_must_exist:
        _check_files(dataset, benchmark)
    benchmark = with_contents(benchmark, store)
    if dataset.own is not None:
        benchmark = replace(benchmark, collection=_collection(collection, benchmark), path=root)
    if incremental:
        benchmark = make_incremental(benchmark)
    if max_queries is not None:
        benchmark = shorten(benchmark, max_queries)
    if not collection.labelled and benchmark.judgements is None:
        benchmark = replace(benchmark, nearest=neighbours.exact_neighbours(benchmark, store))
    found = (module.remarks(benchmark) for module in (irregular, relevance, copies, boxes, neighbours))
    partial = incomplete(dataset, benchmark) if not incremental and max_queries is None else ()
    return replace(benchmark, remarks=(*collection.remarks, *partial, *chain.from_iterable(found)))


def incomplete(dataset: Dataset, benchmark: Benchmark) -> Iterator[str]:
    """Yield in which counts a data set is not the published one."""
    expected = dataset.head.expected
    if expected is None or benchmark.protocol != dataset.head.protocols[0]:
        return
    splits = (*((benchmark.train,) if benchmark.labelled else ()), benchmark.gallery, benchmark.queries)
    differ = [
        f"{len(split):,} of {getattr(expected, split.name):,} images of {split.name}"
        for split in splits
        if len(split) != getattr(expected, split.name)
    ]
    if differ:
        yield f"not the published data set: {', '.join(differ)}"


def _collection(collection: Collection, benchmark: Benchmark) -> str:
    """Return the SHA-256 of images, labels, boxes and published split: what tells a collection from others of its name.

    Boxes count whether or not images are cropped to them now: a collection has one name.
    """
    known: dict[str, bytes] = {}
    for images in (benchmark.train, benchmark.gallery, benchmark.queries):
        known |= zip(images.ids, map(bytes, contents(images)), strict=True)
    found = hashlib.sha256()
    for rows in (collection.split.train, collection.split.gallery, collection.split.queries):
        found.update(b"".join(known.get(collection.ids[row], b"") for row in rows.tolist()))
        found.update(np.ascontiguousarray(collection.labels[rows], "<i8").tobytes())
    if collection.judgements is not None:
        found.update(collection.judgements.digest.encode())
    if collection.boxes is not None:
        with suppress(DataError):  # what is wrong with boxes is told when images are cropped to them
            found.update(np.ascontiguousarray(collection.boxes(), "<i4").tobytes())
    return found.hexdigest()


def make_incremental(benchmark: Benchmark) -> Benchmark:
    """Return the benchmark with half of each class's gallery images excluded from training, to be added afterwards.

    Of a class of n images n // 2 are new, those whose ids have the smallest SHA-256: a pseudorandom choice that depends
    on the data set alone. The gallery is then the old images in their order, followed by the new ones.
    """
    gallery = benchmark.gallery
    digests = [hashlib.sha256(id_.encode("utf-8", "surrogateescape")).digest() for id_ in gallery.ids]
    new = np.zeros(len(gallery), bool)
    for label in np.unique(gallery.labels):
        rows = np.flatnonzero(gallery.labels == label).tolist()
        new[sorted(rows, key=digests.__getitem__)[: len(rows) // 2]] = True
    if not new.any():
        raise UsageError(
            f"{benchmark.name}: no class has two gallery images, so none can be added later", code="too-few-images"
        )
    new_ids = {gallery.ids[row] for row in np.flatnonzero(new).tolist()}
    trained = np.array([id_ not in new_ids for id_ in benchmark.train.ids])
    ordered = benchmark.take(np.arange(len(benchmark.queries)), np.argsort(new, kind="stable"))
    return replace(ordered, train=benchmark.train.take(np.flatnonzero(trained)), incremental=int(new.sum()))


def shorten(benchmark: Benchmark, max_queries: int) -> Benchmark:
    """Return the benchmark with an even sample of at most `max_queries` queries, and marked as shortened."""
    if max_queries < 1:
        raise UsageError(f"--max-queries {max_queries}: at least one query is needed", code="bad-value")
    count = len(benchmark.queries)
    if max_queries >= count:
        return benchmark
    rows = np.arange(max_queries) * count // max_queries
    shortened = benchmark.shortened | {"max_queries": max_queries}
    return replace(benchmark.take(rows), shortened=shortened)


def with_ks(benchmark: Benchmark, ks: tuple[int, ...], store: Store | None = None) -> Benchmark:
    """Return the benchmark with other K of its metrics, and with as many neighbours as these need."""
    known = tuple(neighbours.remarks(benchmark))
    changed = replace(benchmark, ks=ks, top_k=max(benchmark.top_k, *ks))
    if changed.nearest is None:
        return changed
    if changed.top_k > benchmark.top_k:
        changed = replace(changed, nearest=neighbours.exact_neighbours(changed, store))
    others = (remark for remark in benchmark.remarks if remark not in known)
    return replace(changed, remarks=(*others, *neighbours.remarks(changed)))


def content(benchmark: Benchmark) -> str:
    """Return the SHA-256 of all that a benchmark is made of, names and places of images included."""
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    scope = (*benchmark.identity, benchmark.manifest, benchmark.ks, benchmark.top_k, benchmark.incremental)
    places = tuple((str(split.root), split.mirror, digest(split)) for split in splits)
    return hashlib.sha256(repr((*scope, *places)).encode("utf-8", "surrogateescape")).hexdigest()


def is_as_loaded(benchmark: Benchmark) -> bool:
    """Is it what was loaded under its name, and not derived from that?"""
    return benchmark.loaded == (benchmark.name, content(benchmark))


def summary(benchmark: Benchmark) -> dict[str, object]:
    """Return the facts of `irbench data info`, as JSON values."""
    positives = benchmark.positives if benchmark.nearest is None else np.minimum(benchmark.positives, max(benchmark.ks))
    splits = {s.name: s for s in (benchmark.train, benchmark.gallery, benchmark.queries)}
    return {
        "name": benchmark.name,
        "protocol": benchmark.protocol,
        "crop": benchmark.crop,
        "images": {name: len(split) for name, split in splits.items()},
        "classes": {name: len(np.unique(split.labels)) if benchmark.labelled else 0 for name, split in splits.items()}
        | {"all": benchmark.classes},
        "positives": {"min": int(positives.min()), "mean": float(positives.mean()), "max": int(positives.max())},
        "queries_without_positives": int((positives == 0).sum()),
        "files": {"listed": len(paths := _files(benchmark)), "missing": sum(1 for _ in absent_files(paths))},
        "queries_in_gallery": int((benchmark.own_rows >= 0).sum()),
        "added_after_training": benchmark.incremental,
        "ks": list(benchmark.ks),
        "top_k": benchmark.top_k,
        "shortened": dict(benchmark.shortened),
        "remarks": list(benchmark.remarks),
        "fingerprint": benchmark.fingerprint,
    }


def is_path(name: str) -> bool:
    """Is it the path of a folder or list of images, and not the name of a data set?"""
    separators = {"/", os.sep}
    if name.lower().endswith(tuple(_OF_SUFFIX)) or any(separator in name for separator in separators):
        return True
    return Path(name).is_dir() and name not in recipes.names("datasets")


def placed(name: str | Path, work: Path) -> str:
    """Return the path that stands for a data set of Parquet files, of a folder or the hub; any other name as it is.

    It is in the work folder, to which the images are unpacked when they are loaded. Files of the hub are fetched.
    """
    text = str(name)
    if text.startswith(origins.PREFIX) or (is_path(text) and Path(text).is_dir() and origins.holds_parquet(Path(text))):
        return str(origins.write_list(origins.origin_of(text), work))
    return text


def with_qrels(name: str | Path, qrels: Path, work: Path) -> Path:
    """Return the path that stands for images of one's own with judgements of one's own; it is made in the work folder.

    Raises `UsageError` where `name` is no path of images.
    """
    if not is_path(str(name)) or Path(name).suffix in {vectors.SUFFIX, judged.SUFFIX, origins.SUFFIX}:
        raise UsageError(
            f"--qrels is about images of your own, and {name} is no folder or list of these; name it by its path",
            code="unused-option",
        )
    return judged.write_list(judged.Files(images=Path(name), qrels=qrels), work)


def _own(path: Path) -> Dataset:
    head = _OF_SUFFIX.get(path.suffix.lower(), _OWN)
    loader, schema = LOADERS.load(head.loader), LOADERS.schema(head.loader)
    stem = path.resolve().name if head is _OWN else path.resolve().stem
    readable = legal_name(stem, "images")[: LONGEST - 7].rstrip("-._")  # room for the suffix of one of several
    return Dataset(readable, head, loader(schema()), own=path)


def assemble(dataset: Dataset, root: Path, collection: Collection, *, crop: str, protocol: str) -> Benchmark:
    """Return a collection as a benchmark under a protocol; the images' files are not checked."""
    corners = _boxes(dataset, collection) if crop == "bbox" else None
    collection = under(dataset, collection, protocol)
    split = collection.split
    labels = _dense(collection.labels, split)
    names = collection.classes or ()
    used = np.concatenate([split.train, split.gallery, split.queries])
    named = {int(labels[row]): names[collection.labels[row]] for row in used.tolist()} if names else {}

    def images(name: str, rows: NDArray[np.int64]) -> ImageSet:
        return collection.images(
            rows,
            name=name,
            labels=labels[rows],
            root=collection.root or (root.parent if root.is_file() else root),
            boxes=corners[rows] if corners is not None and collection.have_boxes(rows) else None,
            mirror=dataset.head.mirror,
        )

    benchmark = Benchmark(
        name=dataset.name,
        protocol=protocol,
        crop=crop,
        train=images("train", split.train),
        gallery=images("gallery", split.gallery),
        queries=images("queries", split.queries),
        ks=dataset.head.ks,
        top_k=dataset.head.top_k,
        class_names=tuple(named[label] for label in range(len(named))),
        labelled=collection.labelled,
        judgements=collection.judgements and collection.judgements.take(split.queries, split.gallery),
    )
    relevance.demand_positives(
        benchmark, *({names[label] for label in collection.labels[rows]} if names else ()
                     for rows in (split.queries, split.gallery))
    )  # fmt: skip
    return benchmark


def under(dataset: Dataset, collection: Collection, protocol: str) -> Collection:
    """Return a collection with the split and the judgements of a protocol."""
    if protocol in collection.tasks:
        task = collection.tasks[protocol]
        return replace(collection, split=task.split, judgements=task.judgements)
    if protocol == "closed-set":
        return collection
    if protocol != "metric-learning":
        raise RecipeError(
            f"{dataset.name}: its loader '{dataset.head.loader}' has no protocol '{protocol}'; take it out",
            code="unknown-choice",
        )
    if collection.judgements is not None:
        raise UsageError(
            f"--protocol {protocol}: {dataset.name} has judgements, and no classes to split; leave --protocol out",
            code="unused-option",
        )
    return replace(collection, split=_halves(collection))


def _boxes(dataset: Dataset, collection: Collection) -> NDArray[np.int32]:
    if collection.boxes is None:
        raise UsageError(f"--crop bbox: {dataset.name} has no boxes; leave --crop out", code="no-boxes")
    try:
        return collection.boxes()
    except FileNotFoundError as error:
        raise DataError(
            f"{dataset.name}: --crop bbox needs {error.filename}. {dataset.hint}", code="missing-file"
        ) from None


def _halves(collection: Collection) -> Split:
    """Split by class: the first half for training, the second as queries and gallery (an image never matches itself).

    An image that is listed in several splits is used once.
    """
    rows = _once(collection.ids, collection.labels)
    labels = collection.labels[rows]
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError(
            f"--protocol metric-learning splits the classes in two halves, and there is only {len(classes)}",
            code="too-few-classes",
        )
    in_training = labels < classes[len(classes) // 2]
    return Split(train=rows[in_training], gallery=rows[~in_training], queries=rows[~in_training])


def _once(ids: Sequence[str], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first row of each id; `DataError` if its rows have different labels."""
    first: dict[str, int] = {}
    for row, id_ in enumerate(ids):
        if labels[first.setdefault(id_, row)] != labels[row]:
            raise DataError(f"{id_} is listed with two labels", code="two-labels")
    return np.array(list(first.values()), dtype=np.int64)


def _dense(labels: NDArray[np.int64], split: Split) -> NDArray[np.int64]:
    """Number the classes of the benchmark from 0, those of the training split first, as a classifier's outputs."""
    trained = np.unique(labels[split.train])
    others = np.setdiff1d(labels[np.concatenate([split.gallery, split.queries])], trained)
    order = np.concatenate([trained, others])
    sorter = np.argsort(order)
    position = np.searchsorted(order, labels, sorter=sorter)
    return sorter[np.minimum(position, len(order) - 1)].astype(np.int64)


def _files(benchmark: Benchmark) -> set[str]:
    """Return the paths of its images, where these are files."""
    paths: set[str] = set()
    for split in (benchmark.train, benchmark.gallery, benchmark.queries):
        if split.in_files:
            paths.update(map(partial(os.path.join, str(split.root)), split.ids))
    return paths


def _check_files(dataset: Dataset, benchmark: Benchmark) -> None:
    """Compare ids with the files in their folders; one listing per folder is faster than one look-up per image."""
    paths = _files(benchmark)
    absent = sorted(absent_files(paths))
    if absent:
        raise DataError(
            f"{dataset.name}: {len(absent):,} of {len(paths):,} listed images are not on disk, the first is "
            f"{absent[0]}. {dataset.hint} (--on-bad-image skip leaves absent images out)",
            code="missing-images",
        )
