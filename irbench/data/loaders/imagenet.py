"""ImageNet-1k (ILSVRC 2012): a folder for each class. Recipe: datasets/imagenet.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from irbench.core.errors import DataError
from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import classes_of, folders, image_files, lines, numbered, whole
from irbench.data.loaders.matlab import column, matlab, texts

_DEVKIT = "ILSVRC2012_devkit_t12/data"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


@dataclass(frozen=True)
class Config:
    """The recipe's [params]."""

    query_step: int = 10  # n: of the validation images, sorted by class and name, every n-th is a query


class ImagenetLoader:
    """Training and gallery: the training images; queries: some validation images.

    The published code uses every tenth (data/imagenet/gnd_generater.py:39), 5 for each of the 1,000 classes.
    """

    marker: ClassVar[str] = "train"
    shape: ClassVar[str] = (
        "train/n01440764/*.JPEG ..., val/n01440764/*.JPEG ... "
        f"(or val/ILSVRC2012_val_00000001.JPEG ... with {_DEVKIT}/meta.mat and {_DEVKIT}/{_TRUTH})"
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """List the folders."""
        train = classes_of(root, "train/")
        validation = classes_of(root, "val/") if folders(root / "val") else _flat(root)
        queries = sorted(validation)[:: self.config.query_step]
        unused = {id_ for _, id_ in validation} - {id_ for _, id_ in queries}
        classes, ids = zip(*train, *queries, strict=True) if train or queries else ((), ())
        unknown = {name for name, _ in queries} - {name for name, _ in train}
        if unknown:
            raise DataError(
                f"{root}: class {min(unknown)} is in val and not in train; both are needed whole",
                code="truncated-annotation",
            )
        rows = np.arange(len(ids))
        gallery = rows[: len(train)]
        split = Split(train=gallery, gallery=gallery, queries=rows[len(train) :])
        return Collection(ids=tuple(ids), labels=numbered(list(classes)), split=split, unused=tuple(unused))


def _flat(root: Path) -> list[tuple[str, str]]:
    """Label the images of a flat `val` by the devkit: line i of the truth is the number of image i's class."""
    meta = root / _DEVKIT / "meta.mat"
    synsets = matlab(meta, "synsets")
    numbers = column(synsets, "ILSVRC2012_ID", meta).tolist()
    name_of = dict(zip(numbers, texts(synsets, "WNID", meta), strict=True))
    path = root / _DEVKIT / _TRUTH
    truth = [number for (number,) in lines(path, whole)]
    files = image_files(root / "val")
    if len(truth) != len(files):
        raise DataError(
            f"{path}: {len(truth):,} labels for the {len(files):,} images in val; both are needed whole",
            code="truncated-annotation",
        )
    wrong = [row for row, number in enumerate(truth) if number not in name_of]
    if wrong:
        raise DataError(
            f"{path}, line {wrong[0] + 1}: {truth[wrong[0]]} is no class of meta.mat; get the file again",
            code="bad-label",
        )
    return [(name_of[number], f"val/{file}") for number, file in zip(truth, files, strict=True)]
