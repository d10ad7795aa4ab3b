"""How many images a second a training takes, and where the time goes: an encoder's, or that of IRGen's decoder on one.

A network with random weights is trained on random photographs by the training loop's own functions. The uint8 images
are on the device already: reading image files is not timed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irbench.bench.timing import median, peak_bytes, repeated
from irbench.core.identifiers import Identifiers
from irbench.networks.backbones import VisionNetwork, center_crop
from irbench.retrievers.encoders.ft_clip import Classification, Config
from irbench.retrievers.irgen.autoregression import Autoregression, Targets
from irbench.retrievers.irgen.decoder import Decoder, DecoderConfig
from irbench.runtime.environment import reset_peak_memory
from irbench.runtime.machine import Runtime, seed_everything
from irbench.runtime.timer import span
from irbench.training.augment import augment
from irbench.training.frozen import frozen
from irbench.training.optim import descend, make_optimizer

_CLASSES, _IN_CLASS = 196, 28  # of cars196-holdout: classes, and about as many images of each
_NUM_CODEBOOKS, _CODEBOOK_SIZE = 4, 256


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: seconds are medians over repeats, of one step."""

    precision: str
    targets: int  # identifiers for an image, in a training of IRGen's decoder; 0: the encoder learns to classify
    frozen_stages: int | None  # after the stem; None: the whole backbone, whose outputs are kept
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
    """The settings to measure; sizes and augmentation are those of scale mobile."""

    backbone: str = "tf_efficientnet_lite0"
    image_size: int = 128  # pixels
    batches: tuple[int, ...] = (64,)
    targets: tuple[int, ...] = (0,)
    shared_codes: int = 0  # codes, from the first on, that identifiers of one class have in common
    num_layers: int = 4
    width: int = 256
    num_heads: int = 8
    frozen_stages: tuple[int | None, ...] = (0,)
    patience: float = 10.0  # seconds after which a measurement is not repeated

    @property
    def resize_size(self) -> int:
        """Pixels of the images that crops are taken from."""
        return self.image_size * 9 // 8


class Model:
    """A network in training, and images."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        seed_everything(0)
        self.plan, self.runtime = plan, runtime
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
        self.labels = np.arange(max(shape[0], _CLASSES * _IN_CLASS)) % _CLASSES
        self.learn(0)

    def learn(self, targets: int) -> None:
        """Let the network learn to classify, or a decoder on it to generate so many identifiers for an image."""
        self.task = self._generation(targets) if targets else self._classification()
        self.task.module.to(self.runtime.device).train()

    def freeze(self, stages: int) -> None:
        """Freeze the first stages; the optimiser begins anew."""
        self.network.freeze(stages)
        self._begin()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the whole backbone for a while; the optimiser begins anew."""
        self.network.freeze(0)
        with frozen(self.network):
            self._begin()
            yield

    def step(self, batch: int) -> None:
        """Train on the first `batch` images, with spans for the timer."""
        with span("augment"):
            images = augment(self.images_uint8[:batch], self.config, torch.default_generator, mirror=True)
        with span("forward"), self.runtime.autocast():
            loss = self.task.loss(images, torch.arange(batch, device=self.runtime.device))
        with span("backward"):
            descend(loss, self.optimizer, self.task.module, 0.0)

    @torch.no_grad()
    def outputs(self, batch: int) -> Tensor:
        """Return the backbone's outputs [B,T,D] for the center crops of the first `batch` images."""
        self.network.eval()
        with self.runtime.autocast():
            tokens = self.network(center_crop(self.images_uint8[:batch], self.plan.image_size)).float()
        self.network.train()
        return tokens

    def step_of_outputs(self, tokens: Tensor) -> None:
        """Train what stands on the backbone, on its outputs [B,T,D]."""
        with span("forward"), self.runtime.autocast():
            loss = self.task.loss_of_tokens(tokens, torch.arange(len(tokens), device=self.runtime.device))
        with span("backward"):
            descend(loss, self.optimizer, self.task.module, 0.0)

    def _begin(self) -> None:
        self.optimizer = make_optimizer(self.task.module, self.network, self.config)

    def _classification(self) -> Classification:
        task = Classification(self.network, np.arange(_CLASSES), 0.1)
        task.classes = torch.from_numpy(self.labels).to(self.runtime.device)
        return task

    def _generation(self, targets: int) -> Autoregression:
        plan = self.plan
        config = DecoderConfig(
            memory_dim=self.network.token_dim,
            num_codebooks=_NUM_CODEBOOKS,
            codebook_size=_CODEBOOK_SIZE,
            num_layers=plan.num_layers,
            width=plan.width,
            num_heads=plan.num_heads,
        )
        identifiers = Identifiers(_codes(self.labels, plan.shared_codes), _CODEBOOK_SIZE)
        drawn = Targets(identifiers, self.labels, self.runtime.device)
        return Autoregression(self.network, Decoder(config), drawn, targets_per_image=targets, label_smoothing=0.0)


def measure(model: Model, plan: Plan) -> Iterator[Point]:
    """Time every task at every batch size with every number of frozen stages."""
    for targets in plan.targets:
        model.learn(targets)
        for stages in plan.frozen_stages:
            for batch in plan.batches:
                reset_peak_memory(model.runtime)
                seconds = _seconds(model, plan, stages, batch)
                yield Point(
                    precision=model.runtime.precision,
                    targets=targets,
                    frozen_stages=stages,
                    batch=batch,
                    peak_bytes=peak_bytes(model.runtime),
                    **seconds,
                )


def _seconds(model: Model, plan: Plan, stages: int | None, batch: int) -> dict[str, float]:
    """Return the seconds of a step and of its parts."""
    if stages is None:
        with model.frozen():
            tokens = model.outputs(batch)
            timers = repeated(lambda: model.step_of_outputs(tokens), model.runtime, plan.patience)
    else:
        model.freeze(stages)
        timers = repeated(lambda: model.step(batch), model.runtime, plan.patience)
    parts = ("forward", "backward", "total") if stages is None else ("augment", "forward", "backward", "total")
    return {"augment_s": 0.0, **{f"{part}_s": median(timers, part) for part in parts}}


def _codes(labels: NDArray[np.int64], shared: int) -> NDArray[np.int64]:
    """Return random codes [N,M], the first `shared` of which are the same for all images of a class."""
    rng = np.random.default_rng(0)
    of_images = rng.integers(_CODEBOOK_SIZE, size=(len(labels), _NUM_CODEBOOKS))
    of_classes = rng.integers(_CODEBOOK_SIZE, size=(_CLASSES, _NUM_CODEBOOKS))
    return np.where(np.arange(_NUM_CODEBOOKS) < shared, of_classes[labels], of_images)
