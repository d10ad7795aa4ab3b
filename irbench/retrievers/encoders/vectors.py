"""Vectors that were computed elsewhere, in place of an encoder: indexes are compared. Recipe: methods/vectors.toml."""

from dataclasses import dataclass

from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone, Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import NotApplicable
from irbench.runtime.machine import Runtime


@dataclass(frozen=True, kw_only=True)
class Config:
    """Empty: vectors are taken as they are."""


class VectorsEncoder:
    """Returns the vectors of a data set that has them in place of images (`irbench run --vectors`)."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    def encode(self, images: ImageSet) -> Embeddings:
        """Return the stored vectors [N,D]; `NotApplicable` where there are images."""
        if images.vectors is None:
            raise NotApplicable("the data set has images and no vectors: irbench run --vectors GALLERY.npy")
        return Embeddings(images.vectors)

    def describe(self) -> Description:
        """Report that encoding was done elsewhere, and so is not part of any time."""
        details = {"encoder": "vectors computed elsewhere; their encoding is not timed"}
        return Description(backbone=Backbone(name="none", weights="none", parameters=0), details=details)
