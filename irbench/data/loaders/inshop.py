"""DeepFashion In-shop Clothes Retrieval (Liu et al. 2016), in its official folders. Recipe: datasets/inshop.toml."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.data.loaders import Collection, Split, Task
from irbench.data.loaders.files import lines, numbered, whole

_PARTITION = "Eval/list_eval_partition.txt"
_BOXES = "Anno/list_bbox_inshop.txt"


@dataclass(frozen=True)
class Config:
    """The recipe's [params]."""

    pictures: str = "Img"  # "Img" contains img/WOMEN/...; another folder for images of another size


class InshopLoader:
    """Training: train and gallery, or with disjoint classes train alone; gallery and queries as published.

    This is the paper's protocol (section 4): 38,494 images of 7,982 items train the closed-set methods.
    """

    marker: ClassVar[str] = _PARTITION
    shape: ClassVar[str] = f"Img/img/WOMEN/..., {_PARTITION}, and for --crop bbox {_BOXES}"

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the partition."""
        path = root / _PARTITION
        rows = list(_counted(path, str, str, str))
        names, items, roles = zip(*rows, strict=True) if rows else ((), (), ())
        place = {role: np.flatnonzero(np.array(roles) == role) for role in ("train", "gallery", "query")}
        if sum(map(len, place.values())) < len(rows):
            row = next(row for row, role in enumerate(roles) if role not in place)
            raise DataError(
                f"{path}, image {row + 1}: evaluation status '{roles[row]}' is not train, gallery or query",
                code="unknown-choice",
            )
        train, gallery, queries = place.values()
        return Collection(
            ids=tuple(f"{self.config.pictures}/{name}" for name in names),
            labels=numbered(list(items)),
            split=Split(train=np.concatenate([train, gallery]), gallery=gallery, queries=queries),
            tasks={"metric-learning": Task(split=Split(train=train, gallery=gallery, queries=queries))},
            boxes=lambda: _boxes(names, root / _BOXES),
        )


def _boxes(names: tuple[str, ...], path: Path) -> NDArray[np.int32]:
    found = {name: box for name, _, _, *box in _counted(path, str, whole, whole, whole, whole, whole, whole)}
    for name in names:
        if name not in found:
            raise DataError(f"{path}: no box for {name}; get the file again", code="truncated-annotation")
    return np.array([found[name] for name in names], dtype=np.int32)


def _counted(path: Path, *kinds: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """Return the rows below a count and a header; `DataError` if their number is not the count."""
    (count,) = next(lines(path, whole), (0,))
    rows = list(lines(path, *kinds, skip=2))
    if len(rows) != count:
        raise DataError(
            f"{path}: its first line states {count:,} images, and it lists {len(rows):,}; get it again",
            code="truncated-annotation",
        )
    return rows
