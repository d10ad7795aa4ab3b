"""CUB-200-2011 (Wah et al. 2011): birds, in its official folder. Recipe: datasets/cub200.toml."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import check_labels, lines, whole


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class CubLoader:
    """Training and gallery: the training images; queries: the test images."""

    marker: ClassVar[str] = "images.txt"
    shape: ClassVar[str] = (
        "images/001.Black_footed_Albatross/..., images.txt, image_class_labels.txt, train_test_split.txt, "
        "classes.txt, bounding_boxes.txt"
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the four lists and join them by the image's number."""
        paths = {number: path for number, (path,) in _keyed(root / "images.txt", str).items()}
        labels = _joined(paths, root / "image_class_labels.txt", whole)[:, 0].astype(np.int64)
        check_labels(
            labels, 1, sum(1 for _ in lines(root / "classes.txt", whole, str)), root / "image_class_labels.txt"
        )
        is_train = _joined(paths, root / "train_test_split.txt", whole)[:, 0] == 1
        train = np.flatnonzero(is_train)
        return Collection(
            ids=tuple(f"images/{path}" for path in paths.values()),
            labels=labels,
            split=Split(train=train, gallery=train, queries=np.flatnonzero(~is_train)),
            boxes=lambda: _boxes(paths, root / "bounding_boxes.txt"),
        )


def _boxes(paths: dict[int, str], path: Path) -> NDArray[np.int32]:
    x, y, width, height = _joined(paths, path, float, float, float, float).T
    return np.rint(np.stack([x, y, x + width, y + height], axis=1)).astype(np.int32)


def _joined(paths: dict[int, str], path: Path, *kinds: Callable[[str], float]) -> NDArray[np.float64]:
    """Return the columns after the image's number, in the order of images.txt."""
    found = _keyed(path, *kinds)
    missing = paths.keys() - found.keys()
    if missing:
        raise DataError(
            f"{path}: image {min(missing)} of images.txt is not in it; the file is truncated, get it again",
            code="truncated-annotation",
        )
    return np.array([found[number] for number in paths], dtype=np.float64).reshape(len(paths), len(kinds))


def _keyed(path: Path, *kinds: Callable[[str], Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for number, *values in lines(path, whole, *kinds):
        if number in found:
            raise DataError(f"{path}: image {number} is listed twice; get the file again", code="duplicate-image")
        found[number] = values
    return found
