"""iNaturalist 2018 (Van Horn et al. 2018), split by species (Brown et al. 2020). Recipe: datasets/inat2018.toml.

The lists are those of Andrew-Brown1/Smooth_AP, where KevinMusgrave/pytorch-metric-learning:datasets/inaturalist2018.py
reads them: the folder Inat_dataset_splits beside the images, a path in each line.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.data.loaders import Collection, Split, Task
from irbench.data.loaders.files import lines


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class InaturalistLoader:
    """Training: the images of the training species; gallery and queries: those of all others."""

    marker: ClassVar[str] = "Inat_dataset_splits/Inaturalist_test_set1.txt"
    shape: ClassVar[str] = (
        "train_val2018/Aves/2761/0123456789abcdef.jpg ..., Inat_dataset_splits/Inaturalist_train_set1.txt, "
        "Inat_dataset_splits/Inaturalist_test_set1.txt"
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the two lists."""
        lists = (root / self.marker.replace("test", "train"), root / self.marker)
        (train, train_labels), (test, test_labels) = map(_read, lists)
        rows = np.arange(len(train) + len(test))
        split = Split(train=rows[: len(train)], gallery=rows[len(train) :], queries=rows[len(train) :])
        return Collection(
            ids=(*train, *test),
            labels=np.concatenate([train_labels, test_labels]),
            split=split,
            tasks={"metric-learning": Task(split=split)},
        )


def _read(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Return the paths of images, and the numbers of species: the name of the folder in which an image is."""
    found = [name for (name,) in lines(path, str)]
    species = [name.split("/")[-2:][0] for name in found]
    for row, number in enumerate(species):
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise DataError(
                f"{path}, image {row + 1}: '{found[row]}' is in no folder with the number of a species; get the file "
                "again",
                code="bad-annotation",
            )
    return found, np.array(species, np.int64)
