"""The user's own images with judgements of their own: a small file names both.

`irbench run --qrels` writes it into the work folder (`write_list`), so that one path stands for the data set.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.core.judgements import JUNK, Pairs
from irbench.core.text import as_text
from irbench.data import qrels
from irbench.data.loaders import JUDGED, Collection, Split, Task, csv, filelists, unread
from irbench.data.loaders.files import classes_of, folders, image_files, numbered

SUFFIX = ".judged"
_PARTS = ("train", "gallery", "query")  # folders of images, where there is one for queries


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What makes up a judged data set."""

    images: Path  # a folder, or a list of images
    qrels: Path


class JudgedLoader:
    """Images of a folder or list, and a file that says which of them are relevant to which.

    Of a folder every image is in the gallery, and those are queries that the file names as such; they are not trained
    on. Where there is a folder `query` beside `gallery` or `train`, and in a list, the split is the one given there.
    Images have labels where all of them are in folders of classes.
    """

    marker: ClassVar[str] = ""
    shape: ClassVar[str] = "a file as irbench run --qrels writes it"

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the images and the judgements that the file `root` names."""
        files = read_list(root)
        if files.images.is_dir():
            listed, place, is_split = _of_folder(files.images)
        elif files.images.is_file():
            listed, place, is_split = csv.CsvLoader(csv.Config()).read(files.images), files.images.parent, True
        else:
            raise DataError(f"{files.images}: no such folder or list of images", code="not-found")
        found = qrels.read(files.qrels)
        every = qrels.pairs(found, listed.ids, files.qrels)
        asked = np.unique(qrels.queries(found, listed.ids, files.qrels))
        split = _checked(listed, asked, files) if is_split else _asked(len(listed.ids), asked)
        itself = every.query == every.row
        judged = Pairs(every.shape, *(column[~itself] for column in (every.query, every.row, every.grade)))
        known = listed.remarks if listed.judgements is None else ()  # which are about labels that are shared
        remarks = (*known, *_remarks(files, judged, split, int(itself.sum()), is_split=is_split))
        several = listed.classes is not None and len(listed.classes) > 1
        return replace(
            listed,
            split=split,
            labels=listed.labels if several else np.zeros(len(listed.ids), np.int64),
            classes=listed.classes if several else None,
            labelled=several,
            judgements=judged,
            tasks={JUDGED: Task(split=split, judgements=judged)},
            root=place,
            remarks=remarks,
        )


def _of_folder(root: Path) -> tuple[Collection, Path, bool]:
    """Return the images of a folder, the folder, and whether its folders are a split."""
    present = set(folders(root))
    is_split = "query" in present and bool(present & {"train", "gallery"})
    parts = [f"{part}/" for part in _PARTS if part in present] if is_split else [""]
    found = {part: _images(root, part) for part in parts}
    every = [image for part in parts for image in found[part]]
    if not every:
        raise DataError(f"{root}: no images in it, nor in its folders", code="no-images")
    ends = np.cumsum([0, *(len(found[part]) for part in parts)])
    rows = {part.strip("/"): np.arange(*ends[place : place + 2]) for place, part in enumerate(parts)}
    train = rows.get("train", rows.get("gallery", np.arange(len(every))))
    gallery, queries = rows.get("gallery", train), rows.get("query", np.empty(0, np.int64))
    classes, are_classes = [name for name, _ in every], all(name for name, _ in every)
    collection = Collection(
        ids=tuple(id_ for _, id_ in every),
        labels=numbered(classes),
        classes=tuple(sorted(set(classes))) if are_classes else None,
        split=Split(train=train, gallery=gallery, queries=queries),
        remarks=tuple(unread.remarks(root, parts, reads_beside=True)),
    )
    return collection, root, is_split


def _images(root: Path, below: str) -> list[tuple[str, str]]:
    """Return (class, id) of the images in folders of classes, and ("", id) of those beside them."""
    return [("", f"{below}{name}") for name in image_files(root / below)] + classes_of(root, below)


def _asked(count: int, queries: NDArray[np.int64]) -> Split:
    every = np.arange(count)
    others = np.setdiff1d(every, queries)
    return Split(train=others if len(others) else every, gallery=every, queries=queries)


def _checked(listed: Collection, asked: NDArray[np.int64], files: Files) -> Split:
    """Return the split that is given; `DataError` where an image is judged as a query that is none."""
    others = np.setdiff1d(asked, listed.split.queries)
    if len(others):
        raise DataError(
            f"{files.qrels}: '{as_text(listed.ids[others[0]])}' is judged as a query, and is none in {files.images}",
            code="unknown-id",
        )
    return listed.split


def _remarks(files: Files, judged: Pairs, split: Split, itself: int, *, is_split: bool) -> Iterator[str]:
    counted = judged.take(split.queries, split.gallery)
    junk = int((counted.grade == JUNK).sum())
    also = f", and {junk:,} of images that are neither right nor wrong" if junk else ""
    yield (
        f"relevant is what {as_text(files.qrels.name)} names: {len(counted.grade) - junk:,} pairs of a query and an "
        f"image{also}; all others count as wrong, and each query for itself in intervals and tests"
    )
    if not is_split:
        trained = "not trained on" if len(split.queries) < len(split.gallery) else "all images, and are trained on"
        yield f"every image of the folder is in the gallery, also those that are queries; these are {trained}"
    if itself:
        yield f"judgements of a query's own image, which is no result: {itself:,}"
    if beyond := len(judged.grade) - len(counted.grade):
        yield f"judgements of images that are not in the gallery, left out: {beyond:,}"


def write_list(files: Files, work: Path) -> Path:
    """Write which files make up the data set, below the work folder, and return where: the path of the data set.

    Its name is that of the images.
    """
    images = files.images.expanduser().resolve()
    title = images.name if images.is_dir() else images.stem
    return filelists.write(vars(files), work, title=title, suffix=SUFFIX)


def read_list(path: Path) -> Files:
    """Return the files that a list names, seen from its folder."""
    return filelists.read(path, Files, JudgedLoader.shape)
