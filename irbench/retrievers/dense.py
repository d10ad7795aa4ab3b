"""A retriever made of an encoder and a searcher; the recipe of the method is the encoder's."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.ranking import Ranking
from irbench.protocols import Components, Trainable
from irbench.retrievers.checked import described
from irbench.retrievers.search_index import SearchIndex
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import span


@dataclass(frozen=True, kw_only=True)
class Config:
    """Empty: encoder and searcher have recipes of their own."""


class DenseRetriever:
    """Nearest neighbours of the query's embedding."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        self.config, self.runtime = config, runtime
        self.encoder, self.searcher = components.encoder(), SearchIndex(components.searcher())

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
            self.searcher.build(vectors)

    def add(self, images: ImageSet) -> None:
        """Encode more images and add their vectors to the index."""
        with span("encode"):
            vectors = self.encoder.encode(images)
        with span("build"):
            self.searcher.add(vectors)

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
            return self.searcher.search(vectors, k)

    def vectors(self, images: ImageSet) -> NDArray[np.float32]:
        """Return the embeddings [N,D] of images."""
        return self.encoder.encode(images).array

    def count_distances(self, queries: ImageSet, k: int) -> float | None:
        """Return how many distances the searcher computes for a query on average, where it counts them."""
        return self.searcher.count_distances(self.encoder.encode(queries), k)

    def describe(self) -> Description:
        """Describe the encoder's network and the searcher's index."""
        encoder, searcher = described(self.encoder, "encoder"), self.searcher.describe()
        details = {**encoder.details, **searcher.details, "dimensions": self.searcher.dim}
        return replace(encoder, index_bytes=searcher.index_bytes, details=details)
