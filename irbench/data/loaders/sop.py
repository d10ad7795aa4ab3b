"""Stanford Online Products (Song et al. 2016): its official lists and folders. Recipe: datasets/sop.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from irbench.data.loaders import Collection, Split, Task
from irbench.data.loaders.files import lines, whole


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class SopLoader:
    """Training: the training images; gallery and queries: the test images, whose products are others."""

    marker: ClassVar[str] = "Ebay_test.txt"
    shape: ClassVar[str] = "Ebay_train.txt, Ebay_test.txt, bicycle_final/111085122871_0.JPG ..."

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the two lists: lines `image_id class_id super_class_id path` below a header."""
        train, test = (
            list(lines(root / name, whole, whole, whole, str, skip=1)) for name in ("Ebay_train.txt", self.marker)
        )
        rows = np.arange(len(train) + len(test))
        split = Split(train=rows[: len(train)], gallery=rows[len(train) :], queries=rows[len(train) :])
        return Collection(
            ids=tuple(path for *_, path in (*train, *test)),
            labels=np.array([label for _, label, *_ in (*train, *test)], np.int64),
            split=split,
            tasks={"metric-learning": Task(split=split)},
        )
