"""The seams of irbench: what a method has to be able to do, and nothing else.

Encoders and searchers are built as `Class(config, runtime)`, identifiers and retrievers, which are made of other
parts, as `Class(config, runtime, parts)`. `config` is the class's own frozen `Config`, read from a recipe; `runtime`
(irbench.runtime.machine.Runtime) says where and how to compute. Building does no work.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import Ranking


@runtime_checkable
class Trainable(Protocol):
    """Something that learns from labelled images before it can be used."""

    def train(self, images: ImageSet) -> None:
        """Learn from `images`, or take up what an equal recipe, data set and seed has learnt before."""


class Encoder(Protocol):
    """Turns images into vectors. One that learns is `Trainable` too."""

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N,D], row i for image i, the same whatever the batch; `unit()` where the metric is the cosine."""

    def describe(self) -> Description:
        """Tell the backbone and its size."""


class Searcher(Protocol):
    """Finds near vectors by Euclidean distance.

    The harness uses it within `irbench.retrievers.search_index.SearchIndex`, which never passes an empty gallery, other
    dimensions, or a `k` beyond the gallery; so a searcher need not handle these. A class attribute `promises`
    (`irbench.core.promises.Promises`) declares how good its results are, and `irbench.testing.check_searcher` holds it
    to that. Its `Config` may have a class variable `sweep`: settings that trade recall for speed, for
    `irbench ablate index`.
    """

    def build(self, gallery: Embeddings) -> None:
        """Index every row of the gallery; building again starts afresh."""

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query, scored by minus the squared distance as the index knows it."""

    def describe(self) -> Description:
        """Tell the kind of index and its bytes."""


@runtime_checkable
class UpdatableSearcher(Searcher, Protocol):
    """A searcher whose index takes more vectors and gives up others; any other one is built again for that."""

    def add(self, vectors: Embeddings) -> None:
        """Index more vectors: their rows follow those that are there, in order."""

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Never answer these rows again; all others keep their numbers."""


class Identifier(Protocol):
    """Gives every image a sequence of codes. One that learns is `Trainable` too."""

    def encode(self, images: ImageSet) -> Identifiers:
        """Return codes[N,M], row i for image i."""

    def describe(self) -> Description:
        """Tell the network behind the codes, if there is one."""


class Components(Protocol):
    """What a retriever or an identifier of one cell can be made of, each part built from its recipe."""

    def encoder(self, method: str | None = None) -> Encoder:
        """Return the encoder of recipe `method`, by default the cell's own; its vectors are cached."""

    def trained_encoder(self, method: str, images: ImageSet) -> Encoder:
        """Return the encoder of recipe `method`, trained on `images`, for others to start from."""

    def searcher(self) -> Searcher:
        """Return the cell's searcher."""

    def identifier(self) -> Identifier:
        """Return the cell's identifier."""


class Retriever(Protocol):
    """Finds gallery images for query images: the one thing that the harness knows. One that learns is `Trainable` too.

    It marks the stages of its work with `irbench.runtime.timer.span`: "encode" and "build" in `index`, "encode" and
    "search" in `search`. The harness holds the timer.
    """

    def index(self, gallery: ImageSet) -> None:
        """Make the gallery searchable; indexing again starts afresh."""

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query, best first; a query's own photograph is not left out."""

    def describe(self) -> Description:
        """Tell backbone, bytes and whatever else explains the result; called after `index`."""


@runtime_checkable
class SupportsUpdates(Protocol):
    """A retriever whose gallery may change after `index`, without anything being trained again."""

    def add(self, images: ImageSet) -> None:
        """Make more images searchable: their rows follow those that are there, in order."""

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Never answer these gallery rows again; all others keep their numbers."""


@runtime_checkable
class Generative(Protocol):
    """A retriever that answers by writing identifiers."""

    def identifiers(self) -> Identifiers:
        """Return the identifiers codes[N,M] of the gallery, row by row."""

    def generate(self, queries: ImageSet) -> NDArray[np.int64]:
        """Return for each query the codes [Q,K,M] that the decoder writes with no trie to hold it, best first."""
