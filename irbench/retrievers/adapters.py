"""Objects of one's own as the encoder, searcher or retriever of a cell: what they return is checked here.

An encoder need only have `encode(images) -> array [N,D]`; `images` is a sequence of PIL images that are decoded when
they are read. Vectors that were computed elsewhere stand for an encoder too. Shape letters: N images, D dimensions.
"""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.core.ranking import Ranking
from irbench.data.sources import Source
from irbench.protocols import Encoder, Retriever, Searcher


class Images(Sequence[Image.Image]):
    """The images of a split as RGB PIL images, each decoded when it is read; `ids` names them."""

    def __init__(self, images: ImageSet) -> None:
        self._source = Source(images)
        self.ids = images.ids

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        """Return one image, or the list of images of a slice."""
        rows = range(len(self))[index]
        return [self._source.seen(row) for row in rows] if isinstance(rows, range) else self._source.seen(rows)

    def __iter__(self) -> Iterator[Image.Image]:
        return (self[row] for row in range(len(self)))


class EncoderAdapter:
    """An encoder from any object with `encode(images) -> array [N,D]`."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N,D] as float32; a `ContractError` where the object returns anything else than N vectors."""
        return Embeddings(as_vectors(self.encoder.encode(Images(images)), len(images), type(self.encoder).__name__))

    def describe(self) -> Description:
        """Report the kind of object; nothing is known of its network."""
        return Description(details={"encoder": type(self.encoder).__qualname__})


class GivenVectors:
    """Vectors that were computed elsewhere, in place of an encoder: rows follow the benchmark's queries and gallery."""

    def __init__(self, query_vectors: Any, gallery_vectors: Any, benchmark: Benchmark) -> None:
        self._vectors: dict[str, tuple[dict[str, int], NDArray[np.float32]]] = {}
        for images, vectors in ((benchmark.queries, query_vectors), (benchmark.gallery, gallery_vectors)):
            rows = {id_: row for row, id_ in enumerate(images.ids)}
            self._vectors[images.name] = rows, as_vectors(vectors, len(images), f"the {images.name}' vectors")
        dims = [vectors.shape[1] for _, vectors in self._vectors.values()]
        if len(set(dims)) > 1:
            raise ContractError(
                f"query vectors have {dims[0]} dimensions, gallery vectors {dims[1]}", code="wrong-shape"
            )

    def encode(self, images: ImageSet) -> Embeddings:
        """Look up E[N,D]."""
        rows, vectors = self._vectors[images.name]
        return Embeddings(vectors[[rows[id_] for id_ in images.ids]])

    def describe(self) -> Description:
        """Report that encoding was done elsewhere, and so is not part of any time."""
        return Description(details={"encoder": "vectors computed elsewhere; their encoding is not timed"})


class SearcherAdapter:
    """A searcher from any object with `build(Embeddings)` and `search(Embeddings, k) -> Ranking`."""

    def __init__(self, searcher: Any) -> None:
        self.searcher = searcher

    def build(self, gallery: Embeddings) -> None:
        """Index the gallery."""
        self.searcher.build(gallery)

    def search(self, queries: Embeddings, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query."""
        return as_ranking(self.searcher.search(queries, k), type(self.searcher).__name__)

    def describe(self) -> Description:
        """Report what the object reports of itself, else its kind alone."""
        return described(self.searcher, "searcher")


class RetrieverAdapter:
    """A retriever from any object with `index(images)` and `search(images, k) -> Ranking`."""

    def __init__(self, retriever: Any) -> None:
        self.retriever = retriever

    def index(self, gallery: ImageSet) -> None:
        """Make the gallery searchable."""
        self.retriever.index(gallery)

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query."""
        return as_ranking(self.retriever.search(queries, k), type(self.retriever).__name__)

    def describe(self) -> Description:
        """Report what the object reports of itself, else its kind alone."""
        return described(self.retriever, "retriever")


def as_encoder(encoder: Any) -> Encoder:
    """Return an encoder: the object itself where it has all of `irbench.Encoder`, else wrapped."""
    return encoder if hasattr(encoder, "describe") else EncoderAdapter(encoder)


def as_searcher(searcher: Any) -> Searcher:
    """Return a searcher: the object itself where it has all of `irbench.Searcher`, else wrapped."""
    return searcher if hasattr(searcher, "describe") else SearcherAdapter(searcher)


def as_retriever(retriever: Any) -> Retriever:
    """Return a retriever: the object itself where it has all of `irbench.Retriever`, else wrapped."""
    return retriever if hasattr(retriever, "describe") else RetrieverAdapter(retriever)


def as_vectors(found: Any, count: int, who: str) -> NDArray[np.float32]:
    """Return an array or tensor of `count` vectors as float32 [N,D]; `who` returned it."""
    if hasattr(found, "detach"):
        found = found.detach().cpu().float().numpy()
    array = np.asarray(found)
    if array.dtype.kind not in "fiu":
        raise ContractError(f"{who}: vectors are real numbers, not {array.dtype}", code="not-vectors")
    if array.ndim != 2 or len(array) != count or not array.shape[1]:
        raise ContractError(f"{who}: {count} images need vectors [{count},D], not {array.shape}", code="not-vectors")
    return array.astype(np.float32)


def as_ranking(found: Any, who: str) -> Ranking:
    """Return what a search returned, which has to be a `Ranking`."""
    if not isinstance(found, Ranking):
        raise ContractError(
            f"{who}.search returned {type(found).__name__}, not a Ranking; see irbench.Ranking.from_topk",
            code="not-a-ranking",
        )
    return found


def described(part: Any, kind: str) -> Description:
    """Return what an object reports of itself, or its class's name where it reports nothing."""
    if hasattr(part, "describe"):
        found = part.describe()
        if not isinstance(found, Description):
            raise ContractError(
                f"{type(part).__name__}.describe returned {type(found).__name__}, not a Description",
                code="not-a-description",
            )
        return found
    return Description(details={kind: type(part).__qualname__})
