"""INSTRE (Wang and Jiang 2015) as Iscen et al. (2017) query it, in its published folders. Recipe: datasets/instre.toml.

The ground truth gnd_instre.mat has names of images (imlist, qimlist), and of each query first its positives, rows of
imlist from 1, then its box, x1, y1, x2, y2 (aosokin/os2d:os2d/data/dataset.py reads it so). Queries are cropped to it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.data.loaders import JUDGED, Collection, Task, listed
from irbench.data.loaders.matlab import cells, matlab


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class InstreLoader:
    """Queries: five images of each of 250 objects; gallery: all others."""

    marker: ClassVar[str] = "gnd_instre.mat"
    shape: ClassVar[str] = "gnd_instre.mat, INSTRE-S1/01a_canada_book/001.jpg ..., INSTRE-S2/..., INSTRE-M/..."

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the ground truth."""
        path = root / self.marker
        gallery, queries = cells(path, "imlist"), cells(path, "qimlist")
        fields = list(matlab(path, "gnd").values())
        if len(fields) < 2 or len(fields[0]) != len(queries):
            raise DataError(
                f"{path}: 'gnd' has no positives and boxes of {len(queries)} queries; get the file again",
                code="truncated-annotation",
            )
        positives = [_rows(one, len(gallery), f"{path}, query {number}") for number, one in enumerate(fields[0])]
        boxes = [_box(one, f"{path}, query {number}") for number, one in enumerate(fields[1])]
        split = listed.split(len(gallery), len(queries))
        return Collection(
            ids=(*gallery, *queries),
            labels=np.zeros(len(gallery) + len(queries), np.int64),
            split=split,
            tasks={
                JUDGED: Task(split=split, judgements=listed.pairs(len(gallery), [[(rows, 1)] for rows in positives]))
            },
            boxes=lambda: np.concatenate([np.zeros((len(gallery), 4), np.int32), np.array(boxes, np.int32)]),
            boxed=split.queries,
            labelled=False,
        )


def _rows(given: Any, count: int, where: str) -> NDArray[np.int64]:
    numbers = _numbers(given)
    within = (numbers >= 1) & (numbers <= count) & (numbers == np.rint(numbers))  # NaN is not
    if not within.all() or len(np.unique(numbers)) < len(numbers):
        raise DataError(
            f"{where}: its positives are no different rows from 1 to {count}; get the file again", code="bad-annotation"
        )
    return np.sort(numbers).astype(np.int64) - 1


def _box(given: Any, where: str) -> list[int]:
    numbers = _numbers(given)
    if len(numbers) != 4 or not (np.abs(numbers) < 1 << 31).all():  # NaN is not
        raise DataError(f"{where}: no box x1, y1, x2, y2 in pixels; get the file again", code="bad-annotation")
    return [round(value) for value in numbers.tolist()]


def _numbers(given: Any) -> NDArray[np.float64]:
    """Return the numbers of a row vector, of which Matlab's reader gives a single one as a scalar; none for a text."""
    values = given if isinstance(given, list) else [given]
    return np.array([value if isinstance(value, int | float) else np.nan for value in values], np.float64)
