"""An encoder with a cache: wraps another one, and stores the embeddings of whole splits."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.data.contents import digest
from irbench.protocols import Encoder, Trainable
from irbench.runtime.cache import Key, Store
from irbench.runtime.timer import caches_bypassed


class CachedEncoder:
    """Encodes each set of images once; `identity` states all that the encoder's vectors depend on.

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

        def compute(folder: Path) -> None:
            np.save(folder / "embeddings.npy", self.encoder.encode(images).array)

        backbone = self.encoder.describe().backbone  # weights from the hub are not pinned by the recipe
        weights = backbone.weights if backbone else None
        key = Key("embeddings", {**self.identity, "weights": weights, "images": digest(images)})
        entry = self.store.ensure(key, compute, span="encode")
        return Embeddings(np.load(entry.path / "embeddings.npy", allow_pickle=False))

    def describe(self) -> Description:
        """Return the description of the wrapped encoder."""
        return self.encoder.describe()
