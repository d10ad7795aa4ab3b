"""Batches of uint8 images for the training loop, on the device that trains."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from irbench.core.errors import RecipeError
from irbench.data import shards
from irbench.data.pixels import Pixels
from irbench.networks.backbones import to_device
from irbench.runtime.machine import Runtime
from irbench.training.config import TrainingConfig
from irbench.training.parallel import Part

_SHARE_OF_DEVICE = 0.4  # of the free device memory, for the decoded training set
_COPIED = 4096  # images that are copied to the device at a time


class Feed:
    """Shuffled batches (uint8 images [B,H,H,3], rows [B]) of a decoded training set.

    On a GPU the whole set is copied to device memory where it fits; otherwise a thread loads the next batch while the
    network is busy with the current one.
    """

    def __init__(
        self,
        images_uint8: Pixels,
        labels: NDArray[np.int64],
        config: TrainingConfig,
        runtime: Runtime,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Feed the images at `rows` of the set, by default all of them."""
        self.images_uint8, self.labels, self.config = images_uint8, labels, config
        self.rows = np.arange(len(labels)) if rows is None else rows
        if config.per_class > config.batch:
            raise RecipeError(f"per_class = {config.per_class} is larger than batch = {config.batch}", code="bad-value")
        self.device = torch.device(runtime.device)
        size = math.prod(images_uint8.shape)
        fits = self.device.type == "cuda" and size < _SHARE_OF_DEVICE * _free_memory()
        self._resident = _on_device(images_uint8, self.device) if fits else None

    @property
    def batches(self) -> int:
        """Number of batches in an epoch."""
        return max(1, round(len(self.rows) / self.config.batch))

    def epoch(self, generator: Generator, *, skip: int = 0) -> Iterator[tuple[Tensor, Tensor, Part]]:
        """Yield the batches of one epoch after the first `skip`; with `per_class`, of few images of many classes.

        Of each only the part that this process computes, and which part that is.
        """
        batches = list(self.batch_rows(generator))[skip:]
        parts = [Part.of(len(rows)) for rows in batches]
        own = self.in_order([rows[part.rows] for rows, part in zip(batches, parts, strict=True)])
        yield from ((*batch, part) for batch, part in zip(own, parts, strict=True))

    def in_order(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a batch for each array of rows; the next one is loaded in the background."""
        with ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self._load, rows) for rows in batches[:1]]
            for rows in batches[1:]:
                ready, waiting = waiting[0], [ahead.submit(self._load, rows)]
                yield ready.result()
            yield from (last.result() for last in waiting)

    def batch_rows(self, generator: Generator) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each batch: equal parts of the shuffled set, or `per_class` images of random classes."""
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

    def _load(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        on_device = to_device(torch.from_numpy(rows), self.device)
        if self._resident is not None:
            return self._resident[on_device], on_device
        return to_device(torch.from_numpy(self.images_uint8[rows]), self.device), on_device


def _on_device(images_uint8: Pixels, device: torch.device) -> Tensor:
    """Return all images [N,H,H,3] in the device's memory, where they are copied batch by batch."""
    resident = torch.empty(images_uint8.shape, dtype=torch.uint8, device=device)
    for rows in shards.cuts(len(images_uint8), _COPIED):
        resident[rows] = torch.from_numpy(images_uint8[np.arange(rows.start, rows.stop)]).to(device)
    return resident


def _some(rows: NDArray[np.int64], count: int, generator: Generator) -> NDArray[np.int64]:
    """Draw up to `count` of `rows`, each at most once."""
    return rows[torch.randperm(len(rows), generator=generator)[:count].numpy()]


def _free_memory() -> int:
    return int(torch.cuda.mem_get_info()[0])
