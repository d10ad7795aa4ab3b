"""The handwritten digits that come with scikit-learn: 1,797 scans of 8 x 8 pixels. Recipe: datasets/digits.toml."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from irbench.data.loaders import Collection, Split


@dataclass(frozen=True)
class Config:
    """Empty: there are no parameters."""


class DigitsLoader:
    """Training and gallery: the even rows; queries: the odd rows."""

    marker: ClassVar[str] = ""
    shape: ClassVar[str] = "no files: the images come with scikit-learn"

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:  # noqa: ARG002 -- the images come with scikit-learn
        """Return the scans; their 17 grey levels are scaled to 0 … 255."""
        table = np.loadtxt(_file(), delimiter=",")  # 64 grey levels and the digit
        grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        rows = np.arange(len(grey))
        return Collection(
            ids=tuple(f"digit-{row:04d}" for row in rows),
            labels=table[:, -1].astype(np.int64),
            split=Split(train=rows[::2], gallery=rows[::2], queries=rows[1::2]),
            arrays=np.repeat(grey[..., None], 3, axis=3),
        )


def _file() -> Path:
    """Return the file within scikit-learn, whose own reader takes seconds to import in each cell's process."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
