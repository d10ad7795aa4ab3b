"""An encoder with a cache: wraps another one, and stores the embeddings of whole splits in shards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.data import shards
from irbench.data.contents import digest
from irbench.protocols import Encoder, Trainable
from irbench.runtime.cache import Key, Store
from irbench.runtime.timer import caches_bypassed

_FILE = "embeddings.npy"


class CachedEncoder:
    """Encodes each set of images once; `identity` states all that the encoder's vectors depend on.

    A set of more than `shards.ROWS` images is encoded in shards, each an entry of the store of its own: encoding that
    was stopped goes on with the next one. A shard has the same batches as these images have in the whole set.
    Under a timer that bypasses caches, embeddings are always computed.
    """

    def __init__(self, encoder: Encoder, store: Store, identity: Mapping[str, object]) -> None:
        self.encoder, self.store, self.identity = encoder, store, identity

    def train(self, images: ImageSet) -> None:
        """Train the wrapped encoder, if it is trainable; its vectors depend on the training images from then on."""
        if isinstance(self.encoder, Trainable):
            self.encoder.train(images)
            self.identity = {**self.identity, "train": [images.fingerprint, digest(images), images.mirror]}

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N,D], from the store on a hit."""
        if caches_bypassed() or images.vectors is not None:  # which are no less at hand than a copy of them
            return self.encoder.encode(images)

        parts = [self._encoded(part) for part in shards.cut(images, shards.ROWS)]
        return Embeddings(_loaded(parts, len(images)))

    def _encoded(self, images: ImageSet) -> Path:
        """Return the file of the vectors of images, which is made where it is not there."""

        def compute(folder: Path) -> None:
            np.save(folder / _FILE, self.encoder.encode(images).array)

        backbone = self.encoder.describe().backbone  # weights from the hub are not pinned by the recipe
        weights = backbone.weights if backbone else None
        key = Key("embeddings", {**self.identity, "weights": weights, "images": digest(images)})
        return self.store.ensure(key, compute, span="encode").path / _FILE

    def describe(self) -> Description:
        """Return the description of the wrapped encoder."""
        return self.encoder.describe()


def _loaded(parts: list[Path], count: int) -> NDArray[np.float32]:
    """Return the arrays of files one below the other, [count,…]; beside the whole there is one of them in memory."""
    if len(parts) == 1:
        return _load(parts[0])
    whole, rows = np.empty((count, *_load(parts[0], mmap_mode="r").shape[1:]), np.float32), 0
    for part in parts:
        rows += _copy(_load(part), whole[rows:])
    return whole


def _copy(part: NDArray[np.float32], place: NDArray[np.float32]) -> int:
    """Copy an array to the first rows of a place, and return how many these are."""
    place[: len(part)] = part
    return len(part)


def _load(file: Path, mmap_mode: Literal["r"] | None = None) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
    return array
