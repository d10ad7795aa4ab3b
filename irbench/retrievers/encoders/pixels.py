"""The simplest baseline: an image's pixels are its embedding. Recipe: methods/pixels.toml."""

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone, Description
from irbench.core.embeddings import Embeddings
from irbench.data import shards
from irbench.data.decode import Fit
from irbench.data.pixels import View, pixels
from irbench.runtime.machine import Runtime

_AT_A_TIME = 4096  # images


@dataclass(frozen=True, kw_only=True)
class Config:
    """Schema of methods/pixels.toml."""

    image_size: PositiveInt = 32  # S: images are resized to S x S pixels
    fit: Fit = "center-crop"


class PixelEncoder:
    """Grey values of the resized image, as a vector; Euclidean distance."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    def encode(self, images: ImageSet) -> Embeddings:
        """Return the grey values [N,S·S] in 0 … 1."""
        images_uint8 = pixels(images, View(self.config.image_size, self.config.fit), self.runtime)
        vectors = np.empty((len(images), self.config.image_size**2), np.float32)
        for rows in shards.cuts(len(images), _AT_A_TIME):
            grey = images_uint8[rows].mean(axis=3, dtype=np.float32)
            np.divide(grey.reshape(len(grey), -1), 255, out=vectors[rows])
        return Embeddings(vectors)

    def describe(self) -> Description:
        """Describe the encoder; there is no network."""
        return Description(backbone=Backbone(name="none", weights="none", parameters=0))
