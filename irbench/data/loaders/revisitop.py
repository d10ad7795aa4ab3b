"""Revisited Oxford and Paris (Radenović et al. 2018): landmarks, judged image by image, in the published folder.

Recipes: datasets/roxford5k.toml, rparis6k.toml. The layout and the three setups are those of filipradenovic/revisitop:
python/dataset.py and python/example_evaluate.py. Queries are cropped to their boxes, gallery images are not
(python/example_process_images.py), and no query is in the gallery.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.core.judgements import JUNK, Pairs
from irbench.data.loaders import Collection, Task, listed, plain_pickle

_GRADES = {  # of the images that are judged easy, hard and junk (unclear)
    "easy": {"easy": 1, "hard": JUNK, "junk": JUNK},
    "medium": {"easy": 1, "hard": 1, "junk": JUNK},
    "hard": {"easy": JUNK, "hard": 1, "junk": JUNK},
}


@dataclass(frozen=True)
class Config:
    """The recipe's [params]."""

    ground_truth: str = "gnd_roxford5k.pkl"


class RevisitopLoader:
    """Queries: the query images; gallery: all others."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def marker(self) -> str:
        """The file by which a folder is recognised."""
        return self.config.ground_truth

    @property
    def shape(self) -> str:
        """The expected layout."""
        return f"{self.marker}, and jpg/NAME.jpg for each name in it: the images of all archives in one folder"

    def read(self, root: Path) -> Collection:
        """Read the ground truth: names, judgements and boxes."""
        path = root / self.marker
        truth = _Truth.of(plain_pickle.load(path), path)
        count, asked = len(truth.gallery), len(truth.queries)
        split = listed.split(count, asked)
        return Collection(
            ids=tuple(f"jpg/{name}.jpg" for name in (*truth.gallery, *truth.queries)),
            labels=np.zeros(count + asked, np.int64),
            split=split,
            tasks={name: Task(split=split, judgements=truth.pairs(grades)) for name, grades in _GRADES.items()},
            boxes=lambda: np.concatenate([np.zeros((count, 4), np.int32), truth.boxes]),
            boxed=split.queries,
            labelled=False,
        )


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """The content of a ground truth, checked."""

    gallery: list[str]
    queries: list[str]
    judged: list[dict[str, NDArray[np.int64]]]  # of each query the gallery rows that are easy, hard and junk
    boxes: NDArray[np.int32]  # [Q,4]

    @classmethod
    def of(cls, found: Any, path: Path) -> "_Truth":
        gallery, queries = (_names(found, key, path) for key in ("imlist", "qimlist"))
        facts = found.get("gnd")
        if not isinstance(facts, list) or len(facts) != len(queries):
            raise DataError(f"{path}: 'gnd' does not list {len(queries)} queries{_AGAIN}", code="truncated-annotation")
        judged = [
            {kind: _rows(one, kind, len(gallery), f"{path}, query {number}") for kind in ("easy", "hard", "junk")}
            for number, one in enumerate(facts)
        ]
        boxes = [_box(one, f"{path}, query {number}") for number, one in enumerate(facts)]
        for number, rows in enumerate(map(np.concatenate, (list(one.values()) for one in judged))):
            if len(np.unique(rows)) < len(rows):
                raise DataError(f"{path}, query {number}: an image is judged twice{_AGAIN}", code="duplicate-image")
        return cls(
            gallery=gallery, queries=queries, judged=judged, boxes=np.array(boxes, np.int32).reshape(len(queries), 4)
        )

    def pairs(self, grades: Mapping[str, int]) -> Pairs:
        """Return the judgements between all images, gallery first, with a grade for each kind."""
        judged = [[(rows, grades[kind]) for kind, rows in one.items()] for one in self.judged]
        return listed.pairs(len(self.gallery), judged)


_AGAIN = "; get the file again"


def _names(found: Any, key: str, path: Path) -> list[str]:
    names = found.get(key) if isinstance(found, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: no list of names '{key}' in it; is it another file?", code="missing-column")
    return names


def _rows(facts: Any, kind: str, count: int, where: str) -> NDArray[np.int64]:
    rows = facts.get(kind) if isinstance(facts, dict) else None
    if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < count for row in rows):
        raise DataError(f"{where}: '{kind}' is no list of rows from 0 to {count - 1}{_AGAIN}", code="bad-annotation")
    return np.array(rows, np.int64)


def _box(facts: Any, where: str) -> list[int]:
    """Return the box of a query in whole pixels, rounded as Pillow's crop does it."""
    box = facts.get("bbx")
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_pixel(value) for value in box):
        raise DataError(f"{where}: 'bbx' is no box x1, y1, x2, y2 in pixels{_AGAIN}", code="bad-annotation")
    return [round(value) for value in box]


def _is_pixel(value: Any) -> bool:
    return type(value) in {int, float} and abs(value) < 1 << 31  # NaN is not
