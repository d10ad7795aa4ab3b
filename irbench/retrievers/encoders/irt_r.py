"""IRT_R: a Vision Transformer trained on pairs, its vectors spread evenly. Recipe: methods/irt-r.toml.

arXiv 2102.05644. The loss is contrastive, over the pairs of a batch and over pairs with a memory of the images seen
last, plus KoLeo. There is no official code; what the paper leaves open follows jhgan00/image-retrieval-transformers,
but for one point: an image is never its own positive, neither in the batch nor in the memory.

Shape letters: B images, M remembered images, D dimensions.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional

from irbench.config.fields import Part, Share
from irbench.networks.backbones import Featurizer, VisionNetwork
from irbench.retrievers.network_encoder import EncoderTask, TrainedEncoder
from irbench.training.config import TrainingConfig
from irbench.training.losses import contrastive, koleo


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Schema of methods/irt-r.toml."""

    margin: float = 0.5  # beta: pairs of two classes whose cosine is lower are left alone
    spread: NonNegativeFloat = 0.7  # lambda, the weight of KoLeo
    memory_ratio: Share = 1.0  # images in the memory, as a share of the training set
    momentum: Part = 0.0  # of the slow copy of the network that fills the memory; 0: the network itself does


class IrtREncoder(TrainedEncoder[Config]):
    """The class token, or a convolutional network's mean token, as a unit vector."""

    unit = True

    def task(self, network: VisionNetwork, classes: NDArray[np.int64]) -> "PairLearning":
        """Train on pairs of images of one class and of two."""
        return PairLearning(network, classes, self.config)


class PairLearning(EncoderTask):
    """Contrastive learning with a memory, and KoLeo. The memory is part of the module, so that it outlives a kill."""

    name = "irt-r"

    def __init__(self, network: VisionNetwork, classes: NDArray[np.int64], config: Config) -> None:
        self.backbone, self.config = network, config
        self.classes = torch.from_numpy(classes)
        self.features = Featurizer(network, UnitLength())
        self.memory = Memory(max(1, round(config.memory_ratio * len(classes))), network.dim)
        self.module = nn.ModuleList([self.features, self.memory])
        self.slow = copy.deepcopy(self.features).requires_grad_(requires_grad=False) if config.momentum else None
        if self.slow is not None:
            self.module.append(self.slow)

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Contrastive loss within the batch and against the memory, plus KoLeo."""
        vectors = self.features(images)  # [B,D]
        self.memory.add(self._remembered(images, vectors), rows)
        with torch.autocast(images.device.type, enabled=False):
            memory = self._contrastive(vectors, rows, self.memory.vectors, self.memory.rows)
            return self._within(vectors, rows) + memory

    def validation_loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """The part of the loss within the batch: the memory is for what is learnt from."""
        with torch.autocast(images.device.type, enabled=False):
            return self._within(self.features(images), rows)

    def _within(self, vectors: Tensor, rows: Tensor) -> Tensor:
        return self._contrastive(vectors, rows, vectors, rows) + self.config.spread * koleo(vectors)

    def _contrastive(self, vectors: Tensor, rows: Tensor, others: Tensor, other_rows: Tensor) -> Tensor:
        positive = self.target(rows)[:, None] == self.target(other_rows)  # [B,M]
        counted = (rows[:, None] != other_rows) & (other_rows != EMPTY)
        return contrastive(vectors @ others.T, positive, counted, self.config.margin)

    @torch.no_grad()
    def _remembered(self, images: Tensor, vectors: Tensor) -> Tensor:
        if self.slow is None:
            return vectors
        for slow, fast in zip(self.slow.parameters(), self.features.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.config.momentum)
        remembered: Tensor = self.slow(images)
        return remembered


class UnitLength(nn.Module):
    """Scale vectors [B,D] to length one."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Unit vectors [B,D]."""
        return functional.normalize(vectors.float(), dim=1)


EMPTY = -1  # the row of a place in the memory that nothing was put into yet


class Memory(nn.Module):
    """The vectors [M,D] of the images seen last, and their rows [M] in the training set (arXiv 1912.06798)."""

    vectors: Tensor
    rows: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("rows", torch.full((size,), EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))  # where the next image goes

    def add(self, vectors: Tensor, rows: Tensor) -> None:
        """Put in the images of a batch, over the oldest ones."""
        size = len(self.rows)
        vectors, rows = vectors.detach()[-size:], rows[-size:]
        places = (self.place + torch.arange(len(rows), device=rows.device)) % size
        self.vectors[places] = vectors
        self.rows[places] = rows
        self.place.copy_((self.place + len(rows)) % size)
