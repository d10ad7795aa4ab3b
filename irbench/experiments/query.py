"""Asks a retriever about images of one's own: the answers, and the identifier that was written for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irbench.core.benchmark import ImageSet
from irbench.core.errors import UsageError
from irbench.core.ranking import MISSING
from irbench.experiments.run import Experiment
from irbench.protocols import Generative, Trainable
from irbench.runtime.machine import seed_everything, use_threads


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A gallery image that was found."""

    rank: int  # from 1
    row: int  # of the gallery
    image: str
    label: int
    score: float
    identifier: tuple[int, ...] | None  # the codes that led to it, where the retriever writes identifiers


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A query image and what was found for it, best first."""

    image: str
    answers: tuple[Answer, ...]


def ask(experiment: Experiment, images: Sequence[Path], k: int) -> list[Answered]:
    """Return up to `k` answers for each image file, from a retriever that is trained now unless it has been before."""
    images = list(dict.fromkeys(images))
    for image in images:
        if not image.is_file():
            raise UsageError(f"{image}: no such file; name image files to ask about")
    use_threads(experiment.runtime.threads)
    seed_everything(experiment.cell.seed)
    retriever, benchmark = experiment.builder.retriever(), experiment.benchmark
    if isinstance(retriever, Trainable):
        retriever.train(benchmark.train)
    retriever.index(benchmark.gallery)
    ranking = retriever.search(_asked(images, mirror=benchmark.queries.mirror), min(k, len(benchmark.gallery)))
    codes = retriever.identifiers().codes.tolist() if isinstance(retriever, Generative) else None

    def answers(rows: Sequence[int], scores: Sequence[float]) -> Iterator[Answer]:
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1):
            if row != MISSING:
                yield Answer(
                    rank=rank,
                    row=row,
                    image=benchmark.gallery.ids[row],
                    label=int(benchmark.gallery.labels[row]),
                    score=score,
                    identifier=tuple(codes[row]) if codes else None,
                )

    found = zip(images, ranking.rows.tolist(), ranking.scores.tolist(), strict=True)
    return [Answered(image=str(image), answers=tuple(answers(rows, scores))) for image, rows, scores in found]


def _asked(images: Sequence[Path], *, mirror: bool) -> ImageSet:
    """The files as queries; nobody knows their classes."""
    ids = tuple(str(image.absolute()) for image in images)
    return ImageSet(name="queries", ids=ids, labels=np.zeros(len(ids), np.int64), mirror=mirror)
