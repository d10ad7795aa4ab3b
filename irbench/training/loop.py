"""The training loop of all trained networks: encoders, tokenizer and decoder.

Random numbers are a function of (seed, epoch, step), so that a run resumed from a checkpoint, in the middle of an epoch
too, trains the same model as one that was never interrupted.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from irbench.core.benchmark import ImageSet
from irbench.core.errors import ContractError, NotApplicable, RecipeError
from irbench.data.pixels import View, pixels
from irbench.networks.backbones import VisionNetwork, center_crop
from irbench.runtime.cache import Entry, Key
from irbench.runtime.code import code_digest
from irbench.runtime.machine import Runtime, seed_everything
from irbench.runtime.progress import track
from irbench.training.augment import augment
from irbench.training.checkpoint import Checkpoint, Progress, load_moments, moments, tensors, write_tensors
from irbench.training.config import TrainingConfig
from irbench.training.feed import Feed
from irbench.training.frozen import FrozenEpochs
from irbench.training.optim import descend, make_optimizer, make_scheduler
from irbench.training.parallel import (
    ALL,
    Loss,
    Part,
    agree,
    current,
    depends_on_processes,
    ensure,
    equalize,
    is_noisy,
    mean,
    of_first,
    shared,
    synchronize_statistics,
)
from irbench.training.rates import choose_rate
from irbench.training.validation import held_out

_CURVES = {"loss": "losses", "validation": "validation", "frozen": "frozen"}  # in history.json, and in Progress
_CHECKPOINT_EVERY = 30.0  # seconds, or longer where writing would otherwise take more than …
_CHECKPOINT_SHARE = 0.03  # … this share of the time


class Task:
    """What the loop trains: a module, the loss of a batch, and hooks around the epochs, which are empty by default."""

    name: str
    module: nn.Module
    backbone: nn.Module  # the part of the module that may be pretrained, with a learning rate of its own
    classes: Tensor | None = None  # [N] classes of the training images, for tasks that use them; on the training device
    # Of a batch that several processes share, each computes the loss of its part. A loss that is no mean over images,
    # such as one of pairs, gathers the vectors of the whole batch by `part` and is that of the whole batch.
    gathers: bool = False
    part: Part = ALL

    @property
    def on_parts(self) -> nn.Module:
        """The part of the module that sees no more than a part of a batch."""
        return self.module

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of float32 images [B,3,S,S] in 0 … 255, which are `rows` [B] of the training set."""
        return self.loss_of_tokens(self.backbone(images), rows)

    def loss_of_tokens(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of images by their tokens [B,T,D], the backbone's output, on which the rest stands."""
        raise NotImplementedError

    def validation_loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of held-out images; unlike `loss` it must not change state. `rows` are sorted by class."""
        return self.loss(images, rows)

    def target(self, rows: Tensor) -> Tensor:
        """Return the classes [B] of training images `rows` [B]."""
        if self.classes is None:
            raise ContractError("a task that uses classes has to set them", code="broken-task")
        return self.classes[rows]

    def start(self) -> None:
        """Prepare the module before its first epoch."""

    def end_epoch(self) -> None:
        """Update what is constant within an epoch, such as codebooks."""

    def finish(self) -> None:
        """Complete the module after its last epoch."""

    def state(self) -> Mapping[str, Tensor]:
        """Return the state that the task carries from step to step besides its module, for checkpoints."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned, now on the CPU."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in the store: model.safetensors and history.json."""

    task: str
    entry: Entry

    @property
    def content(self) -> str:
        """SHA-256 of the trained model."""
        return self.entry.hashes["model.safetensors"]

    @cached_property
    def training(self) -> dict[str, dict[str, object]]:
        """For `Description.details["training"]`: loss of each epoch, other losses if any, and seconds.

        With an `lr_factor` also the chosen rate, those tried and the loss of each, None where it diverged. In how many
        processes it was trained, unless that was one.
        """
        curves = json.loads((self.entry.path / "history.json").read_text())
        rounded = {
            name: [value if value is None or isinstance(value, int) else float(f"{value:.5g}") for value in values]
            for name, values in curves.items()
            if values
        }
        return {self.task: {**rounded, "seconds": round(self.entry.seconds, 1)}}


def train(
    task: Task, images: ImageSet, config: TrainingConfig, runtime: Runtime, *, also: object = None
) -> TrainedModel:
    """Train `task`, or load the stored model of the same recipe, data set and seed; its module is left in eval mode.

    `also` is a JSON value of anything else that the model depends on. Raises `RecipeError` if the loss diverges, and
    `NotApplicable` where the images are of fewer than two classes.
    """
    if config.epochs and len(np.unique(images.labels)) < 2:
        raise NotApplicable(
            f"{task.name} is trained on classes, and the training images have no labels, or one for all",
            code="too-few-classes",
        )
    for network in task.module.modules():  # a moving average of the backbone, too
        if isinstance(network, VisionNetwork):
            network.freeze(config.frozen_stages, statistics=config.frozen_statistics)
    images_uint8 = pixels(images, View(config.resize_size, config.fit), runtime)
    key = _key(task, [images.fingerprint, images_uint8.content, images.mirror], config, runtime, also)

    def run(config: TrainingConfig, name: str = "") -> tuple[Progress, float]:
        """Train to the end; return the progress, and the seconds that earlier processes took. A trial has a name."""
        validation = held_out(images.labels, config.validation_share, runtime.seed)
        training = np.setdiff1d(np.arange(len(images)), validation)
        feed = Feed(images_uint8, images.labels, config, runtime, training)
        run = _Run(task, feed, config, runtime, runtime.store.scratch(key), name)
        earlier = run.progress.seconds
        run.to_the_end(validation, mirror=images.mirror)
        return run.progress, earlier

    def trial(config: TrainingConfig, name: str) -> tuple[float, float]:
        progress, earlier = run(config, name)
        return progress.validation[-1], earlier

    def train(folder: Path) -> float:
        chosen, trials, earlier = choose_rate(task, config, runtime.store.scratch(key), trial)
        progress, before = run(chosen)
        write_tensors(tensors(task.module), folder / "model.safetensors")
        curves = {name: getattr(progress, field) for name, field in _CURVES.items()}
        if progress.processes != [1]:
            curves["processes"] = progress.processes
        if trials:
            tried, losses = [trial.lr for trial in trials], [trial.loss for trial in trials]
            curves |= {"lr": [chosen.lr], "lr_tried": tried, "lr_losses": losses}
        (folder / "history.json").write_text(json.dumps(curves))
        return earlier + before

    entry = ensure(runtime.store, key, train, device=runtime.device)
    task.module.load_state_dict(load_file(entry.path / "model.safetensors"))
    task.module.to(runtime.device).eval()
    return TrainedModel(task.name, entry)


def _key(task: Task, images: Sequence[object], config: TrainingConfig, runtime: Runtime, also: object) -> Key:
    """Return what the model depends on."""
    facts = {
        "task": task.name,
        "config": {key: value for key, value in asdict(config).items() if key not in config.inference_keys},
        "images": images,
        "runtime": [runtime.seed, runtime.device, runtime.precision],
        "code": code_digest(type(task), Task),
        "also": also,
    }
    if not current().alone and depends_on_processes(task, runtime.device):
        facts["processes"] = current().world
    return Key("model", facts)


class _Run:
    """One training, from its last checkpoint to its last epoch."""

    def __init__(
        self, task: Task, feed: Feed, config: TrainingConfig, runtime: Runtime, folder: Path, name: str
    ) -> None:
        self.task, self.feed, self.config, self.runtime, self.folder = task, feed, config, runtime, folder
        self.title = f"{task.name}, {name}" if name else task.name
        self.checkpoint = Checkpoint(folder / f"{name.replace(' ', '-') or 'checkpoint'}.safetensors")
        task.module.to(runtime.device)
        if task.classes is not None:
            task.classes = task.classes.to(runtime.device)
        synchronize_statistics(task, runtime.device)
        self.optimizer = make_optimizer(task.module, task.backbone, config)
        self.scheduler = make_scheduler(self.optimizer, config, feed.batches)
        self.total = torch.zeros(
            (), device=runtime.device
        )  # loss of the current epoch, read once: no wait for a GPU in between
        self.best: Mapping[str, Tensor] = {}  # the module at its best validation, with early stopping
        self._frozen: Mapping[str, Tensor] = {}  # moments of the optimiser that goes before, if it was interrupted
        self.progress = self._resume()
        progress = self.progress
        agree([len(progress.frozen), len(progress.losses), progress.step], runtime.device)
        if current().world not in self.progress.processes:
            self.progress.processes.append(current().world)
        self._saved, self._pause = perf_counter(), _CHECKPOINT_EVERY

    def to_the_end(self, validation: NDArray[np.int64], *, mirror: bool) -> None:
        """Train the remaining epochs, validated on the held-out images at rows `validation`, if any."""
        self.validation = validation
        if not self.progress.losses and not self.progress.step:
            self._start()
        self.loss = shared(Loss(self.task))  # from here on all have the first one's module
        steps = (self.config.epochs - len(self.progress.losses)) * self.feed.batches - self.progress.step
        self._bar = track(range(steps), f"train {self.title}", total=steps)
        while len(self.progress.losses) < self.config.epochs and not self._stops_early:
            self._epoch(len(self.progress.losses), mirror=mirror)
        self._bar.close()  # type: ignore[attr-defined]  # a generator, whose end removes the bar
        if self.best:
            self.task.module.load_state_dict(self.best)
        equalize(self.task.module)
        self._seed(self.config.epochs, 0)
        self.task.finish()
        equalize(self.task.module)

    def _start(self) -> None:
        """Prepare the module, and train what stands on its backbone for the epochs in which this is frozen."""
        frozen = self.progress.frozen
        if not frozen:
            self._seed(0, 0)
            self.task.start()
        epochs = FrozenEpochs(self.task, self.feed, self.config, self.runtime, self.folder, self._seed)
        for loss, optimizer in epochs.run(len(frozen), self._frozen):
            frozen.append(self._finite(loss))
            self._save_in_time(frozen=optimizer)

    @property
    def _stops_early(self) -> bool:
        return bool(self.config.patience) and self.progress.stale >= self.config.patience

    def _epoch(self, epoch: int, *, mirror: bool) -> None:
        self.task.module.train()
        order = Generator().manual_seed(self._random_seed(epoch, 0))
        for images_uint8, rows, part in self.feed.epoch(order, skip=self.progress.step):
            self.scheduler.step_update(epoch * self.feed.batches + self.progress.step)
            self.progress.step += 1
            self._seed(epoch, self.progress.step)
            images = augment(images_uint8, self.config, torch.default_generator, mirror=mirror, part=part)
            self._seed_noise(epoch)
            self.total += self._step(images, rows, part)
            next(self._bar, None)
            self._save_in_time()
        self._seed(epoch, self.feed.batches + 1)
        loss = self._finite(of_first(float(self.total), self.runtime.device) / self.feed.batches)
        equalize(self.task.module)
        self.task.end_epoch()
        equalize(self.task.module)
        self._validate(epoch)
        self.progress.losses.append(loss)
        self.progress.step = 0
        self.total.zero_()
        self._save_in_time()

    def _step(self, images: Tensor, rows: Tensor, part: Part) -> Tensor:
        with self.runtime.autocast():
            loss = self.loss(images, rows, part)
        return mean(descend(loss, self.optimizer, self.task.module, self.config.clip_gradient))

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Compute the loss on the center crops of the held-out images, always with the same random numbers."""
        if not len(self.validation) or ((epoch + 1) % self.config.validate_every and epoch + 1 < self.config.epochs):
            return
        self.task.module.eval()
        self._seed(self.config.epochs, 1)
        total = torch.zeros((), device=self.runtime.device)
        batches = np.array_split(self.validation, math.ceil(len(self.validation) / self.config.batch))
        for images_uint8, rows in self.feed.in_order(batches):
            with self.runtime.autocast():
                images = center_crop(images_uint8, self.config.image_size)
                total += len(rows) * self.task.validation_loss(images, rows)
        loss = of_first(float(total), self.runtime.device) / len(self.validation)
        self.progress.validation.append(self._finite(loss))
        if self.config.patience and not self.progress.stale:
            self.best = tensors(self.task.module)

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            epoch = len(self.progress.losses) + 1
            raise RecipeError(
                f"training of {self.task.name} diverged in epoch {epoch}; lower lr in its recipe", code="diverged"
            )
        return loss

    def _random_seed(self, epoch: int, step: int) -> int:
        """Return 32 random bits for one step: torch's generator on the CPU takes no more."""
        return int(np.random.SeedSequence([self.runtime.seed, epoch, step]).generate_state(1)[0])

    def _seed(self, epoch: int, step: int) -> int:
        """Make all random numbers from here on a function of the seed and of this point of the training."""
        seed = self._random_seed(epoch, step)
        seed_everything(seed)
        return seed

    def _seed_noise(self, epoch: int) -> None:
        """Let a network with dropout draw other numbers in each of several processes."""
        if not current().alone and is_noisy(self.task.module):
            self._seed(epoch, self.feed.batches + 2 + self.progress.step * current().world + current().rank)

    def _save_in_time(self, frozen: torch.optim.Optimizer | None = None) -> None:
        """Write a checkpoint if the last one is old enough; the longer writing takes, the rarer they are.

        `frozen` is the optimiser of the epochs with a frozen backbone, while these last.
        """
        start = perf_counter()
        if not current().first or start - self._saved < self._pause:
            return
        if not current().alone and not math.isfinite(float(self.total)):
            return  # at the end of the epoch all processes find it
        self._finite(float(self.total))
        self.progress.seconds += start - self._saved
        parts = {
            "module": tensors(self.task.module),
            **({"frozen": moments(frozen)} if frozen else {"optimizer": moments(self.optimizer)}),
            "task": self.task.state(),
            "best": self.best,
            "run": {"total": self.total},
        }
        self.checkpoint.save(parts, self.progress)
        self._saved = perf_counter()
        self._pause = max(_CHECKPOINT_EVERY, (self._saved - start) / _CHECKPOINT_SHARE)
        self.progress.seconds += self._saved - start

    def _resume(self) -> Progress:
        """Restore the checkpoint, if there is one, and return the progress."""
        saved = self.checkpoint.load()
        if saved is None:
            return Progress()
        parts, progress = saved
        self.task.module.load_state_dict(parts["module"])
        load_moments(self.optimizer, parts.get("optimizer", {}))
        self._frozen = parts.get("frozen", {})
        self.task.load_state(parts.get("task", {}))
        self.best = parts.get("best", {})
        self.total.copy_(parts["run"]["total"])
        return progress
