"""A retriever made of an encoder and a searcher; the recipe of the method is the encoder's.

Its own keys are `embedding.KEY` among a cell's overrides.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.ranking import Ranking
from irbench.protocols import Components, Trainable
from irbench.retrievers.checked import described
from irbench.retrievers.reduction import Reduction
from irbench.retrievers.search_index import SearchIndex
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import span


@dataclass(frozen=True, kw_only=True)
class Config:
    """What becomes of embeddings before they are searched; encoder and searcher have recipes of their own."""

    dims: NonNegativeInt = 0  # keep the first ones alone, as networks are trained for (Matryoshka, arXiv 2205.13147)
    pca: NonNegativeInt = 0  # keep so many principal components of the gallery, whitened (Jégou and Chum 2012)

    def __post_init__(self) -> None:
        if self.dims and self.pca:
            raise ValueError("dims and pca: both reduce the dimensions; give one of them")


class DenseRetriever:
    """Nearest neighbours of the query's embedding."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        self.config, self.runtime = config, runtime
        self.encoder, self.searcher = components.encoder(), SearchIndex(components.searcher())
        self.reduction = Reduction(dims=config.dims, components=config.pca, seed=runtime.seed)

    def train(self, images: ImageSet) -> None:
        """Train the encoder, if it is trainable."""
        if isinstance(self.encoder, Trainable):
            self.encoder.train(images)

    def prepare(self, images: ImageSet) -> None:
        """Encode images, for the store."""
        self.encoder.encode(images)

    def index(self, gallery: ImageSet) -> None:
        """Encode the gallery and build the searcher's index."""
        with span("encode"):
            vectors = self.encoder.encode(gallery)
        with span("build"):
            self.searcher.build(self.reduction.fit(vectors).apply(vectors))

    def add(self, images: ImageSet) -> None:
        """Encode more images and add their vectors to the index."""
        with span("encode"):
            vectors = self.encoder.encode(images)
        with span("build"):
            self.searcher.add(self.reduction.apply(vectors))

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove gallery rows from the index."""
        with span("build"):
            self.searcher.remove(rows)

    def set_query_parameters(self, components: Components) -> bool:
        """Search as another searcher would, over the index that is there; False where that needs another index."""
        return self.searcher.set_query_parameters(components.searcher())

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Encode the queries and return the ranking [Q,k]."""
        with span("encode"):
            vectors = self.encoder.encode(queries)
        with span("search"):
            return self.searcher.search(self.reduction.apply(vectors), k)

    def vectors(self, images: ImageSet) -> NDArray[np.float32]:
        """Return the embeddings [N,D] of images, as they are searched."""
        return self._reduced(images).array

    def count_distances(self, queries: ImageSet, k: int) -> float | None:
        """Return how many distances the searcher computes for a query on average, where it counts them."""
        return self.searcher.count_distances(self._reduced(queries), k)

    def _reduced(self, images: ImageSet) -> Embeddings:
        return self.reduction.apply(self.encoder.encode(images))

    def describe(self) -> Description:
        """Describe the encoder's network and the searcher's index."""
        encoder, searcher = described(self.encoder, "encoder"), self.searcher.describe()
        details = {**encoder.details, **searcher.details, "dimensions": self.searcher.dim, **self.reduction.details}
        return replace(encoder, index_bytes=searcher.index_bytes, details=details)
