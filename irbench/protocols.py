"""The protocols of irbench: what each kind of component has to provide.

Encoders and searchers are constructed as `Class(config, runtime)`; identifiers and retrievers, which consist of other
components, as `Class(config, runtime, components)`. `config` is the class's own frozen `Config`, read from a recipe;
`runtime` (irbench.runtime.machine.Runtime) states where and how to compute. A constructor does no work.

Shape letters: N images, D dimensions, C classes, M codes, Q queries, K sequences of a query.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import Ranking


@runtime_checkable
class Trainable(Protocol):
    """A component that has to be trained on labelled images before it can be used."""

    def train(self, images: ImageSet) -> None:
        """Train on `images`, or load the stored model of the same recipe, data set and seed."""


class Encoder(Protocol):
    """Maps images to vectors. One that is trained is also `Trainable`."""

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N,D], row i for image i, whatever the batches; `unit()` vectors where the metric is the cosine."""

    def describe(self) -> Description:
        """Describe the backbone and its size."""


@runtime_checkable
class ClassifyingEncoder(Encoder, Protocol):
    """An encoder whose training includes a classifier, which method `classify` uses."""

    def classify(self, images: ImageSet) -> tuple[Embeddings, NDArray[np.float32]]:
        """Return E[N,D] as `encode` does, and log-probabilities [N,C] of the sorted labels of the training images."""


class Searcher(Protocol):
    """Finds near vectors by Euclidean distance.

    The harness uses it within `irbench.retrievers.search_index.SearchIndex`, which never passes an empty gallery, other
    dimensions, or a `k` beyond the gallery; so a searcher need not handle these. A class attribute `promises`
    (`irbench.core.promises.Promises`) declares how good its results are, and `irbench.testing.check_searcher` holds it
    to that. Its `Config` may have an attribute `sweep`: settings that trade recall for speed, for
    `irbench ablate index`.
    """

    def build(self, gallery: Embeddings) -> None:
        """Index every row of the gallery, in place of any earlier index."""

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query; scores are minus the index's squared distances."""

    def describe(self) -> Description:
        """Describe the kind of index and its bytes."""


@runtime_checkable
class UpdatableSearcher(Searcher, Protocol):
    """A searcher whose index can be updated; any other one is rebuilt instead."""

    def add(self, vectors: Embeddings) -> None:
        """Index more vectors; their rows follow the existing ones, in order."""

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove these rows from the index; all others keep their numbers."""


@runtime_checkable
class TunableSearcher(Searcher, Protocol):
    """A searcher whose index is asked with other parameters without being built again.

    Its `Config` names the keys that its index does not depend on: `query_keys: ClassVar[frozenset[str]]`.
    """

    config: Any

    def set_query_parameters(self, config: Any) -> bool:
        """Answer the next queries by this configuration, which differs in `query_keys` only.

        Returns False where the index cannot be asked so; it is then built again.
        """


@runtime_checkable
class LibrarySearcher(Searcher, Protocol):
    """A searcher whose library can be asked without it, for `irbench bench overhead`."""

    def call_library(self, queries: NDArray[np.float32], k: int) -> object:
        """Search as a program would that uses the library alone, and leave its answer as it is."""


@runtime_checkable
class CountingSearcher(Searcher, Protocol):
    """A searcher whose library counts the distances that it computes."""

    def count_distances(self, queries: Embeddings, k: int) -> float | None:
        """Return how many a query takes on average, to vectors, codes or centres of cells; None where not counted."""


class Identifier(Protocol):
    """Assigns every image a sequence of codes. One that is trained is also `Trainable`."""

    def encode(self, images: ImageSet) -> Identifiers:
        """Return codes[N,M], row i for image i."""

    def describe(self) -> Description:
        """Describe the codes, and the network that computes them, if there is one."""


class Components(Protocol):
    """The components that a retriever or an identifier of one cell can consist of, each built from its recipe."""

    def encoder(self, method: str | None = None) -> Encoder:
        """Return the encoder of recipe `method`, by default the cell's own; its embeddings are cached."""

    def uncached_encoder(self, method: str) -> Encoder:
        """Return the encoder of recipe `method` itself, not yet trained, for its network or its classifier."""

    def searcher(self) -> Searcher:
        """Return the cell's searcher."""

    def identifier(self) -> Identifier:
        """Return the cell's identifier."""


class Retriever(Protocol):
    """Finds gallery images for query images; all that the harness depends on. One that is trained is also `Trainable`.

    It marks the spans of its work with `irbench.runtime.timer.span`: "encode" and "build" in `index`, "encode" and
    "search" in `search`. The harness owns the timer.
    """

    def index(self, gallery: ImageSet) -> None:
        """Index the gallery, in place of any earlier one."""

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query, best first; a query's own image is not excluded."""

    def describe(self) -> Description:
        """Describe backbone, bytes and whatever else explains the results; called after `index`."""


@runtime_checkable
class Preparable(Protocol):
    """A retriever that can compute ahead what `index` and `search` then take from the store."""

    def prepare(self, images: ImageSet) -> None:
        """Compute and store what depends on these images alone, such as their embeddings; called after `train`."""


@runtime_checkable
class SupportsUpdates(Protocol):
    """A retriever whose gallery can change after `index`, without training."""

    def add(self, images: ImageSet) -> None:
        """Index more images; their rows follow the existing ones, in order."""

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove these gallery rows; all others keep their numbers."""


@runtime_checkable
class SupportsQueryParameters(Protocol):
    """A retriever whose index is asked with other parameters without being built again."""

    def set_query_parameters(self, components: Components) -> bool:
        """Answer the next queries as a retriever of these components would; False where that needs another index."""


@runtime_checkable
class SearchesVectors(Protocol):
    """A retriever that ranks the gallery by distances between vectors."""

    def vectors(self, images: ImageSet) -> NDArray[np.float32]:
        """Return the vectors [N,D] of images as they are searched."""

    def count_distances(self, queries: ImageSet, k: int) -> float | None:
        """Return how many distances the search computes for a query on average; None where its library counts none."""


@runtime_checkable
class Generative(Protocol):
    """A retriever that generates identifiers."""

    def identifiers(self) -> Identifiers:
        """Return the identifiers codes[N,M] of the gallery, row i for image i."""

    def generate(self, queries: ImageSet) -> NDArray[np.int64]:
        """Return the codes [Q,K,M] of the most probable sequences of each query without a trie, best first."""
