"""An encoder and a searcher make a retriever: the recipe of the method is the encoder's."""

from dataclasses import dataclass, replace

from irbench.clock import stage
from irbench.collection import ImageSet
from irbench.machine import Runtime
from irbench.protocols import Description, Parts, Trainable
from irbench.ranking import Ranking


@dataclass(frozen=True, kw_only=True)
class Config:
    """The parts have recipes of their own."""


class DenseRetriever:
    """Nearest vectors of the query's vector."""

    def __init__(self, config: Config, runtime: Runtime, parts: Parts) -> None:
        self.config, self.runtime = config, runtime
        self.encoder, self.searcher = parts.encoder(), parts.searcher()

    def train(self, images: ImageSet) -> None:
        """Train the encoder, where it learns."""
        if isinstance(self.encoder, Trainable):
            self.encoder.train(images)

    def index(self, gallery: ImageSet) -> None:
        """Encode the gallery and build the searcher's index."""
        with stage("encode"):
            vectors = self.encoder.encode(gallery)
        with stage("build"):
            self.searcher.build(vectors)

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Encode the queries and search."""
        with stage("encode"):
            vectors = self.encoder.encode(queries)
        with stage("search"):
            return self.searcher.search(vectors, k)

    def describe(self) -> Description:
        """The encoder's network and the searcher's index."""
        encoder, searcher = self.encoder.describe(), self.searcher.describe()
        details = {**encoder.details, **searcher.details}
        return replace(encoder, index_bytes=searcher.index_bytes, details=details)
