"""Image models of MTEB, the Massive Text Embedding Benchmark, as encoders: `--method mteb:NAME`.

A model gets what MTEB's own image-to-image retrieval tasks give it: batches `{"image": [PIL image, ...]}` of a
DataLoader whose dataset has `features`, and the type of the prompt, of a query or of a document (mteb:
models/models_protocols.py `EncoderProtocol`, _create_dataloaders.py, models/search_wrappers.py). Vectors are those that
it returns, scaled to length one where it compares by cosine. Shape letters: N images, D dimensions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone, Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import MissingLibrary, MissingWeights, NotApplicable, UsageError, nearest
from irbench.data.sources import Source
from irbench.retrievers.adapters import as_vectors
from irbench.retrievers.cached_encoder import CachedEncoder
from irbench.runtime import libraries
from irbench.runtime.cache import Store
from irbench.runtime.machine import available_cores
from irbench.runtime.progress import track

_BATCH = 32  # images, as many as `mteb.evaluate` takes where nothing else is said
_DECODERS = 8  # threads, at most
_LENGTH = 1e-3  # how far from one the length of a vector of length one may be
_COMPARED = ("cosine", "dot", "euclidean")  # similarities whose order Euclidean distances can have
_Row = dict[str, Image.Image]


def find(name: str) -> Any:
    """Return the metadata (`mteb.ModelMeta`) of the model that MTEB has under a name.

    Raises `UsageError` where it has none, or none that returns one vector for an image, and `MissingLibrary`.
    """
    mteb = libraries.mteb()
    try:
        meta = mteb.get_model_meta(name)
    except KeyError:
        known = [one.name for one in mteb.get_model_metas(modalities=["image"])]
        raise UsageError(
            f"--method mteb:{name}: MTEB {mteb.__version__} has no model of this name{nearest(name, known)}",
            code="unknown-name",
        ) from None
    _check(meta)
    return meta


def _check(meta: Any) -> None:
    """Raise a `UsageError` where a model has no vectors of images that distances can compare."""
    reason = None
    if "image" not in meta.modalities:
        reason = f"this model encodes {', '.join(meta.modalities)}, and no images"
    elif "dense" not in meta.model_type:
        reason = f"a model of type {', '.join(meta.model_type)} has no single vector for an image"
    elif _similarity(meta) not in _COMPARED:
        reason = f"it compares by {_similarity(meta)}, and not by one of {', '.join(_COMPARED)}"
    if reason is not None:
        raise UsageError(f"mteb:{meta.name}: {reason}; choose another", code="no-image-vectors")


def _similarity(meta: Any) -> str:
    """Return by what a model compares; by cosine where it does not say, as MTEB does."""
    return meta.similarity_fn_name.value if meta.similarity_fn_name else "cosine"


class MtebEncoder:
    """A model of MTEB, loaded when it first encodes; it computes in the precision that MTEB loads it in."""

    def __init__(self, meta: Any, load: Callable[[], Any]) -> None:
        self.meta, self._load = meta, load

    @classmethod
    def named(cls, name: str, device: str) -> Self:
        """Return the model that MTEB has under a name, to be loaded on "cpu" or "cuda"."""
        meta = find(name)
        return cls(meta, lambda: _loaded(meta, device))

    @classmethod
    def of(cls, model: Any) -> Self:
        """Return a model that MTEB has loaded, or an object of one's own with the methods of such a model."""
        _check(model.mteb_model_meta)
        return cls(model.mteb_model_meta, lambda: model)

    @cached_property
    def model(self) -> Any:
        """The model; `MissingWeights` or `MissingLibrary` where it cannot be loaded."""
        return self._load()

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N,D], prompted as queries where the images are these, as documents otherwise."""
        from mteb.types import PromptType

        with torch.no_grad():
            found = self.model.encode(
                _Loader(images, self.meta.name),
                task_metadata=_task(),
                hf_split="test",
                hf_subset="default",
                prompt_type=PromptType.query if are_queries(images) else PromptType.document,
                batch_size=_BATCH,
                show_progress_bar=False,
            )
        return self._comparable(Embeddings(as_vectors(found, len(images), f"mteb:{self.meta.name}")))

    def _comparable(self, vectors: Embeddings) -> Embeddings:
        """Return vectors whose Euclidean distances order as the similarities of the model do."""
        similarity = _similarity(self.meta)
        if similarity == "cosine":
            return vectors.unit()
        if similarity == "dot" and (off := np.abs(np.linalg.norm(vectors.array, axis=1) - 1).max()) > _LENGTH:
            raise NotApplicable(
                f"mteb:{self.meta.name} compares by dot products of vectors whose lengths differ (from one by up to "
                f"{off:.2g}), and indexes here by Euclidean distances, which order otherwise",
                code="not-applicable",
            )
        return vectors

    def describe(self) -> Description:
        """Report name and revision in MTEB; parameters and bytes are known for certain once the model is loaded."""
        weights = [one for module in _modules(vars(self).get("model")) for one in module.parameters()]
        parameters = sum(one.numel() for one in weights) or self.meta.n_parameters or 0
        return Description(
            backbone=Backbone(name=str(self.meta.name), weights=origin(self.meta), parameters=int(parameters)),
            model_bytes=sum(one.nbytes for one in weights),
            details={"encoder": f"mteb:{self.meta.name}", "similarity": _similarity(self.meta)},
        )


@dataclass(frozen=True)
class StoredByRole:
    """A model whose vectors are stored, those of queries apart from those of documents, whose prompts may differ."""

    queries: CachedEncoder
    documents: CachedEncoder

    @classmethod
    def of(cls, encoder: MtebEncoder, store: Store, identity: Mapping[str, object]) -> Self:
        """Return an encoder with the store of its vectors; `identity` states all that they depend on."""
        return cls(*(CachedEncoder(encoder, store, {**identity, "role": one.name}) for one in fields(cls)))

    def encode(self, images: ImageSet) -> Embeddings:
        """Return E[N,D], from the store on a hit."""
        return (self.queries if are_queries(images) else self.documents).encode(images)

    def describe(self) -> Description:
        """Return the description of the model."""
        return self.documents.describe()


def origin(meta: Any) -> str:
    """Return where the weights of a model come from."""
    return f"MTEB, revision {meta.revision}" if meta.revision else "MTEB, no revision"


def are_queries(images: ImageSet) -> bool:
    """Are these the queries of a benchmark, or a part of them?"""
    return images.name.partition(",")[0] == "queries"


def _loaded(meta: Any, device: str) -> Any:
    try:
        return meta.load_model(device=device)
    except ImportError as error:
        raise MissingLibrary(f"mteb:{meta.name} needs another package: {error}") from error
    except OSError as error:  # of the hub, its cache, or the network
        raise MissingWeights(f"mteb:{meta.name} cannot be loaded: {str(error).splitlines()[0]}") from error


def _modules(model: Any) -> list[nn.Module]:
    """Return the networks that a loaded model consists of: itself, or what it holds."""
    if isinstance(model, nn.Module):
        return [model]
    return [one for one in vars(model).values() if isinstance(one, nn.Module)] if hasattr(model, "__dict__") else []


def _task() -> Any:
    """Return what a model is told of the task: retrieval of images by an image, with MTEB's prompt for retrieval."""
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name="irbench",
        description="Find the images that are relevant to an image.",
        prompt=AbsTaskRetrieval.abstask_prompt,  # of MTEB's tasks that have no prompt of their own
        dataset={"path": "irbench", "revision": "none"},
        type="Any2AnyRetrieval",
        category="i2i",
        modalities=["image"],
        eval_langs=["eng-Latn"],
        main_score="hit_rate_at_1",
    )


