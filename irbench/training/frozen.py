"""The epochs before the others, in which the backbone is frozen; they cost little, since its outputs are kept.

What stands on a pretrained network is random at first, and its gradients would spoil the network. So it is trained
alone for some epochs, on the backbone's outputs for the center crops of the images, which are computed once.

Shape letters: N training images, T tokens, D dimensions.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from irbench.networks.backbones import BATCH, center_crop, to_device
from irbench.runtime.machine import Runtime
from irbench.runtime.progress import track
from irbench.training.checkpoint import load_moments
from irbench.training.config import TrainingConfig
from irbench.training.feed import Feed
from irbench.training.optim import descend, make_optimizer, make_scheduler
from irbench.training.parallel import current

if TYPE_CHECKING:
    from irbench.training.loop import Task


@dataclass(frozen=True)
class FrozenEpochs:
    """The epochs of a training in which the backbone is frozen.

    The backbone's outputs are kept in `folder` until the training ends, so that one that was killed has them already.
    Of several processes the first one computes them; what is left is little, and all do the same.
    """

    task: "Task"
    feed: Feed
    config: TrainingConfig
    runtime: Runtime
    folder: Path
    seed: Callable[[int, int], int]  # seeds all random numbers for an epoch and a step, and returns the seed

    def run(self, done: int, saved: Mapping[str, Tensor]) -> Iterator[tuple[float, torch.optim.Optimizer]]:
        """Train all of the module but the backbone; after each epoch yield its mean loss, and the optimiser.

        Some epochs may be `done` already; `saved` are the `moments` of the optimiser after these.
        """
        task, runtime = self.task, self.runtime
        short = replace(self.config, epochs=self.config.frozen_epochs)
        left = range(done, short.epochs)
        if not left:
            return
        kept = self._kept()
        with frozen(task.backbone):
            optimizer = make_optimizer(task.module, task.backbone, short)
            load_moments(optimizer, saved)
            scheduler = make_scheduler(optimizer, short, self.feed.batches)
            for epoch in track(left, f"train {task.name}, backbone frozen", total=len(left)):
                task.module.train()
                task.backbone.eval()
                number = self.config.epochs + 1 + epoch  # of the random numbers: not those of the epochs that follow
                order = list(self.feed.batch_rows(Generator().manual_seed(self.seed(number, 0))))
                total = torch.zeros((), device=runtime.device)
                for step, rows in enumerate(order):
                    scheduler.step_update(epoch * self.feed.batches + step)
                    self.seed(number, step + 1)
                    tokens = to_device(torch.from_numpy(kept[rows]).float(), runtime.device)
                    with runtime.autocast():
                        loss = task.loss_of_tokens(tokens, to_device(torch.from_numpy(rows), runtime.device))
                    total += descend(loss, optimizer, task.module, short.clip_gradient)
                task.end_epoch()
                yield float(total) / len(order), optimizer

    def _kept(self) -> NDArray[np.float16]:
        """Return the backbone's outputs [N,T,D], once the first process has them."""
        if not current().first:
            current().hear()
        kept = _outputs(self.task.backbone, self.feed, self.config, self.runtime, self.folder / "outputs.npy")
        if current().first:
            current().say("the outputs are there")
        return kept


@contextmanager
def frozen(backbone: nn.Module) -> Iterator[None]:
    """Let the backbone learn nothing for a while."""
    learning = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad = True


@torch.inference_mode()
def _outputs(
    backbone: nn.Module, feed: Feed, config: TrainingConfig, runtime: Runtime, path: Path
) -> NDArray[np.float16]:
    """Return the backbone's outputs [N,T,D] for the center crops of all images, in a file that is written once."""
    if path.is_file():
        return np.load(path, mmap_mode="r")
    backbone.eval()
    N = len(feed.labels)
    batches = [np.arange(start, min(start + BATCH, N)) for start in range(0, N, BATCH)]

    def encoded() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        for images_uint8, rows in track(feed.in_order(batches), "encode train", total=len(batches)):
            with runtime.autocast():
                tokens = backbone(center_crop(images_uint8, config.image_size))
            yield rows.cpu().numpy(), tokens.half().cpu().numpy()

    found, unfinished = encoded(), path.with_suffix(".new")
    first = next(found)
    kept = open_memmap(unfinished, mode="w+", dtype=np.float16, shape=(N, *first[1].shape[1:]))
    for rows, tokens in chain([first], found):
        kept[rows] = tokens
    kept.flush()
    unfinished.replace(path)
    return kept
