"""Readers of data sets as they lie on disk: one file for each layout.

A layout only reads. Protocols, crops and labels that start at 0 are made of what it read, in one place, by
irbench.data.datasets. It opens the files that it needs and lets `FileNotFoundError` pass: irbench.data.datasets turns
that into a message which adds what the folder has to look like and where to get it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Rows of a collection: what is trained on, what is searched, what is asked. A row may stand in several."""

    train: NDArray[np.int64]
    gallery: NDArray[np.int64]
    queries: NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Collection:
    """Every labelled image of a data set, and how its makers divided it."""

    ids: tuple[str, ...]  # [N] path of each image below the root
    labels: NDArray[np.int64]  # [N] any numbers, in the order in which the classes are to be divided
    split: Split  # of the closed-set protocol
    disjoint: Split | None = None  # the makers' own division by class, where they made one
    boxes: Callable[[], NDArray[np.int32]] | None = None  # reads [N,4] x1, y1, x2, y2; None: no boxes exist
    arrays: NDArray[np.uint8] | None = None  # [N,H,W,3] where the images are not files
    unused: tuple[str, ...] = ()  # further images that belong to the data set, which nothing here asks or searches


class Loader(Protocol):
    """A reader, built as `Loader(config)` from its own frozen `Config`."""

    marker: ClassVar[str]  # a file or folder below the root that tells where the data set lies
    shape: ClassVar[str]  # what the folder has to look like, for the message when something is missing

    def read(self, root: Path) -> Collection:
        """Read lists and labels below `root`, not the images."""
