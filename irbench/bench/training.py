"""How many images a second the training of an encoder takes, and where the time goes.

A network with random weights learns to classify random photographs by the training loop's own functions. The uint8
images are on the device already: reading image files is not timed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from irbench.bench.timing import median, peak_bytes, repeated
from irbench.networks.backbones import VisionNetwork
from irbench.retrievers.encoders.ft_clip import Classification, Config
from irbench.runtime.environment import reset_peak_memory
from irbench.runtime.machine import Runtime, seed_everything
from irbench.runtime.timer import span
from irbench.training.augment import augment
from irbench.training.optim import descend, make_optimizer

_CLASSES = 196  # of cars196


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: seconds are medians over repeats, of one step."""

    precision: str
    frozen_stages: int  # after the stem
    batch: int
    augment_s: float
    forward_s: float
    backward_s: float  # with the optimiser's step
    total_s: float
    peak_bytes: int  # of the process on the host, or of GPU memory

    @property
    def images_per_s(self) -> float:
        """Throughput."""
        return self.batch / self.total_s


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings to measure; the augmentation is that of photographs at scale mobile."""

    backbone: str = "tf_efficientnet_lite0"
    image_size: int = 128  # pixels
    batches: tuple[int, ...] = (64,)
    frozen_stages: tuple[int, ...] = (0,)
    patience: float = 10.0  # seconds after which a measurement is not repeated

    @property
    def resize_size(self) -> int:
        """Pixels of the images that crops are taken from."""
        return self.image_size * 9 // 8


class Model:
    """A network in training, and images."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        seed_everything(0)
        self.runtime = runtime
        self.config = Config(
            backbone=plan.backbone,
            image_size=plan.image_size,
            resize_size=plan.resize_size,
            epochs=1,
            lr=1e-3,
            crop_area=0.4,
            mirror=True,
            colour=0.2,
        )
        shape = (max(plan.batches), plan.resize_size, plan.resize_size, 3)
        self.images_uint8 = torch.randint(256, shape, dtype=torch.uint8).to(runtime.device)
        self.network = VisionNetwork(self.config)
        self.task = Classification(self.network, np.arange(_CLASSES), 0.1)
        self.task.module.to(runtime.device).train()
        self.task.classes = torch.arange(shape[0], device=runtime.device) % _CLASSES  # of the images

    def freeze(self, stages: int) -> None:
        """Freeze the first stages; the optimiser begins anew."""
        self.network.freeze(stages)
        self.optimizer = make_optimizer(self.task.module, self.network, self.config)

    def step(self, batch: int) -> None:
        """Train on the first `batch` images, with spans for the timer."""
        with span("augment"):
            images = augment(self.images_uint8[:batch], self.config, torch.default_generator, mirror=True)
        with span("forward"), self.runtime.autocast():
            loss = self.task.loss(images, torch.arange(batch, device=self.runtime.device))
        with span("backward"):
            descend(loss, self.optimizer, self.task.module, 0.0)


def measure(model: Model, plan: Plan) -> Iterator[Point]:
    """Time every batch size with every number of frozen stages."""
    for stages in plan.frozen_stages:
        model.freeze(stages)
        for batch in plan.batches:
            reset_peak_memory(model.runtime)
            timers = repeated(lambda batch=batch: model.step(batch), model.runtime, plan.patience)  # type: ignore[misc]
            spans = {f"{name}_s": median(timers, name) for name in ("augment", "forward", "backward", "total")}
            yield Point(
                precision=model.runtime.precision,
                frozen_stages=stages,
                batch=batch,
                peak_bytes=peak_bytes(model.runtime),
                **spans,
            )
