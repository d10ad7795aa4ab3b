"""Many small images as one image, which a page shows tile by tile: one file, however many results there are."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from irbench.data.decode import View, fit

SIDE = 128  # pixels of a tile at most; smaller images keep their own size
COLUMNS = 64
MOST = COLUMNS * (16_383 // SIDE)  # tiles: WebP ends at 16,383 pixels
_QUALITY = 78


@dataclass(frozen=True, eq=False)
class Sheet:
    """A WebP image of tiles, row by row from the upper left, the last row filled up with white."""

    content: bytes
    side: int  # pixels of a tile
    count: int

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.count // COLUMNS)


def make_sheet(images: Iterable[Image.Image], side: int = SIDE) -> Sheet:
    """Return the sheet of up to `MOST` images, each cut to its central square."""
    tiles = [fit(image, View(side)) for image in images]
    if not 0 < len(tiles) <= MOST:
        raise ValueError(f"a sheet of {len(tiles)} images: 1 to {MOST} fit")
    rows = -(-len(tiles) // COLUMNS)
    ground = np.full((rows * COLUMNS, side, side, 3), 255, np.uint8)
    ground[: len(tiles)] = tiles
    image = ground.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2).reshape(rows * side, COLUMNS * side, 3)
    content = io.BytesIO()
    Image.fromarray(image).save(content, "WEBP", quality=_QUALITY, method=2, lossless=side < SIDE)
    return Sheet(content.getvalue(), side, len(tiles))


def side_for(image: Image.Image) -> int:
    """Return the side of a data set's tiles in pixels, from one of its images: tiny ones are not enlarged."""
    return min(SIDE, *image.size)
