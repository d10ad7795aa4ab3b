"""The one training loop: for the fine-tuned encoders, the tokenizer and the decoder.

Chance is a function of (seed, epoch): each epoch starts its own generators, so a run that goes on from a checkpoint
learns the same model as one that was never stopped.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from irbench.collection import ImageSet
from irbench.errors import RecipeError
from irbench.images import View, pixels
from irbench.machine import Runtime, code_digest, seed_everything
from irbench.progress import track
from irbench.store import Entry, Key
from irbench.training.augment import augment
from irbench.training.checkpoint import Checkpoint, tensors
from irbench.training.config import TrainingConfig
from irbench.training.feed import Feed
from irbench.training.optim import make_optimizer, make_scheduler

_CHECKPOINT_EVERY = 30.0  # seconds; one is written at the end of the first epoch after that


class Task:
    """What the loop trains: a module, the loss of a batch, and what happens around the epochs (nothing, by default)."""

    name: str
    module: nn.Module
    body: nn.Module  # the part of the module that may be pretrained, and learns at its own rate
    classes: Tensor | None = None  # [N] class of every training image, for tasks that ask; on the device that learns

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Loss of pictures [B,3,S,S] (floats, 0 to 255) that are `rows` [B] of the training set."""
        raise NotImplementedError

    def target(self, rows: Tensor) -> Tensor:
        """Classes [B] of training images `rows`."""
        if self.classes is None:
            raise NotImplementedError("a task that asks for classes sets them")
        return self.classes[rows]

    def start(self) -> None:
        """Prepare the module before its first epoch."""

    def end_epoch(self) -> None:
        """Change what stands still within an epoch, such as codebooks; only the module outlives a kill."""

    def finish(self) -> None:
        """Complete the module after its last epoch."""


def learn(task: Task, images: ImageSet, config: TrainingConfig, runtime: Runtime, *, also: object = None) -> Entry:
    """Train `task`, or take up what an equal recipe, data set and seed has learnt before; it is left ready to use.

    `also` is a JSON value for anything else that the outcome depends on. The entry returned holds model.safetensors
    and history.json, the mean loss of each epoch.
    """
    pictures = pixels(images, View(config.decoded_side, config.fit), runtime)
    facts = {
        "task": task.name,
        "config": {key: value for key, value in asdict(config).items() if key not in config.answering},
        "images": [images.fingerprint, pictures.content, images.mirror],
        "runtime": [runtime.seed, runtime.device, runtime.precision],
        "code": code_digest(type(task)),
        "also": also,
    }
    key = Key("model", facts)

    def train(folder: Path) -> float:
        checkpoint = Checkpoint(runtime.store.scratch(key) / "checkpoint.safetensors")
        run = _Run(task, Feed(pictures, images.labels, config, runtime), config, runtime, checkpoint)
        earlier = run.progress.seconds
        run.to_the_end(mirror=images.mirror)
        save_file(tensors(task.module), folder / "model.safetensors")
        (folder / "history.json").write_text(json.dumps({"loss": run.progress.losses}))
        return earlier

    entry = runtime.store.ensure(key, train, stage="train")
    task.module.load_state_dict(load_file(entry.path / "model.safetensors"))
    task.module.to(runtime.device).eval()
    return entry


class _Run:
    """One training, from its last checkpoint to its last epoch."""

    def __init__(
        self, task: Task, feed: Feed, config: TrainingConfig, runtime: Runtime, checkpoint: Checkpoint
    ) -> None:
        self.task, self.feed, self.config, self.runtime, self.checkpoint = task, feed, config, runtime, checkpoint
        task.module.to(runtime.device)
        if task.classes is not None:
            task.classes = task.classes.to(runtime.device)
        self.optimizer = make_optimizer(task.module, task.body, config)
        self.scheduler = make_scheduler(self.optimizer, config, feed.batches)
        self.progress = checkpoint.load(task.module, self.optimizer)

    def to_the_end(self, *, mirror: bool) -> None:
        """Train the epochs that are left, with a checkpoint at most every half minute."""
        if not self.progress.losses:
            self.task.start()
        epochs = range(len(self.progress.losses), self.config.epochs)
        steps = len(epochs) * self.feed.batches
        self._bar = track(range(steps), f"train {self.task.name}", total=steps)
        saved = perf_counter()
        for epoch in epochs:
            self.progress.losses.append(self._epoch(epoch, mirror=mirror))
            if (since := perf_counter() - saved) > _CHECKPOINT_EVERY:
                self.progress.seconds += since
                self.checkpoint.save(self.task.module, self.optimizer, self.progress)
                saved = perf_counter()
        next(self._bar, None)  # which takes it away
        self.task.finish()

    def _epoch(self, epoch: int, *, mirror: bool) -> float:
        seed = 1_000_003 * self.runtime.seed + epoch
        seed_everything(seed)
        generator = Generator().manual_seed(seed)
        self.task.module.train()
        total = torch.zeros((), device=self.runtime.device)  # read once an epoch: a GPU is never waited for in between
        for step, (pictures, rows) in enumerate(self.feed.epoch(generator)):
            self.scheduler.step_update(epoch * self.feed.batches + step)
            next(self._bar, None)
            total += self._step(augment(pictures, self.config, generator, mirror=mirror), rows)
        loss = float(total) / self.feed.batches
        if not math.isfinite(loss):
            raise RecipeError(f"training of {self.task.name} diverged in epoch {epoch + 1}; lower lr in its recipe")
        self.task.end_epoch()
        return loss

    def _step(self, images: Tensor, rows: Tensor) -> Tensor:
        with self.runtime.autocast():
            loss = self.task.loss(images, rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_gradient:
            nn.utils.clip_grad_norm_(self.task.module.parameters(), self.config.clip_gradient)
        self.optimizer.step()
        return loss.detach()
