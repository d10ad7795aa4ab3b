"""The one training loop: for the fine-tuned encoders, the tokenizer and the decoder.

Chance is a function of (seed, epoch, step), so a run that goes on from a checkpoint, in the middle of an epoch too,
learns the same model as one that was never stopped.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from irbench.core.benchmark import ImageSet
from irbench.core.errors import ContractError, RecipeError
from irbench.data.pixels import View, pixels
from irbench.networks.backbones import centre
from irbench.runtime.cache import Entry, Key
from irbench.runtime.code import code_digest
from irbench.runtime.machine import Runtime, seed_everything
from irbench.runtime.progress import track
from irbench.training.augment import augment
from irbench.training.checkpoint import Checkpoint, Progress, moments, put_moments, tensors
from irbench.training.config import TrainingConfig
from irbench.training.feed import Feed
from irbench.training.optim import make_optimizer, make_scheduler
from irbench.training.validation import held_out

_CHECKPOINT_EVERY = 30.0  # seconds, or as long as keeps the writing below …
_CHECKPOINT_SHARE = 0.03  # … this share of the time


class Task:
    """What the loop trains: a module, the loss of a batch, and what happens around the epochs (nothing, by default)."""

    name: str
    module: nn.Module
    backbone: nn.Module  # the part of the module that may be pretrained, and learns at its own rate
    classes: Tensor | None = None  # [N] class of every training image, for tasks that ask; on the device that learns

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Loss of pictures [B,3,S,S] (floats, 0 to 255) that are `rows` [B] of the training set."""
        raise NotImplementedError

    def validation_loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Loss of pictures that are held out; unlike `loss` it may change nothing. `rows` come sorted by class."""
        return self.loss(images, rows)

    def target(self, rows: Tensor) -> Tensor:
        """Classes [B] of training images `rows`."""
        if self.classes is None:
            raise ContractError("a task that asks for classes sets them")
        return self.classes[rows]

    def start(self) -> None:
        """Prepare the module before its first epoch."""

    def end_epoch(self) -> None:
        """Change what stands still within an epoch, such as codebooks."""

    def finish(self) -> None:
        """Complete the module after its last epoch."""

    def state(self) -> Mapping[str, Tensor]:
        """What the task carries from step to step beside its module; it outlives a kill, and nothing else does."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` returned before a kill, on the CPU now."""


@dataclass(frozen=True)
class TrainedModel:
    """What a training has left in the store: model.safetensors and history.json."""

    task: str
    entry: Entry

    @property
    def content(self) -> str:
        """SHA-256 of the trained model."""
        return self.entry.hashes["model.safetensors"]

    @cached_property
    def training(self) -> dict[str, dict[str, object]]:
        """For `Description.details["training"]`: loss of each epoch, validation where there was one, and seconds."""
        curves = json.loads((self.entry.path / "history.json").read_text())
        rounded = {name: [float(f"{value:.5g}") for value in values] for name, values in curves.items() if values}
        return {self.task: {**rounded, "seconds": round(self.entry.seconds, 1)}}


def train(
    task: Task, images: ImageSet, config: TrainingConfig, runtime: Runtime, *, also: object = None
) -> TrainedModel:
    """Train `task`, or take up what an equal recipe, data set and seed has learnt before; it is left ready to use.

    `also` is a JSON value for anything else that the outcome depends on.
    """
    pictures = pixels(images, View(config.resize_size, config.fit), runtime)
    facts = {
        "task": task.name,
        "config": {key: value for key, value in asdict(config).items() if key not in config.answering},
        "images": [images.fingerprint, pictures.content, images.mirror],
        "runtime": [runtime.seed, runtime.device, runtime.precision],
        "code": code_digest(type(task), Task),
        "also": also,
    }
    key = Key("model", facts)

    def train(folder: Path) -> float:
        checkpoint = Checkpoint(runtime.store.scratch(key) / "checkpoint.safetensors")
        aside = held_out(images.labels, config.validation_share, runtime.seed)
        rest = np.setdiff1d(np.arange(len(images)), aside)
        run = _Run(task, Feed(pictures, images.labels, config, runtime, rest), config, runtime, checkpoint)
        earlier = run.progress.seconds
        run.to_the_end(aside, mirror=images.mirror)
        save_file(tensors(task.module), folder / "model.safetensors")
        curves = {"loss": run.progress.losses, "validation": run.progress.validation}
        (folder / "history.json").write_text(json.dumps(curves))
        return earlier

    entry = runtime.store.ensure(key, train, span="train")
    task.module.load_state_dict(load_file(entry.path / "model.safetensors"))
    task.module.to(runtime.device).eval()
    return TrainedModel(task.name, entry)


