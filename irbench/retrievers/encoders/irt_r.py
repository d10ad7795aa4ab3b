"""IRT_R: a Vision Transformer trained with a contrastive loss and KoLeo (arXiv 2102.05644). Recipe: methods/irt-r.toml.

The contrastive loss is over the pairs of a batch, and over pairs with a memory of the images seen last. There is no
official code; what the paper leaves open follows jhgan00/image-retrieval-transformers, except that an image is never
its own positive, neither in the batch nor in the memory.

Shape letters: B images, M images in the memory, D dimensions.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from irbench.config.fields import Part, Share
from irbench.networks.backbones import Featurizer, VisionNetwork
from irbench.retrievers.network_encoder import EncoderTask, TrainedEncoder
from irbench.training.config import TrainingConfig
from irbench.training.losses import PairLoss, koleo


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Schema of methods/irt-r.toml."""

    dim: NonNegativeInt = 0  # D, of a linear layer on the network's feature; 0: the feature itself
    margin: float = 0.5  # beta: negative pairs whose cosine is lower have no loss
    spread: NonNegativeFloat = 0.7  # lambda, the weight of KoLeo
    memory_ratio: Share = 1.0  # size of the memory, as a share of the training set …
    memory_limit: PositiveInt = 65_536  # … and at most: each image of a batch is compared with all images there
    momentum: Part = 0.0  # of the moving average of the network that fills the memory; 0: the network itself does

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frozen_epochs and not self.dim:
            raise ValueError(f"frozen_epochs = {self.frozen_epochs}: without dim, nothing but the backbone learns")


class IrtREncoder(TrainedEncoder[Config, "PairLearning"]):
    """The class token, or the mean token of a convolutional network, as a unit vector; cosine similarity."""

    unit = True

    def task(self, network: VisionNetwork, classes: NDArray[np.int64]) -> "PairLearning":
        """Train on positive and negative pairs; `classes` [N] are the classes of the training images."""
        return PairLearning(network, classes, self.config)


class PairLearning(EncoderTask):
    """Contrastive loss with a memory, and KoLeo. The memory is part of the module, so that checkpoints contain it."""

    name = "irt-r"
    features: Featurizer
    gathers = True

    def __init__(self, network: VisionNetwork, classes: NDArray[np.int64], config: Config) -> None:
        self.backbone, self.config = network, config
        self.classes = torch.from_numpy(classes)
        self.features = Featurizer(network, _head(network.dim, config.dim))
        self.pair_loss = PairLoss(config.margin)
        images = min(config.memory_limit, max(1, round(config.memory_ratio * len(classes))))
        self.memory = Memory(images, config.dim or network.dim)
        self.module = nn.ModuleList([self.features, self.memory])
        self.slow = copy.deepcopy(self.features).requires_grad_(requires_grad=False) if config.momentum else None
        if self.slow is not None:
            self.module.append(self.slow)

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return the contrastive loss within the batch and with the memory, plus KoLeo."""
        return self._loss(self.features(images), rows, lambda slow: slow(images))

    def loss_of_tokens(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Return the same by the tokens [B,T,D] of a backbone that does not learn."""
        return self._loss(self.features.of_tokens(tokens), rows, lambda slow: slow.of_tokens(tokens))

    def _loss(self, vectors: Tensor, rows: Tensor, by: Callable[[Featurizer], Tensor]) -> Tensor:
        """Return the loss of this part's vectors [B,D]; `by` asks another copy of the network for them."""
        vectors, rows = self.part.gather(vectors), self.part.gather(rows)
        self.memory.add(self._memory_vectors(vectors, by), rows)
        with torch.autocast(vectors.device.type, enabled=False):
            across = self._contrastive(vectors, rows, self.memory.vectors, self.memory.rows)
            return self._within(vectors, rows) + across

    def validation_loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return the loss within the batch alone: the memory is of training images."""
        with torch.autocast(images.device.type, enabled=False):
            return self._within(self.features(images), rows)

    def _within(self, vectors: Tensor, rows: Tensor) -> Tensor:
        return self._contrastive(vectors, rows, vectors, rows) + self.config.spread * koleo(vectors)

    def _contrastive(self, vectors: Tensor, rows: Tensor, others: Tensor, other_rows: Tensor) -> Tensor:
        positive = self.target(rows)[:, None] == self.target(other_rows)  # [B,M]
        counted = (rows[:, None] != other_rows) & (other_rows != EMPTY)
        loss: Tensor = self.pair_loss(vectors, others, positive=positive, counted=counted)
        return loss

    @torch.no_grad()
    def _memory_vectors(self, vectors: Tensor, by: Callable[[Featurizer], Tensor]) -> Tensor:
        """Return the vectors [B,D] for the memory: those of the moving average, where there is one."""
        if self.slow is None:
            return vectors
        for slow, fast in zip(self.slow.parameters(), self.features.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.config.momentum)
        return self.part.gather(by(self.slow))


def _head(features: int, dim: int) -> nn.Module:
    """Return what makes unit vectors of features: after a linear layer to `dim` dimensions, if that is not 0."""
    return nn.Sequential(nn.Linear(features, dim, bias=False), UnitLength()) if dim else UnitLength()


class UnitLength(nn.Module):
    """Scale vectors [B,D] to length one."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Unit vectors [B,D]."""
        return functional.normalize(vectors.float(), dim=1)


EMPTY = -1  # the row of a place in the memory that is not filled yet


class Memory(nn.Module):
    """A ring buffer of the vectors [M,D] of the images seen last, and their rows [M] (arXiv 1912.06798).

    Not pytorch-metric-learning's CrossBatchMemory, which stores labels and so cannot exclude an image's own older
    copies, pairs an image with itself where another network fills it, and whose place in the ring no checkpoint has.
    """

    vectors: Tensor
    rows: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("rows", torch.full((size,), EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))  # where the next image goes

    def add(self, vectors: Tensor, rows: Tensor) -> None:
        """Replace the oldest images by those of a batch, vectors [B,D] and their training rows [B]."""
        size = len(self.rows)
        vectors, rows = vectors.detach()[-size:], rows[-size:]
        places = (self.place + torch.arange(len(rows), device=rows.device)) % size
        self.vectors[places] = vectors
        self.rows[places] = rows
        self.place.copy_((self.place + len(rows)) % size)
