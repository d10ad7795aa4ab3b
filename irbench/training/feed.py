"""Batches of pictures for the training loop, as bytes on the device that learns."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from irbench.core.errors import RecipeError
from irbench.data.pixels import Pixels
from irbench.networks.backbones import sent
from irbench.runtime.machine import Runtime
from irbench.training.config import TrainingConfig

_SHARE_OF_DEVICE = 0.4  # of the free device memory may hold the decoded training set


class Feed:
    """Shuffled batches (pictures [B,H,H,3] uint8, rows [B]) of a decoded training set.

    On a GPU the whole set is kept as bytes in device memory where it fits; elsewhere a thread gathers the next batch
    while the network is busy with this one.
    """

    def __init__(
        self,
        pictures: Pixels,
        labels: NDArray[np.int64],
        config: TrainingConfig,
        runtime: Runtime,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Feed the images at `rows` of the set, by default all."""
        self.pictures, self.labels, self.config = pictures, labels, config
        self.rows = np.arange(len(labels)) if rows is None else rows
        if config.per_class > config.batch:
            raise RecipeError(f"per_class = {config.per_class} images of a class do not fit batch = {config.batch}")
        self.device = torch.device(runtime.device)
        array = pictures.array
        fits = array is not None and self.device.type == "cuda" and array.nbytes < _SHARE_OF_DEVICE * _free_memory()
        self._resident = torch.from_numpy(np.array(array)).to(self.device) if fits else None

    @property
    def batches(self) -> int:
        """Number of batches in an epoch."""
        return max(1, round(len(self.rows) / self.config.batch))

    def epoch(self, generator: Generator, *, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch after the first `skip`; with `per_class`, few images of many classes each."""
        yield from self.in_turn(list(self._parts(generator))[skip:])

    def in_turn(self, parts: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of these rows of the set."""
        with ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self._gather, part) for part in parts[:1]]
            for part in parts[1:]:
                ready, waiting = waiting[0], [ahead.submit(self._gather, part)]
                yield ready.result()
            yield from (last.result() for last in waiting)

    def _parts(self, generator: Generator) -> Iterator[NDArray[np.int64]]:
        """Rows of each batch: the shuffled set in equal parts, or `per_class` images of each of some classes."""
        if not self.config.per_class:
            shuffled = self.rows[torch.randperm(len(self.rows), generator=generator).numpy()]
            yield from np.array_split(shuffled, self.batches)
            return
        labels = self.labels[self.rows]
        ends = np.cumsum(np.unique(labels, return_counts=True)[1])
        members = np.split(self.rows[np.argsort(labels, kind="stable")], ends[:-1])
        for _ in range(self.batches):
            classes = torch.randperm(len(members), generator=generator)[: self.config.batch // self.config.per_class]
            drawn = [_some(members[int(c)], self.config.per_class, generator) for c in classes]
            yield np.concatenate(drawn)

    def _gather(self, part: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        rows = sent(torch.from_numpy(part), self.device)
        if self._resident is not None:
            return self._resident[rows], rows
        return sent(torch.from_numpy(self.pictures[part]), self.device), rows


def _some(rows: NDArray[np.int64], count: int, generator: Generator) -> NDArray[np.int64]:
    """Draw up to `count` of `rows`, each at most once."""
    return rows[torch.randperm(len(rows), generator=generator)[:count].numpy()]


def _free_memory() -> int:
    return int(torch.cuda.mem_get_info()[0])
