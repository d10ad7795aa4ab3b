"""Searches a gallery with images of one's own: the retrieved images, and the identifier generated for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError, UsageError
from irbench.core.ranking import MISSING
from irbench.data.sources import Source
from irbench.experiments.experiment import Experiment
from irbench.protocols import Generative, Trainable
from irbench.runtime.machine import seed_everything, use_threads


@dataclass(frozen=True, kw_only=True)
class RetrievedImage:
    """A gallery image that was found."""

    rank: int  # from 1
    row: int  # of the gallery
    image: str
    label: int | None  # None where the images have none
    class_name: str | None  # the label itself, where the data set does not name its classes
    score: float
    identifier: tuple[int, ...] | None  # the codes that led to it, where the retriever generates identifiers


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """A query image and what was found for it, best first."""

    image: str
    results: tuple[RetrievedImage, ...]
    asked: int  # results that were asked for
    skipped: str = ""  # why it was not searched for (--on-bad-image skip)


def search(experiment: Experiment, images: Sequence[Path], k: int) -> list[Retrieved]:
    """Return up to `k` gallery images for each image file; the retriever is trained first unless it has been before."""
    images = list(dict.fromkeys(images))
    for image in images:
        if not image.is_file():
            raise UsageError(f"{image}: no such file; name image files to ask about", code="no-such-file")
    unreadable = _unreadable(images)
    first = next(iter(unreadable.values()), None)
    if first is not None and (experiment.settings.on_bad_image != "skip" or len(unreadable) == len(images)):
        raise first
    asked, images = images, [image for image in images if image not in unreadable]
    use_threads(experiment.runtime.threads)
    seed_everything(experiment.cell.seed)
    retriever, benchmark = experiment.builder.retriever(), experiment.benchmark
    if isinstance(retriever, Trainable):
        retriever.train(benchmark.train)
    retriever.index(benchmark.gallery)
    queries = _as_queries(images, mirror=benchmark.queries.mirror)
    ranking = retriever.search(queries, min(k, len(benchmark.gallery)))
    codes = retriever.identifiers().codes.tolist() if isinstance(retriever, Generative) else None

    def images_at(rows: Sequence[int], scores: Sequence[float]) -> Iterator[RetrievedImage]:
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1):
            if row != MISSING:
                yield RetrievedImage(
                    rank=rank,
                    row=row,
                    image=benchmark.gallery.ids[row],
                    label=(label := int(benchmark.gallery.labels[row]) if benchmark.labelled else None),
                    class_name=None if label is None else _class_name(benchmark, label),
                    score=score,
                    identifier=tuple(codes[row]) if codes else None,
                )

    places = {image: place for place, image in enumerate(images)}
    return [
        Retrieved(
            image=str(image), results=(), asked=k, skipped=str(unreadable[image]).partition("; --on-bad-image")[0]
        )
        if image in unreadable
        else Retrieved(
            image=str(image),
            results=tuple(images_at(*(array[places[image]].tolist() for array in (ranking.rows, ranking.scores)))),
            asked=k,
        )
        for image in asked
    ]


def _class_name(benchmark: Benchmark, label: int) -> str:
    return benchmark.class_names[label] if benchmark.class_names else str(label)


def _unreadable(images: Sequence[Path]) -> dict[Path, DataError]:
    """Return the images that cannot be decoded, and why."""
    found = {}
    for image in images:
        try:
            Source(_as_queries([image], mirror=False)).image(0)
        except DataError as error:
            found[image] = error
    return found


def _as_queries(images: Sequence[Path], *, mirror: bool) -> ImageSet:
    """The files as queries; nobody knows their classes."""
    ids = tuple(str(image.absolute()) for image in images)
    return ImageSet(name="queries", ids=ids, labels=np.zeros(len(ids), np.int64), mirror=mirror)
