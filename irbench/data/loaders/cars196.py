"""Stanford Cars (Krause et al. 2013) in its official folders. Recipes: datasets/cars196.toml, cars196-holdout.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import check_labels
from irbench.data.loaders.matlab import cells, column, matlab, texts

_CLASSES = 196
_META = "devkit/cars_meta.mat"
_TEST_LABELS = "cars_test_annos_withlabels.mat"


@dataclass(frozen=True)
class Config:
    """The recipe's [params]."""

    holdout: int = 0  # n: every n-th training image is a query; 0: queries are the official test images


class CarsLoader:
    """Training and gallery: the training images; queries: the test images, or held-out training images."""

    marker: ClassVar[str] = "devkit/cars_train_annos.mat"

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def shape(self) -> str:
        """The expected layout; with a holdout, without the test images."""
        official = (
            f" (all that cars196-holdout needs), cars_test/00001.jpg ..., devkit/{_TEST_LABELS} (or next to devkit)"
        )
        return "cars_train/00001.jpg ..., devkit/cars_train_annos.mat" + ("" if self.config.holdout else official)

    def read(self, root: Path) -> Collection:
        """Read the annotations of one or both halves, whose files have the same names: ids include the folder."""
        train = _read("cars_train", root / self.marker)
        rows = np.arange(len(train[0]))
        if self.config.holdout:
            is_query = rows % self.config.holdout == 0
            split = Split(train=rows[~is_query], gallery=rows[~is_query], queries=rows[is_query])
            return _collection([train], split, _names(root))
        labels = root / _TEST_LABELS
        test = _read("cars_test", labels if labels.exists() else root / "devkit" / _TEST_LABELS)
        queries = len(rows) + np.arange(len(test[0]))
        return _collection([train, test], Split(train=rows, gallery=rows, queries=queries), _names(root))


_Half = tuple[list[str], NDArray[np.int64], NDArray[np.int32]]  # ids, labels from 1, boxes


def _names(root: Path) -> tuple[str, ...] | None:
    """Return the name of each class; None without the file that has them, which nothing else needs."""
    path = root / _META
    if not path.exists():
        return None
    names = tuple(cells(path, "class_names"))
    if len(names) != _CLASSES:
        raise DataError(
            f"{path}: {len(names)} names for {_CLASSES} classes; get the file again", code="truncated-annotation"
        )
    return names


def _collection(halves: list[_Half], split: Split, names: tuple[str, ...] | None) -> Collection:
    ids, labels, boxes = zip(*halves, strict=True)
    return Collection(
        ids=tuple(id_ for half in ids for id_ in half),
        labels=np.concatenate(labels),
        classes=None if names is None else ("", *names),  # labels are from 1
        split=split,
        boxes=lambda: np.concatenate(boxes),
    )


def _read(folder: str, path: Path) -> _Half:
    table = matlab(path, "annotations")
    labels = column(table, "class", path)
    check_labels(labels, 1, _CLASSES, path)
    corners = [column(table, f"bbox_{corner}", path) for corner in ("x1", "y1", "x2", "y2")]
    # Matlab boxes are 1-based and inclusive; as 0-based and exclusive ones only x1 and y1 change
    boxes = np.stack(corners, axis=1) - [1, 1, 0, 0]
    return [f"{folder}/{name}" for name in texts(table, "fname", path)], labels, boxes.astype(np.int32)
