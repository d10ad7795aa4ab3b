"""The next batch of images is loaded while the device is busy with the current one."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from irbench.data.pixels import Pixels


class Ahead:
    """Loads rows that are asked for in their order; as many as were asked for last are loaded ahead, by one thread.

    Decoding uses all cores itself, so a second batch ahead would only take memory.
    """

    def __init__(self, images_uint8: Pixels, thread: ThreadPoolExecutor) -> None:
        self._images_uint8, self._thread = images_uint8, thread
        self._next: tuple[int, int] | None = None
        self._loading: Future[NDArray[np.uint8]] | None = None

    def __call__(self, start: int, end: int) -> NDArray[np.uint8]:
        """Return the images [B,S,S,3] from row `start` to `end`, a copy."""
        loading = self._loading if self._next == (start, end) else None
        batch = self._load(start, end) if loading is None else loading.result()
        self._loading = None
        following = (end, min(2 * end - start, len(self._images_uint8)))
        if following[0] < following[1] and following != self._next:
            self._next, self._loading = following, self._thread.submit(self._load, *following)
        return batch

    def _load(self, start: int, end: int) -> NDArray[np.uint8]:
        return self._images_uint8[np.arange(start, end)]


@contextmanager
def ahead(images_uint8: Pixels) -> Iterator[Ahead]:
    """Yield what loads the batches of a set ahead; nothing is loaded any more when the block ends."""
    thread = ThreadPoolExecutor(1)
    try:
        yield Ahead(images_uint8, thread)
    finally:
        thread.shutdown(cancel_futures=True)