@dataclass(frozen=True, eq=False)
class _Rows(Dataset[_Row]):
    """Images as the rows of a dataset, decoded when they are read, those of a batch by several threads."""

    source: Source

    @property
    def features(self) -> dict[str, Any]:
        """The columns, by which models of several modalities know what they get."""
        return {"image": libraries.hub_datasets().Image()}

    @property
    def column_names(self) -> list[str]:
        """As `datasets.Dataset` has it."""
        return list(self.features)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> _Row:
        return {"image": self.source.seen(row)}

    def __getitems__(self, rows: Sequence[int]) -> list[_Row]:
        if len(rows) == 1:
            return [self[rows[0]]]
        with ThreadPoolExecutor(min(_DECODERS, available_cores())) as decoders:
            return list(decoders.map(self.__getitem__, rows))


class _Loader(DataLoader[_Row]):
    """Yields batches of images, in order; a bar shows how many have been taken."""

    def __init__(self, images: ImageSet, name: str) -> None:
        self.description = f"encode with {name}"
        super().__init__(_Rows(Source(images)), batch_size=_BATCH, shuffle=False, collate_fn=_batch)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # models iterate, and nothing else
        return track(super().__iter__(), self.description, total=len(self))


def _batch(rows: Sequence[_Row]) -> dict[str, list[Image.Image]]:
    return {"image": [row["image"] for row in rows]}
