"""Objects of one's own as the encoder or retriever of a cell.

An encoder need only have `encode(images) -> array [N,D]`; `images` is a sequence of PIL images that are decoded when
they are read. Vectors that were computed elsewhere stand for an encoder too. Shape letters: N images, D dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, Self, cast, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.core.ranking import Ranking
from irbench.data.sources import Source
from irbench.protocols import Encoder, Retriever
from irbench.retrievers.checked import as_ranking, described


class Images(ImageSet, Sequence[Image.Image]):
    """The images of a split, as a sequence of RGB PIL images each of which is decoded when it is read."""

    @classmethod
    def of(cls, images: ImageSet) -> Self:
        """Return a split as a sequence."""
        return cls(**{one.name: getattr(images, one.name) for one in fields(images)})

    @cached_property
    def _source(self) -> Source:
        return Source(self)

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
        return Embeddings(as_vectors(self.encoder.encode(Images.of(images)), len(images), type(self.encoder).__name__))

    def describe(self) -> Description:
        """Report what the object reports of itself, else its kind alone."""
        return described(self.encoder, "encoder")


class TrainedEncoderAdapter(EncoderAdapter):
    """An encoder from an object that has to be trained."""

    def train(self, images: ImageSet) -> None:
        """Train it."""
        self.encoder.train(Images.of(images))


class RetrieverAdapter:
    """A retriever without training and updates from any object with `index(images)` and `search(images, k)`."""

    def __init__(self, retriever: Any) -> None:
        self.retriever = retriever

    def index(self, gallery: ImageSet) -> None:
        """Make the gallery searchable."""
        self.retriever.index(gallery)

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Return up to `k` gallery rows for each query."""
        return as_ranking(self.retriever.search(queries, k), self.retriever, len(queries))

    def describe(self) -> Description:
        """Report what the object reports of itself, else its kind alone."""
        return described(self.retriever, "retriever")


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


def as_encoder(encoder: Any) -> Encoder:
    """Return any object with `encode` as an encoder; one that has `train(images)` is trained first."""
    return TrainedEncoderAdapter(encoder) if _is_trained(encoder) else EncoderAdapter(encoder)


def as_retriever(retriever: Any) -> Retriever:
    """Return the object itself; where its `train` is that of torch.nn.Module, which only sets a mode, without it."""
    untrained = hasattr(retriever, "train") and not _is_trained(retriever)
    return RetrieverAdapter(retriever) if untrained else cast("Retriever", retriever)


def _is_trained(one: Any) -> bool:
    own = getattr(type(one), "train", None)
    return own is not None and not getattr(own, "__module__", "").startswith("torch.")


def as_sequences(benchmark: Benchmark) -> Benchmark:
    """Return the benchmark with its splits as sequences of PIL images."""
    train, gallery, queries = map(Images.of, (benchmark.train, benchmark.gallery, benchmark.queries))
    return replace(benchmark, train=train, gallery=gallery, queries=queries)


def as_vectors(found: Any, count: int, who: str) -> NDArray[np.float32]:
    """Return an array or tensor of `count` vectors as float32 [N,D]; `who` returned it."""
    if hasattr(found, "detach"):
        found = found.detach().cpu().float().numpy()
    elif isinstance(found, Embeddings):
        found = found.array
    try:
        array = np.asarray(found)
    except ValueError as error:
        raise ContractError(f"{who}: no array of vectors [{count},D]: {error}", code="not-vectors") from None
    if array.dtype.kind not in "fiu":
        raise ContractError(f"{who}: vectors are real numbers, not {array.dtype}", code="not-vectors")
    if array.ndim != 2 or len(array) != count or not array.shape[1]:
        raise ContractError(f"{who}: {count} images need vectors [{count},D], not {array.shape}", code="not-vectors")
    return array.astype(np.float32)
