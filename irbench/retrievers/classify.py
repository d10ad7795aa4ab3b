"""The control of a closed set: a classifier, and the gallery images of each class. Recipe: methods/classify.toml.

Where the classes of the queries are those of the training images, precision at any depth can be had without a search:
classify the query and return the gallery images of that class. A retriever that generates identifiers learns to do the
same, because its targets are drawn from the images of one class. So its row has to be read beside this one.

Shape letters: N gallery images, Q queries, C classes of the training images, D dimensions, K results.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.errors import ContractError, RecipeError
from irbench.core.ranking import MISSING, Ranking
from irbench.core.rows import Rows
from irbench.protocols import ClassifyingEncoder, Components, Trainable
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import span


@dataclass(frozen=True, kw_only=True)
class Config:
    """Schema of methods/classify.toml."""

    encoder: str = "ft-clip"  # a method whose encoder trains a classifier: ft-clip or cgd


@dataclass(frozen=True)
class _Gallery:
    """What is known of the images that are present."""

    rows: Rows
    vectors: NDArray[np.float32]  # [N,D]
    classes: NDArray[np.int64]  # [N] numbered as the classifier numbers them

    def with_more(self, vectors: NDArray[np.float32], classes: NDArray[np.int64]) -> "_Gallery":
        return _Gallery(
            self.rows.with_more(len(vectors)),
            np.concatenate([self.vectors, vectors]),
            np.concatenate([self.classes, classes]),
        )

    def without(self, rows: NDArray[np.int64]) -> "_Gallery":
        left, gone = self.rows.without(rows), self.rows.places(rows)
        return _Gallery(left, np.delete(self.vectors, gone, axis=0), np.delete(self.classes, gone))


class ClassifyRetriever:
    """Ranks classes by their posterior for the query, and the images of each class by the encoder's distance.

    The class of a gallery image is that of its training label if it is a training image, and otherwise the most
    probable one, so that no label is used that the training did not have. A score is minus the position in the ranking,
    since a posterior and a distance have no common scale.
    """

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        self.config, self.runtime, self.components = config, runtime, components
        self._trained: ClassifyingEncoder | None = None
        self._known: dict[str, int] = {}  # the classes of the training images, by id
        self._indexed: _Gallery | None = None

    def train(self, images: ImageSet) -> None:
        """Train the encoder and its classifier; `RecipeError` if `encoder` names a method without a classifier."""
        encoder = self.components.uncached_encoder(self.config.encoder)
        if not isinstance(encoder, ClassifyingEncoder):
            raise RecipeError(
                f'encoder = "{self.config.encoder}": this method trains no classifier; try "ft-clip" or "cgd"',
                code="no-classifier",
            )
        if isinstance(encoder, Trainable):
            encoder.train(images)
        numbers = np.unique(images.labels, return_inverse=True)[1].tolist()
        self._trained, self._known = encoder, dict(zip(images.ids, numbers, strict=True))

    def index(self, gallery: ImageSet) -> None:
        """Encode the gallery, and classify what was not trained on."""
        with span("encode"):
            vectors, classes = self._encode(gallery)
        with span("build"):
            self._indexed = _Gallery(Rows.first(len(gallery)), vectors, classes)

    def add(self, images: ImageSet) -> None:
        """Encode and classify more images."""
        with span("encode"):
            vectors, classes = self._encode(images)
        with span("build"):
            self._indexed = self._gallery.with_more(vectors, classes)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Forget these rows."""
        with span("build"):
            self._indexed = self._gallery.without(rows)

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Return the ranking [Q,K] of the images of the most probable classes; K is `k`."""
        with span("encode"):
            vectors, chances = self._classified(queries)
            classes = np.argsort(-chances, axis=1, kind="stable")  # [Q,C] the best first
        with span("search"):
            rows = np.stack([self._search(*query, k) for query in zip(vectors, classes, strict=True)])
            scores = np.where(rows == MISSING, -np.inf, -np.arange(k)).astype(np.float32)
            return Ranking(rows, scores)

    def describe(self) -> Description:
        """Describe the encoder's network, and the vectors and classes that are stored of the gallery."""
        encoder, gallery = self._encoder.describe(), self._gallery
        return replace(encoder, index_bytes=gallery.vectors.nbytes + gallery.classes.nbytes)

    def _search(self, vector: NDArray[np.float32], classes: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """Return the rows [K] for a query's vector [D] and its classes [C], the best first."""
        gallery = self._gallery
        filled = np.cumsum(np.bincount(gallery.classes, minlength=len(classes))[classes])
        rank = np.full(len(classes), len(classes))
        wanted = classes[: int(np.searchsorted(filled, k)) + 1]  # as many classes as it takes
        rank[wanted] = np.arange(len(wanted))
        places = np.flatnonzero(rank[gallery.classes] < len(classes))
        distances = np.square(gallery.vectors[places] - vector).sum(axis=1)
        order = np.lexsort((places, distances, rank[gallery.classes[places]]))[:k]
        rows = np.full(k, MISSING)
        rows[: len(order)] = gallery.rows.numbers[places[order]]
        return rows

    def _encode(self, images: ImageSet) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors [N,D] of gallery images and their classes [N]."""
        vectors, chances = self._classified(images)
        guesses = zip(images.ids, chances.argmax(axis=1), strict=True)
        return vectors, np.array([self._known.get(id_, guess) for id_, guess in guesses], np.int64)

    def _classified(self, images: ImageSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors [N,D] that are compared, and the log-probabilities [N,C] of the classes."""
        vectors, chances = self._encoder.classify(images)
        return vectors.array, chances

    @property
    def _encoder(self) -> ClassifyingEncoder:
        if self._trained is None:
            raise ContractError("ClassifyRetriever was used before it was trained", code="not-trained")
        return self._trained

    @property
    def _gallery(self) -> _Gallery:
        if self._indexed is None:
            raise ContractError("ClassifyRetriever was used before it had indexed a gallery", code="not-indexed")
        return self._indexed
