"""Decoding of one image file to one RGB image, by fixed rules.

- JPEG, PNG, WebP, BMP, TIFF, AVIF and GIF (of several images the first); no other format, whatever the file's name. A
  truncated file is an error, not a partly grey image.
- Rotated by its EXIF orientation, before it is cropped to a box.
- Transparency is composited on white. Palettes are looked up. Grey becomes three equal channels; 16-bit grey is
  reduced to its upper 8 bits. CMYK is converted by the plain formula; colour profiles are not applied.
- An image of more than `MAX_PIXELS` is refused by its header, and a JPEG of more than `MAX_SCANS` scans.
"""

import io
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from irbench.core.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs
MAX_BYTES = 1 << 29
MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10

_SCAN = b"\xff\xda"  # the marker that a scan begins with

_SLACK = 0.1  # share of the size by which annotated boxes may exceed an image; more means boxes of other images
# what Pillow raises for damaged files
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


Fit = Literal["center-crop", "squash"]


@dataclass(frozen=True)
class View:
    """How an image is resized to a square of `image_size` pixels: bicubic, antialiased.

    "center-crop" resizes the largest central square; "squash" resizes the whole image regardless of its aspect ratio.
    """

    image_size: int
    fit: Fit = "center-crop"


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file; `DataError` for anything but a regular file, such as a pipe."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise DataError("not a regular file", code="unreadable-image")
        if facts.st_size > MAX_BYTES:
            raise DataError(f"more than {MAX_BYTES >> 20} MiB", code="image-too-large")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("the file is missing", code="missing-images") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", code="unreadable-image") from None


def decode(data: bytes) -> Image.Image:
    """Decode a file's content to an RGB image; `DataError` with the reason, without the file's name."""
    if not data:
        raise DataError("the file is empty", code="unreadable-image")
    if data.startswith(b"\xff\xd8") and data.count(_SCAN) > MAX_SCANS:  # each is decoded over the whole image
        raise DataError(f"a JPEG of more than {MAX_SCANS} scans", code="image-too-large")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise DataError(
            f"not a {', '.join(FORMATS)} image, or its beginning is damaged", code="unreadable-image"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"more than {MAX_PIXELS / 1e6:.0f} million pixels", code="image-too-large") from None
    except _DAMAGE as error:
        raise DataError(f"damaged: {error}", code="unreadable-image") from None


def cut(image: Image.Image, box: NDArray[np.int32]) -> Image.Image:
    """Return `image` cropped to box x1, y1, x2, y2 in pixels (x2, y2 exclusive); `DataError` if it does not fit."""
    x1, y1, x2, y2 = (int(value) for value in box)
    width, height = image.size
    over_x, over_y = 1 + _SLACK * width, 1 + _SLACK * height
    inside = min(x1 + over_x, y1 + over_y) >= 0 and x2 <= width + over_x and y2 <= height + over_y
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if not inside or x1 >= x2 or y1 >= y2:
        raise DataError(
            f"box {[int(value) for value in box]} does not fit an image of {width} x {height} pixels", code="bad-box"
        )
    return image.crop((x1, y1, x2, y2))


def fit(image: Image.Image, view: View) -> NDArray[np.uint8]:
    """Return the image resized as `view` says, uint8 [S,S,3]."""
    width, height = image.size
    box = (0.0, 0.0, float(width), float(height))
    if view.fit == "center-crop":  # crop before resizing: a strip of 1 x 10,000 is never enlarged as a whole
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(image.resize((view.image_size, view.image_size), Image.Resampling.BICUBIC, box=box))


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{width} x {height} pixels are more than {MAX_PIXELS / 1e6:.0f} million", code="image-too-large"
        )


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers, whose range is not known", code="unreadable-image")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip to white
        grey = np.asarray(image).astype(np.int64)
        if isinstance(clear := image.info.get("transparency"), int):  # this grey alone is transparent
            grey = np.where(grey == clear, (1 << 16) - 1, grey)
        return Image.fromarray((grey >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
