"""Places365-Standard (Zhou et al. 2018): its official lists and folders. Recipe: datasets/places365.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import check_labels, lines, whole

_CLASSES = 365


@dataclass(frozen=True)
class Config:
    """The recipe's [params]: folders of the images; the large ones are data_large and val_large."""

    train: str = "data_256"
    val: str = "val_256"


class PlacesLoader:
    """Training and gallery: the training images; queries: the validation images, as in the published code."""

    marker: ClassVar[str] = "places365_val.txt"
    shape: ClassVar[str] = (
        "places365_train_standard.txt, places365_val.txt, data_256/a/airfield/00000001.jpg ..., "
        "val_256/Places365_val_00000001.jpg ..."
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the two lists."""
        train, train_labels = _read(root / "places365_train_standard.txt", self.config.train)
        val, val_labels = _read(root / self.marker, self.config.val)
        rows = np.arange(len(train) + len(val))
        gallery = rows[: len(train)]
        return Collection(
            ids=(*train, *val),
            labels=np.concatenate([train_labels, val_labels]),
            split=Split(train=gallery, gallery=gallery, queries=rows[len(train) :]),
        )


def _read(path: Path, folder: str) -> tuple[list[str], NDArray[np.int64]]:
    rows = list(lines(path, str, whole))
    labels = np.array([label for _, label in rows], dtype=np.int64)
    check_labels(labels, 0, _CLASSES - 1, path)
    return [f"{folder}/{name.lstrip('/')}" for name, _ in rows], labels
