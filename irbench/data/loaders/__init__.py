"""Loaders of data sets in their published layouts: one file for each.

A loader only reads lists and labels. Protocols, crops and dense labels are applied by irbench.data.datasets. A loader
does not catch `FileNotFoundError`: irbench.data.datasets reports it with the expected layout and where to get it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from irbench.data.generated import GeneratedImages


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Rows of a collection for training, gallery and queries. A row may be in several."""

    train: NDArray[np.int64]
    gallery: NDArray[np.int64]
    queries: NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Collection:
    """All labelled images of a data set, and its published split."""

    ids: Sequence[str]  # [N] path of each image relative to the root
    labels: NDArray[np.int64]  # [N] arbitrary numbers, in the order in which metric-learning splits the classes
    split: Split  # of the closed-set protocol
    disjoint: Split | None = None  # the published split by class, if there is one
    boxes: Callable[[], NDArray[np.int32]] | None = None  # reads [N,4] x1, y1, x2, y2; None: there are no boxes
    arrays: NDArray[np.uint8] | GeneratedImages | None = None  # [N,H,W,3] where the images are not files
    vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None  # of rows of a split, where no images are
    contents: NDArray[np.uint8] | None = None  # [N,32] SHA-256 of each, where the loader knows it
    labelled: bool = True  # False: there are no labels, and the exact neighbours of a query are relevant
    unused: tuple[str, ...] = ()  # images of the data set that are in no split
    remarks: tuple[str, ...] = ()  # what was passed over in reading, for whoever reads the numbers
    classes: tuple[str, ...] | None = None  # the name of each label, where labels are numbered from 0


class Loader(Protocol):
    """A reader, constructed as `Loader(config)` from its own frozen `Config`."""

    marker: ClassVar[str]  # a file or folder below the root that identifies it
    shape: ClassVar[str]  # the expected layout, for error messages

    def read(self, root: Path) -> Collection:
        """Read lists and labels below `root`, not the images; `DataError` for damaged lists."""
