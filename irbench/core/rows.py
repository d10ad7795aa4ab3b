"""Numbers of gallery images that stay what they are while other images come and go."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import ContractError
from irbench.core.ranking import MISSING, Ranking


@dataclass(frozen=True, eq=False)
class Rows:
    """The gallery rows that are present, ascending; `numbers[place]` is the row of what stands at `place` of an index.

    A row that was removed is never given to another image.
    """

    numbers: NDArray[np.int64]
    end: int  # the number of the next image that comes

    @classmethod
    def first(cls, count: int) -> "Rows":
        """The rows of a gallery of `count` images from which nothing has been removed."""
        return cls(np.arange(count), count)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def whole(self) -> bool:
        """Is every image there that ever came?"""
        return len(self.numbers) == self.end

    def with_more(self, count: int) -> "Rows":
        """Return the rows after `count` more images have come."""
        return Rows(np.concatenate([self.numbers, self.end + np.arange(count)]), self.end + count)

    def without(self, rows: NDArray[np.int64]) -> "Rows":
        """Return the rows after these, all of them present, have been removed."""
        left = np.delete(self.numbers, self.places(rows))
        if not left.size:
            raise ContractError("the last image of a gallery cannot be removed: an index of nothing answers nothing")
        return Rows(left, self.end)

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where these rows stand, in ascending order; one that is not present is an error."""
        rows = np.unique(rows)
        places = np.searchsorted(self.numbers, rows).astype(np.int64)
        absent = self.numbers[np.minimum(places, len(self.numbers) - 1)] != rows
        if absent.any():
            raise ContractError(f"there is no image at row {rows[absent][0]} of the gallery")
        return places

    def named(self, found: Ranking) -> Ranking:
        """Return a ranking of places in an index as a ranking of gallery rows."""
        if self.whole:
            return found
        return Ranking(np.where(found.rows == MISSING, MISSING, self.numbers[found.rows]), found.scores)