class _Run:
    """One training, from its last checkpoint to its last epoch."""

    def __init__(
        self, task: Task, feed: Feed, config: TrainingConfig, runtime: Runtime, checkpoint: Checkpoint
    ) -> None:
        self.task, self.feed, self.config, self.runtime, self.checkpoint = task, feed, config, runtime, checkpoint
        task.module.to(runtime.device)
        if task.classes is not None:
            task.classes = task.classes.to(runtime.device)
        self.optimizer = make_optimizer(task.module, task.backbone, config)
        self.scheduler = make_scheduler(self.optimizer, config, feed.batches)
        self.total = torch.zeros((), device=runtime.device)  # of the running epoch; a GPU is not waited for to read it
        self.best: Mapping[str, Tensor] = {}  # the module as it was at its best validation, where one is chosen
        self.progress = self._resume()
        self._saved, self._pause = perf_counter(), _CHECKPOINT_EVERY

    def to_the_end(self, aside: NDArray[np.int64], *, mirror: bool) -> None:
        """Train the epochs that are left, judged by the images held out at rows `aside`, where there are any."""
        self.aside = aside
        if not self.progress.losses and not self.progress.step:
            self._draw(0, 0)
            self.task.start()
        steps = (self.config.epochs - len(self.progress.losses)) * self.feed.batches - self.progress.step
        self._bar = track(range(steps), f"train {self.task.name}", total=steps)
        while len(self.progress.losses) < self.config.epochs and not self._gave_up:
            self._epoch(len(self.progress.losses), mirror=mirror)
        self._bar.close()  # type: ignore[attr-defined]  # a generator, whose end takes the bar away
        if self.best:
            self.task.module.load_state_dict(self.best)
        self._draw(self.config.epochs, 0)
        self.task.finish()

    @property
    def _gave_up(self) -> bool:
        return bool(self.config.patience) and self.progress.stale >= self.config.patience

    def _epoch(self, epoch: int, *, mirror: bool) -> None:
        self.task.module.train()
        order = Generator().manual_seed(self._chance(epoch, 0))
        for pictures, rows in self.feed.epoch(order, skip=self.progress.step):
            self.scheduler.step_update(epoch * self.feed.batches + self.progress.step)
            self.progress.step += 1
            self._draw(epoch, self.progress.step)
            self.total += self._step(augment(pictures, self.config, torch.default_generator, mirror=mirror), rows)
            next(self._bar, None)
            self._save_in_time()
        self._draw(epoch, self.feed.batches + 1)
        loss = self._known(float(self.total) / self.feed.batches)
        self.task.end_epoch()
        self._validate(epoch)
        self.progress.losses.append(loss)
        self.progress.step = 0
        self.total.zero_()
        self._save_in_time()

    def _step(self, images: Tensor, rows: Tensor) -> Tensor:
        with self.runtime.autocast():
            loss = self.task.loss(images, rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_gradient:
            nn.utils.clip_grad_norm_(self.task.module.parameters(), self.config.clip_gradient)
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Take the loss on the images held out: the middle of each, always with the same chance."""
        if not len(self.aside) or ((epoch + 1) % self.config.validate_every and epoch + 1 < self.config.epochs):
            return
        self.task.module.eval()
        self._draw(self.config.epochs, 1)
        total = torch.zeros((), device=self.runtime.device)
        parts = np.array_split(self.aside, math.ceil(len(self.aside) / self.config.batch))
        for pictures, rows in self.feed.in_turn(parts):
            with self.runtime.autocast():
                total += len(rows) * self.task.validation_loss(centre(pictures, self.config.image_size), rows)
        self.progress.validation.append(self._known(float(total) / len(self.aside)))
        if self.config.patience and not self.progress.stale:
            self.best = tensors(self.task.module)

    def _known(self, loss: float) -> float:
        if not math.isfinite(loss):
            epoch = len(self.progress.losses) + 1
            raise RecipeError(f"training of {self.task.name} diverged in epoch {epoch}; lower lr in its recipe")
        return loss

    def _chance(self, epoch: int, step: int) -> int:
        """32 random bits for one step: more would not reach torch's generator on the CPU."""
        return int(np.random.SeedSequence([self.runtime.seed, epoch, step]).generate_state(1)[0])

    def _draw(self, epoch: int, step: int) -> None:
        """Let everything that is random from now on follow from the seed and this place in the training."""
        seed_everything(self._chance(epoch, step))

    def _save_in_time(self) -> None:
        """Write a checkpoint if the last one is long ago; the longer writing takes, the rarer it is."""
        start = perf_counter()
        if start - self._saved < self._pause:
            return
        self._known(float(self.total))
        self.progress.seconds += start - self._saved
        parts = {
            "module": tensors(self.task.module),
            "optimizer": moments(self.optimizer),
            "task": self.task.state(),
            "best": self.best,
            "run": {"total": self.total},
        }
        self.checkpoint.save(parts, self.progress)
        self._saved = perf_counter()
        self._pause = max(_CHECKPOINT_EVERY, (self._saved - start) / _CHECKPOINT_SHARE)
        self.progress.seconds += self._saved - start

    def _resume(self) -> Progress:
        """Put everything where it stopped and return how far that was; nowhere, if nothing was saved."""
        saved = self.checkpoint.load()
        if saved is None:
            return Progress()
        parts, progress = saved
        self.task.module.load_state_dict(parts["module"])
        put_moments(self.optimizer, parts.get("optimizer", {}))
        self.task.load_state(parts.get("task", {}))
        self.best = parts.get("best", {})
        self.total.copy_(parts["run"]["total"])
        return progress
