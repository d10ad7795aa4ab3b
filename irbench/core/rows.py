"""Row numbers of gallery images that stay the same while other images are added and removed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import ContractError
from irbench.core.ranking import MISSING, Ranking


@dataclass(frozen=True, eq=False)
class Rows:
    """The gallery rows that are present, ascending; `numbers[place]` is the gallery row of `place` in an index.

    The row of a removed image is never reused.
    """

    numbers: NDArray[np.int64]
    end: int  # the row of the next image

    @classmethod
    def first(cls, count: int) -> "Rows":
        """Return the rows of a gallery of `count` images, all present."""
        return cls(np.arange(count), count)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def whole(self) -> bool:
        """Are all images present that were ever added?"""
        return len(self.numbers) == self.end

    def with_more(self, count: int) -> "Rows":
        """Return the rows after adding `count` images."""
        return Rows(np.concatenate([self.numbers, self.end + np.arange(count)]), self.end + count)

    def without(self, rows: NDArray[np.int64]) -> "Rows":
        """Return the rows after removing `rows`; `ContractError` if one is not present, or none would be left."""
        left = np.delete(self.numbers, self.places(rows))
        if not left.size:
            raise ContractError("the last image of a gallery cannot be removed", code="empty-gallery")
        return Rows(left, self.end)

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of `rows` in an index, ascending; `ContractError` if one is not present."""
        rows = np.unique(rows)
        places = np.searchsorted(self.numbers, rows).astype(np.int64)
        absent = self.numbers[np.minimum(places, len(self.numbers) - 1)] != rows
        if absent.any():
            raise ContractError(f"there is no image at row {rows[absent][0]} of the gallery", code="no-such-row")
        return places

    def named(self, found: Ranking) -> Ranking:
        """Return a ranking of places in an index as a ranking of gallery rows."""
        if self.whole:
            return found
        return Ranking(np.where(found.rows == MISSING, MISSING, self.numbers[found.rows]), found.scores)
