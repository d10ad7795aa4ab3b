"""Methods of irbench behind the search protocol of MTEB, so that `mteb.evaluate` runs them on MTEB's tasks."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Unpack

import numpy as np

from irbench.api.arguments import Options, checked
from irbench.api.evaluate import cells_of
from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import ContractError, UsageError
from irbench.core.ranking import MISSING, Ranking
from irbench.data import shards
from irbench.data.dataset_images import image_set
from irbench.experiments.experiment import Experiment
from irbench.experiments.objects import Named, is_vectors
from irbench.protocols import Retriever
from irbench.results.trec.entries import strictly_decreasing
from irbench.retrievers.checked import as_ranking
from irbench.runtime import libraries
from irbench.runtime.progress import quiet

_NAME = "mteb"  # of a benchmark that is not there: tasks bring the gallery and the queries
_PUBLISHED = "paper"  # the scale of methods that are used as they were published
_OF_THE_TASK = ("crop", "protocol", "max_queries", "incremental", "results")
_AT_ONCE = 256  # queries for which the whole gallery is ranked
_Found = dict[str, dict[str, float]]  # of each query the scores of documents, by their ids


class MtebRetriever:
    """A method of irbench as a model of MTEB: `mteb.evaluate(irbench.MtebRetriever("clip"), tasks)`.

    It keeps MTEB's `SearchProtocol` (mteb: models/models_protocols.py), for tasks whose queries and documents are
    images. The method is trained when the first corpus is indexed, as `irbench.evaluate` trains it, and taken from the
    work folder where it has been trained before. Scores decrease strictly, so that MTEB, which sorts equal ones by the
    ids of the documents, ranks as the method does.

    Args:
        method: what `irbench.evaluate` takes, but for arrays of vectors.
        train: what to train on: a `Benchmark`, whose other images are not looked at, or an `ImageSet`. None for methods
            that are used as they were published.
        search: what completes an encoder; "linear" by default.
        identifier: of a method that generates identifiers.
        scale: by default that of the benchmark, and "paper" where nothing is trained.
        seed: of the training.
        device: "auto", "cpu" or "cuda".
        name: what an object is called.
        top_k: most results for a query. MTEB asks for 1,000, and IRGen searches by as many beams unless its `beam_size`
            is set.
        progress: show bars.
        **options: `work`, `precision`, `weights`, `epochs`, `set` and others of `irbench.Options`.
    """

    def __init__(  # noqa: PLR0913 -- as those of `evaluate`
        self,
        method: Any,
        train: Benchmark | ImageSet | None = None,
        *,
        search: Any = None,
        identifier: str | None = None,
        scale: str | None = None,
        seed: int = 0,
        device: str = "auto",
        name: str | None = None,
        top_k: int | None = None,
        progress: bool = True,
        **options: Unpack[Options],
    ) -> None:
        libraries.mteb()
        if unused := [one for one in _OF_THE_TASK if one in options]:
            raise UsageError(f"{', '.join(unused)}: the task decides, or the benchmark", code="unused-option")
        if is_vectors(method):
            raise UsageError("arrays of vectors are of known images; give an encoder", code="not-a-method")
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k={top_k!r}: a whole number from 1 is needed", code="bad-value")
        benchmark = _benchmark(train)
        scale = scale or (_PUBLISHED if train is None else None)
        given = checked(identifier=identifier, scale=scale, seed=seed, device=device, progress=progress,
                        crop=benchmark.crop, protocol=benchmark.protocol, **options)  # fmt: skip
        (self._experiment,) = cells_of((Named.of(method, name) or method,), (benchmark,), search, given)
        self._trains, self._top_k, self._progress = train is not None, top_k, progress
        self._documents: Sequence[str] = ()

    @property
    def experiment(self) -> Experiment:
        """The method as it is trained."""
        return self._experiment

    @cached_property
    def mteb_model_meta(self) -> Any:
        """Name and revision under which MTEB stores scores; the revision is a digest of all that decides a ranking."""
        from mteb.models.model_meta import ModelMeta

        settings = {"name": f"irbench/{self._experiment.cell.label}", "revision": self._experiment.inputs}
        limits = {"experiment_kwargs": {"top_k": self._top_k}} if self._top_k else {}
        return ModelMeta.create_empty(overwrites=settings | {"modalities": ["image"]} | limits)

    @cached_property
    def _retriever(self) -> Retriever:
        """The method, trained if there is anything to train on."""
        return self._experiment.trained() if self._trains else self._experiment.untrained()

    def index(self, corpus: Any, **task: Any) -> None:  # noqa: ARG002 -- the same for every task
        """Index the images of a corpus (`datasets.Dataset` with columns "id" and "image"), in place of any earlier."""
        gallery = image_set(corpus, "gallery")
        with quiet(on=not self._progress):
            try:
                self._retriever.index(gallery)
            except ContractError as error:
                if error.code != "not-trained" or self._trains:
                    raise
                raise UsageError(
                    f"{self._experiment.cell.name} has to be trained first: give images, as in "
                    'MtebRetriever(…, train=irbench.load_dataset("cub200"))',
                    code="not-trained",
                ) from error
        self._documents = gallery.ids

    def search(
        self,
        queries: Any,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **task: Any,  # noqa: ARG002 -- the same for every task
    ) -> _Found:
        """Return the scores of at most `top_k` documents for each query, where the task re-ranks of `top_ranked`."""
        if not self._documents:
            raise ContractError("MtebRetriever.search was called before index", code="not-indexed")
        images, size = image_set(queries, "queries"), len(self._documents)
        k = min(top_k if self._top_k is None else min(top_k, self._top_k), size)
        with quiet(on=not self._progress):
            if top_ranked is None:
                found = self._ranked(images, k)
            else:
                parts = (images.take(np.arange(len(images))[rows]) for rows in shards.cuts(len(images), _AT_ONCE))
                found = Ranking.stack([self._ranked_among(part, top_ranked).widened(k).cut(k) for part in parts])
        return dict(zip(images.ids, self._scores(found), strict=True))

    def _ranked(self, images: ImageSet, k: int) -> Ranking:
        return as_ranking(self._retriever.search(images, k), self._retriever, len(images)).cut(k)

    def _ranked_among(self, images: ImageSet, candidates: Mapping[str, Sequence[str]]) -> Ranking:
        """Return the ranking of the whole gallery without what is no candidate of a query."""
        ranking, row_of = self._ranked(images, len(self._documents)), self._row_of
        rows = np.full_like(ranking.rows, MISSING)
        for query, id_ in enumerate(images.ids):
            listed = [row_of[document] for document in candidates.get(id_, ())]
            np.copyto(rows[query], ranking.rows[query], where=np.isin(ranking.rows[query], listed))
        return Ranking.from_topk(rows, ranking.scores)

    @property
    def _row_of(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self._documents)}

    def _scores(self, ranking: Ranking) -> list[dict[str, float]]:
        scores = strictly_decreasing(ranking.scores)
        return [
            {self._documents[row]: float(score) for row, score in zip(found, of_query, strict=True) if row != MISSING}
            for found, of_query in zip(ranking.rows.tolist(), scores, strict=True)
        ]


def _benchmark(train: Benchmark | ImageSet | None) -> Benchmark:
    """Return a benchmark with these training images; its gallery and queries are not used where it is made here."""
    if isinstance(train, Benchmark):
        return train
    if train is not None and not isinstance(train, ImageSet):
        raise UsageError(
            f"train: a {type(train).__name__} is no Benchmark and no ImageSet; see irbench.load_dataset",
            code="bad-value",
        )
    images = _nothing() if train is None else train
    return Benchmark(
        name=_NAME, protocol="closed-set", crop="none", train=images, gallery=images, queries=images, ks=(1,), top_k=1
    )


def _nothing() -> ImageSet:
    """Return one black pixel, in place of images that nobody looks at."""
    black = np.zeros((1, 1, 1, 3), np.uint8)
    return ImageSet(name="train", ids=("none",), labels=np.zeros(1, np.int64), arrays=black)
