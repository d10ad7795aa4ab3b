"""Shards: the consecutive parts of a set of images that are computed and stored one by one.

Shards of any kind have a power of two as their number of rows, at most `ROWS`, so that the shards of a shard are shards
of the whole too: what is decoded for one of them is found again for the other.
"""

from dataclasses import replace

from irbench.core.benchmark import ImageSet

ROWS = 1 << 16  # most rows of a shard
_LEAST = 1 << 8


def rows_of(bytes_each: int, most: int) -> int:
    """Return how many rows of `bytes_each` bytes there are in a shard, which takes `most` bytes or is of the least."""
    fitting = max(1, most // bytes_each)
    return min(ROWS, max(_LEAST, 1 << (fitting.bit_length() - 1)))


def cuts(count: int, rows: int) -> list[slice]:
    """Return the slices of `count` rows that are shards of `rows` rows, the last one as many as are left."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def cut(images: ImageSet, rows: int) -> list[ImageSet]:
    """Return the shards of a set, each named as a part of it; the set itself where it is no larger than one."""
    slices = cuts(len(images), rows)
    if len(slices) == 1:
        return [images]
    return [
        replace(images.take(slice_), name=f"{images.name}, part {number} of {len(slices)}")
        for number, slice_ in enumerate(slices, 1)
    ]
