"""What is doubtful about the boxes that images are cropped to: they are rarely meant so small, or beyond the image."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError
from irbench.core.text import as_text
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
    shares = _are_shares(boxes)
    if shares.any():
        first = as_text(tuple(of_image)[int(shares.argmax())])
        yield (
            "boxes in which no number is larger than 1, as in shares of an image, and which are taken as pixels: "
            f"{int(shares.sum())} of {len(boxes)}, first {first}"
        )
    small = int((_are_small(boxes) & ~shares).sum())
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


def doubt(box: NDArray[np.int32]) -> str:
    """Return why a box that fits its image is hardly meant so; empty where it may be."""
    x1, y1, x2, y2 = (int(value) for value in box)
    if _are_shares(box[None])[0]:
        return f"no number of box {[x1, y1, x2, y2]} is larger than 1, as in shares of an image"
    if _are_small(box[None])[0]:
        return f"box {[x1, y1, x2, y2]} has fewer than {_SMALL} pixels a side"
    return f"box {[x1, y1, x2, y2]} begins outside of its image" if min(x1, y1) < 0 else ""


def _are_shares(boxes: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(boxes.max(axis=1, initial=0) <= 1)


def _are_small(boxes: NDArray[Any]) -> NDArray[np.bool_]:
    """Do boxes have a short side, without what is beyond the left and the upper edge?"""
    return np.asarray((boxes[:, 2:] - boxes[:, :2].clip(min=0)).min(axis=1) < _SMALL)


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
