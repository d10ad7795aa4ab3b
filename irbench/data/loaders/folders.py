"""The user's own images, a folder for each class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.core.text import as_text
from irbench.data.loaders import Collection, Split, unread
from irbench.data.loaders.files import classes_of, folders, numbered


@dataclass(frozen=True)
class Config:
    """The recipe's [params], for folders without a query split."""

    holdout: int = 3  # n: of each class, sorted by name, every n-th image is a query


def ordinal(number: int) -> str:
    """Return "2nd", "3rd", "4th"."""
    teens = number % 100 in {11, 12, 13}
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _none_in(root: Path) -> str:
    """Say that a folder has no folder of images, and where folders of classes lie deeper: train and val, perhaps."""
    deeper = [as_text(name) for name in folders(root) if classes_of(root, f"{name}/")]
    if not deeper:
        return "no images in it"
    return f"no images in its folders, but folders of images in {', '.join(deeper)}, none of which is named query"


def held_out(
    labels: NDArray[np.int64], classes: Sequence[str], holdout: int, *, where: str, otherwise: str
) -> tuple[Split, tuple[str, ...]]:
    """Return the split in which of each class every `holdout`-th image is a query, and remarks on it.

    The others are both training set and gallery. `classes` has the name of each image's class. Raises `DataError`, with
    what can be given `otherwise`, where no class has so many.
    """
    order = np.argsort(labels, kind="stable")
    place = np.empty(len(labels), np.int64)  # of each image in its class
    place[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    is_query = place % holdout == holdout - 1
    sizes = Counter(classes)
    if not is_query.any():
        name, most = sizes.most_common(1)[0]
        raise DataError(
            f"{where}: class '{as_text(name)}' has {most} image{'s' if most > 1 else ''}, and no class more; every "
            f"{ordinal(holdout)} is a query, so give at least {holdout}, or {otherwise}",
            code="too-few-images",
        )
    gallery = np.flatnonzero(~is_query)
    small = sum(size < holdout for size in sizes.values())
    least = f"fewer than {holdout} images"
    remarks = (f"classes of {least}, of which none is a query: {small} of {len(sizes)}",) if small else ()
    return Split(train=gallery, gallery=gallery, queries=np.flatnonzero(is_query)), remarks


class FoldersLoader:
    """`gallery/<class>/<image>`, `query/<class>/<image>` and `train/<class>/<image>`; or `<class>/<image>`.

    One of train and gallery may be missing: it is then the same as the other.
    """

    marker: ClassVar[str] = ""
    shape: ClassVar[str] = "a folder <class>/<image> for each class, or such folders in train, gallery and query"

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """List the folders; what else is in them is not read, but counted in the remarks."""
        present = set(folders(root))
        if "query" in present and present & {"train", "gallery"}:
            return self._divided(root, present)
        found = classes_of(root, "")
        if not found:
            raise DataError(f"{root}: {_none_in(root)}. What is needed: {self.shape}", code="no-images")
        classes = [name for name, _ in found]
        labels = numbered(classes)
        split, unasked = held_out(
            labels, classes, self.config.holdout, where=str(root), otherwise="the folders train, gallery and query"
        )
        ids, named = tuple(id_ for _, id_ in found), tuple(sorted(set(classes)))
        remarks = (*unread.remarks(root, [""]), *unasked)
        return Collection(ids=ids, labels=labels, split=split, remarks=remarks, classes=named)

    def _divided(self, root: Path, present: set[str]) -> Collection:
        found = {part: classes_of(root, f"{part}/") for part in ("train", "gallery", "query") if part in present}
        ends = np.cumsum([0, *map(len, found.values())])
        rows = {part: np.arange(*ends[place : place + 2]) for place, part in enumerate(found)}
        train, gallery = rows.get("train", rows.get("gallery")), rows.get("gallery", rows.get("train"))
        every = [image for part in found.values() for image in part]
        return Collection(
            ids=tuple(id_ for _, id_ in every),
            labels=numbered(names := [name for name, _ in every]),
            classes=tuple(sorted(set(names))),
            remarks=tuple(unread.remarks(root, [f"{part}/" for part in found])),
            split=Split(train=train, gallery=gallery, queries=rows["query"]),  # type: ignore[arg-type] # one is there
        )
