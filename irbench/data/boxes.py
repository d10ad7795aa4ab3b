"""What is doubtful about the boxes that images are cropped to: they are rarely meant so small, or beyond the image."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError
from irbench.data.decode import FORMATS, cut
from irbench.data.sources import Source

_SMALL = 8  # pixels; what is smaller shows nothing
_TURNED = (5, 6, 7, 8)  # EXIF orientations by a quarter of a turn
_WORKERS = 8


def remarks(benchmark: Benchmark) -> Iterator[str]:
    """Yield how many images are cropped to nearly nothing, and how many of one's own have a box that is cut."""
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    of_image = {
        id_: box for split in splits if split.boxes is not None for id_, box in zip(split.ids, split.boxes, strict=True)
    }
    boxes = np.array(list(of_image.values()), np.int64).reshape(-1, 4)
    small = int(((boxes[:, 2:] - boxes[:, :2]).min(axis=1) < _SMALL).sum())
    if small:
        yield f"boxes of fewer than {_SMALL} pixels a side: {small} of {len(boxes)}"
    if benchmark.collection is None or not of_image:  # what was published is taken as it is
        return
    images = ImageSet(
        name="images", ids=tuple(of_image), labels=np.zeros(len(boxes), np.int64), root=benchmark.gallery.root
    )
    beyond = sum(map(_is_cut, boxes, _sizes(images)))
    if beyond:
        yield f"boxes that reach beyond their image and are cut at its edge: {beyond} of {len(boxes)}"


def _is_cut(box: NDArray[np.int64], size: tuple[int, int] | None) -> bool:
    """Does a box reach beyond an image of this size, but not so far that the image is refused?"""
    if size is None or (min(box) >= 0 and box[2] <= size[0] and box[3] <= size[1]):
        return False
    try:
        cut(Image.new("1", size), box.astype(np.int32))
    except DataError:
        return False
    return True


def _sizes(images: ImageSet) -> list[tuple[int, int] | None]:
    """Return width and height of each image; None where it cannot be read, which is told when it is decoded."""
    source = Source(images)

    def size(row: int) -> tuple[int, int] | None:
        path = images.root / images.ids[row]
        try:
            return _size_of(path) if path.is_file() else source.image(row).size
        except (DataError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None

    with ThreadPoolExecutor(max_workers=_WORKERS) as workers:
        return list(workers.map(size, range(len(images))))


def _size_of(path: Path) -> tuple[int, int]:
    """Return width and height of an image once it is turned as its EXIF data say, mostly from its header."""
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(ExifTags.Base.Orientation) in _TURNED else (width, height)
