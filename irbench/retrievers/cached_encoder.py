"""An encoder that remembers: wraps any other, and keeps the vectors of whole splits in the store."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.data.sources import Source
from irbench.protocols import Encoder, Trainable
from irbench.runtime.cache import Key, Store
from irbench.runtime.timer import caches_bypassed


class CachedEncoder:
    """Computes each set of images once for an encoder whose `identity` says all that its vectors depend on.

    While a live clock runs nothing is remembered: a timed answer is computed.
    """

    def __init__(self, encoder: Encoder, store: Store, identity: Mapping[str, object]) -> None:
        self.encoder, self.store, self.identity = encoder, store, identity

    def train(self, images: ImageSet) -> None:
        """Train the encoder within, where it learns; its vectors depend on the images from then on."""
        if isinstance(self.encoder, Trainable):
            self.encoder.train(images)
            self.identity = {**self.identity, "train": [images.fingerprint, Source(images).digest, images.mirror]}

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N,D], from the store where it is there."""
        if caches_bypassed():
            return self.encoder.encode(images)

        def compute(folder: Path) -> None:
            np.save(folder / "embeddings.npy", self.encoder.encode(images).array)

        backbone = self.encoder.describe().backbone  # its weights may be the hub's, which no recipe pins
        weights = backbone.weights if backbone else None
        key = Key("embeddings", {**self.identity, "weights": weights, "images": Source(images).digest})
        entry = self.store.ensure(key, compute, span="encode")
        return Embeddings(np.load(entry.path / "embeddings.npy", allow_pickle=False))

    def describe(self) -> Description:
        """Tell what the encoder within tells."""
        return self.encoder.describe()
