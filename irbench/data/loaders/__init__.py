"""Loaders of data sets in their published layouts: one file for each.

A loader only reads lists and labels. Protocols, crops and dense labels are applied by irbench.data.datasets. A loader
does not catch `FileNotFoundError`: irbench.data.datasets reports it with the expected layout and where to get it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Generated, ImageSet
from irbench.core.judgements import Judgements

JUDGED = "judged"  # the protocol of data sets that are judged image by image, and have no others


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Rows of a collection for training, gallery and queries. A row may be in several."""

    train: NDArray[np.int64]
    gallery: NDArray[np.int64]
    queries: NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """What a published protocol asks: of which images, and which of them are relevant."""

    split: Split
    judgements: Judgements | None = None  # as those of a collection


@dataclass(frozen=True, eq=False, kw_only=True)
class Collection:
    """All labelled images of a data set, and its published split."""

    ids: Sequence[str]  # [N] path of each image relative to the root
    labels: NDArray[np.int64]  # [N] arbitrary numbers, in the order in which metric-learning splits the classes
    split: Split  # of the closed-set protocol, or of the data set's default one
    tasks: Mapping[str, Task] = field(
        default_factory=dict
    )  # of the other protocols that are published with it, by name
    boxes: Callable[[], NDArray[np.int32]] | None = None  # reads [N,4] x1, y1, x2, y2; None: there are no boxes
    boxed: NDArray[np.int64] | None = None  # rows of the images that have one; None: all. A split is cropped as a whole
    arrays: NDArray[np.uint8] | None = None  # [N,H,W,3] where the images are not files but in memory
    generated: Generated | None = None  # where they are drawn when they are read; it has the ids, too
    vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None  # of rows of a split, where no images are
    contents: NDArray[np.uint8] | None = None  # [N,32] SHA-256 of each, where the loader knows it
    labelled: bool = True  # False: there are no labels, and unless it is judged the exact neighbours are relevant
    judgements: Judgements | None = None  # between all N images; None: images of the query's class are relevant
    root: Path | None = None  # of the images, where this is not the place of the data set itself
    unused: tuple[str, ...] = ()  # images of the data set that are in no split
    remarks: tuple[str, ...] = ()  # what was passed over in reading, for whoever reads the numbers
    classes: tuple[str, ...] | None = None  # the name of each label, where labels are numbered from 0

    @property
    def in_files(self) -> bool:
        """Are the images files, to be read from the root?"""
        return self.arrays is None and self.generated is None and self.vectors is None

    def have_boxes(self, rows: NDArray[np.int64]) -> bool:
        """Do all images at `rows` have a box?"""
        return self.boxes is not None and (self.boxed is None or bool(np.isin(rows, self.boxed).all()))

    def images(
        self,
        rows: NDArray[np.int64],
        *,
        name: str,
        labels: NDArray[np.int64],
        root: Path,
        boxes: NDArray[np.int32] | None = None,
        mirror: bool = True,
    ) -> ImageSet:
        """Return the images at `rows` as a set; labels and boxes are those of the set."""
        generated = None if self.generated is None else self.generated.take(rows)
        return ImageSet(
            name=name,
            ids=tuple(self.ids[row] for row in rows.tolist()) if generated is None else generated.ids,
            labels=labels,
            root=root,
            contents=None if self.contents is None else self.contents[rows],
            boxes=boxes,
            arrays=None if self.arrays is None else self.arrays[rows],
            generated=generated,
            vectors=None if self.vectors is None else self.vectors(rows),
            mirror=mirror,
        )


class Loader(Protocol):
    """A reader, constructed as `Loader(config)` from its own frozen `Config`."""

    marker: ClassVar[str]  # a file or folder below the root that identifies it
    shape: ClassVar[str]  # the expected layout, for error messages

    def read(self, root: Path) -> Collection:
        """Read lists and labels below `root`, not the images; `DataError` for damaged lists."""
