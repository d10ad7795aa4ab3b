"""The floor: an image is its own embedding. Recipe: methods/pixels.toml."""

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone, Description
from irbench.core.embeddings import Embeddings
from irbench.data.decode import Fit
from irbench.data.pixels import View, pixels
from irbench.runtime.machine import Runtime


@dataclass(frozen=True, kw_only=True)
class Config:
    """Schema of methods/pixels.toml."""

    image_size: PositiveInt = 32  # the image is reduced to side by side pixels
    fit: Fit = "center-crop"


class PixelEncoder:
    """Grey values of the reduced image, as a vector; Euclidean distance."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N, side²] in 0 … 1."""
        pictures = pixels(images, View(self.config.image_size, self.config.fit), self.runtime)
        colour = pictures[np.arange(len(images))]
        return Embeddings(colour.mean(axis=3, dtype=np.float32).reshape(len(images), -1) / 255)

    def describe(self) -> Description:
        """There is no network."""
        return Description(backbone=Backbone(name="none", weights="none", parameters=0))
