"""Draws warped versions of line drawings in whole numbers alone, so that no processor draws another pixel.

A drawing is kept as a field: its ink, blurred. A warp says where each pixel of an image looks into the field (an affine
map, and waves along both axes), and how much of the blur counts as ink, which makes strokes thinner or thicker.
Shape letters: B images, S pixels a side, F pixels a side of a field, D drawings.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # to be raised whenever a pixel of any image changes; a test holds the digest of some
FIELD = 128  # F
TURN = 5760  # a whole turn in sixteenths of a degree

_BITS = 12  # after the point of matrices and sines
_ONE = 1 << _BITS
_STEPS = 6  # bits after the point of a place in the field
_TOGETHER = 64  # images that are drawn together: what they need fits into a processor's cache
_WHITE = 255
_THINNEST, _BROADER = 120, 3  # what of the field is the edge of a stroke, and how much less for each level
_EDGE = 6  # contrast there


@dataclass(frozen=True, kw_only=True, eq=False)
class Warps:
    """How each of B images is drawn. Places and lengths are in 1/64 pixel of the field, ratios in 1/4096."""

    angles: NDArray[np.int64]  # [B] in sixteenths of a degree
    widths: NDArray[np.int64]  # [B] ratio
    heights: NDArray[np.int64]  # [B] ratio
    shears: NDArray[np.int64]  # [B] ratio
    shifts: NDArray[np.int64]  # [B,2]
    waves: NDArray[np.int64]  # [B,2,2,3] of x and y, along x and y: amplitude, phase, sixteenths of a degree a pixel
    levels: NDArray[np.int64]  # [B] how broad strokes are, from 0


def fields(ink: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the fields [D,F,F] of drawings [D,H,W], each in the middle, blurred twice over squares of 5 pixels."""
    count, height, width = ink.shape
    top, left = (FIELD - height) // 2, (FIELD - width) // 2
    found = np.zeros((count, FIELD, FIELD), np.uint8)
    found[:, top : top + height, left : left + width] = ink
    for start in range(0, count, _TOGETHER):
        some = found[start : start + _TOGETHER].astype(np.uint16)
        for _ in range(2):
            some = _summed(_summed(some).swapaxes(1, 2)).swapaxes(1, 2)
        found[start : start + _TOGETHER] = some * np.uint32(255) // np.uint32(625)
    return found


def _summed(some: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the sum of each row with the two above and the two below it."""
    found = some.copy()
    for step in (1, 2):
        found[:, step:] += some[:, :-step]
        found[:, :-step] += some[:, step:]
    return found


def draw(fields: NDArray[np.uint8], drawings: NDArray[np.int64], warps: Warps, side: int) -> NDArray[np.uint8]:
    """Return the images [B,S,S], dark on white: drawing `drawings[b]` of `fields` [D,F,F] under the b-th warp."""
    images = np.empty((len(drawings), side, side), np.uint8)
    for start in range(0, len(drawings), _TOGETHER):
        rows = slice(start, start + _TOGETHER)
        _draw(fields, drawings[rows], _some(warps, rows), images[rows])
    return images


def _draw(fields: NDArray[np.uint8], drawings: NDArray[np.int64], warps: Warps, images: NDArray[np.uint8]) -> None:
    along_x, along_y = _places(warps, images.shape[1])
    x, y = ((one[:, None, :] + other[:, :, None]) >> _STEPS for one, other in zip(along_x, along_y, strict=True))
    for place in (x, y):
        np.clip(place, 0, FIELD - 1, out=place)
    y *= FIELD
    y += x
    for image, field, place in zip(images, fields[drawings].reshape(-1, FIELD * FIELD), y, strict=True):
        field.take(place, out=image, mode="clip")
    tones = np.multiply(images, np.int16(_EDGE), dtype=np.int16)
    tones += (128 - _EDGE * (_THINNEST - _BROADER * warps.levels)).astype(np.int16)[:, None, None]
    np.subtract(_WHITE, np.clip(tones, 0, _WHITE, out=tones), out=images, casting="unsafe")


def _places(warps: Warps, side: int) -> tuple[list[NDArray[np.int16]], list[NDArray[np.int16]]]:
    """Return what the columns, and what the rows, add to the places x and y in the field, each [B,S]."""
    centred = (2 * np.arange(side) - (side - 1)) * ((FIELD << _STEPS) * _ONE) // (2 * side)
    sine, cosine = _SINES[warps.angles % TURN], _SINES[(warps.angles + TURN // 4) % TURN]
    sheared = (sine * warps.shears) >> _BITS, (cosine * warps.shears) >> _BITS
    matrix = (  # a turn after a shear after a scaling
        (cosine * warps.widths, (sheared[1] - sine) * warps.heights),
        (sine * warps.widths, (sheared[0] + cosine) * warps.heights),
    )
    shift = warps.shifts + (FIELD << _STEPS) // 2
    along: tuple[list[NDArray[np.int16]], list[NDArray[np.int16]]] = ([], [])
    for axis in (0, 1):
        for direction in (0, 1):
            linear = ((matrix[axis][direction] >> _BITS)[:, None] * centred) >> (2 * _BITS)
            place = linear + _wave(warps.waves[:, axis, direction], side) + (shift[:, axis, None] if direction else 0)
            along[direction].append(np.clip(place, -(1 << 14), (1 << 14) - 1).astype(np.int16))
    return along


def _wave(waves: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Return the waves [B,S] of amplitude, phase and frequency [B,3]; an image is as long whatever its pixels."""
    at = np.arange(side) * FIELD // side
    return waves[:, :1] * _SINES[(waves[:, 1:2] + waves[:, 2:] * at) % TURN] >> _BITS


def _some(warps: Warps, rows: slice) -> Warps:
    return Warps(**{name: value[rows] for name, value in vars(warps).items()})


def _sines() -> NDArray[np.int64]:
    """Return the sines of a turn, in 1/4096, by Bhaskara's formula: within 0.002, and in whole numbers."""
    half = TURN // 2
    angle = np.arange(half)
    product = angle * (half - angle)
    positive = _ONE * 16 * product // (5 * half * half - 4 * product)
    return np.concatenate([positive, -positive])


_SINES = _sines()
