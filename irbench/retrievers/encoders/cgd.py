"""CGD: several global descriptors of one feature map, trained together (arXiv 1903.10663). Recipe: methods/cgd.toml.

The authors published no training code; what the paper leaves open follows leftthomas/CGD. The down-sampling before the
ResNet's third stage is removed, so that 224 pixels make a map of 14 x 14.

Shape letters: B images, T positions of the map, C channels, D dimensions of the vector.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor, nn
from torch.nn import functional

from irbench.config.fields import Part
from irbench.core.benchmark import ImageSet
from irbench.core.embeddings import Embeddings
from irbench.core.errors import RecipeError
from irbench.data.pixels import View
from irbench.networks.backbones import VisionNetwork
from irbench.networks.pooling import power_mean
from irbench.retrievers.network_encoder import EncoderTask, TrainedEncoder
from irbench.training.config import TrainingConfig

_POWERS = {"S": 1.0, "G": 3.0, "M": torch.inf}  # SPoC, GeM, MAC: (mean of x^p)^(1/p)


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Schema of methods/cgd.toml."""

    # S (mean), M (maximum) and G (power mean); the first one is also classified
    descriptors: Annotated[str, Field(pattern="^[SMG]+$")] = "SG"
    dim: PositiveInt = 1536  # of the whole vector
    margin: NonNegativeFloat = 0.1  # of the triplets
    temperature: PositiveFloat = 0.5  # of the classification
    label_smoothing: Part = 0.1
    keep_wide: bool = True  # remove the down-sampling of a ResNet's third stage, as the authors do
    frozen_statistics: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.descriptors and self.dim % len(self.descriptors):
            raise ValueError(f'dim = {self.dim} is not a multiple of the length of descriptors = "{self.descriptors}"')


class CgdEncoder(TrainedEncoder[Config, "DescriptorLearning"]):
    """The concatenated descriptors, as a unit vector; cosine similarity."""

    unit = True

    @property
    def view(self) -> View:
        """The whole image: crops are for training only."""
        return View(self.config.image_size, self.config.fit)

    def task(self, network: VisionNetwork, classes: NDArray[np.int64]) -> "DescriptorLearning":
        """Train by ranking and by classification; `classes` [N] are the classes of the training images."""
        return DescriptorLearning(network, classes, self.config)

    def classify(self, images: ImageSet) -> tuple[Embeddings, NDArray[np.float32]]:
        """Return the vectors [N,D], and the log-probabilities [N,C] of the auxiliary classifier."""
        outputs = self.run(_ClassifiedDescriptors(self.trained_task), images)
        vectors, logits = np.split(outputs, [self.config.dim], axis=1)
        return self.scaled(Embeddings(vectors)), torch.from_numpy(logits).log_softmax(dim=1).numpy()


class DescriptorLearning(EncoderTask):
    """Batch-hard triplets on the whole vector, plus cross-entropy on the first descriptor."""

    name = "cgd"
    features: "CombinedDescriptors"
    gathers = True

    def __init__(self, network: VisionNetwork, classes: NDArray[np.int64], config: Config) -> None:
        self.backbone, self.config = network, config
        self.classes = torch.from_numpy(classes)
        self.features = CombinedDescriptors(network, config)
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(network.token_dim), nn.Linear(network.token_dim, int(classes.max()) + 1)
        )
        self.module = nn.ModuleList([self.features, self.classifier])
        self.miner = BatchHardMiner()
        self.triplets = TripletMarginLoss(margin=config.margin, reducer=MeanReducer())

    @property
    def on_parts(self) -> nn.Module:
        """The network; the rest sees whole batches."""
        return self.backbone

    def loss_of_tokens(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Return triplet loss plus classification loss of the batch."""
        target = self.target(self.part.gather(rows))
        pooled = [self.part.gather(descriptor) for descriptor in self.features.pooled(tokens)]
        logits = self.logits(pooled)
        classification = functional.cross_entropy(logits, target, label_smoothing=self.config.label_smoothing)
        vectors = self.features.joined(pooled)
        with torch.autocast(tokens.device.type, enabled=False):
            ranking: Tensor = self.triplets(vectors, target, self.miner(vectors, target))
        return ranking + classification

    def logits(self, pooled: list[Tensor]) -> Tensor:
        """Return the logits [B,C] of the classes, from the first of the raw descriptors, each [B,C']."""
        logits: Tensor = self.classifier(pooled[0]).float() / self.config.temperature
        return logits


class CombinedDescriptors(nn.Module):
    """Images [B,3,S,S] to unit vectors [B,D]: each descriptor projected and normalised, then concatenated."""

    def __init__(self, network: VisionNetwork, config: Config) -> None:
        super().__init__()
        letters = config.descriptors
        if config.keep_wide:
            _keep_third_stage_wide(network.backbone, network.name)
        self.network = network
        self.powers = [_POWERS[letter] for letter in letters]
        size = config.dim // len(letters)
        self.branches = nn.ModuleList(nn.Linear(network.token_dim, size, bias=False) for _ in letters)

    def forward(self, images: Tensor) -> Tensor:
        """Return unit vectors [B,D] of images [B,3,S,S]."""
        return self.joined(self.pooled(self.network(images)))

    def pooled(self, tokens: Tensor) -> list[Tensor]:
        """Return the raw descriptors, each [B,C], of the network's maps [B,T,C] of images."""
        cells = tokens.float()
        return [power_mean(cells, power) for power in self.powers]

    def joined(self, pooled: list[Tensor]) -> Tensor:
        """Return unit vectors [B,D] of the raw descriptors, each [B,C]."""
        parts = [
            functional.normalize(branch(descriptor).float(), dim=1)
            for branch, descriptor in zip(self.branches, pooled, strict=True)
        ]
        return functional.normalize(torch.cat(parts, dim=1), dim=1)


class _ClassifiedDescriptors(nn.Module):
    """Images [B,3,S,S] to unit vectors and logits [B,D+C], by one run of the network."""

    def __init__(self, task: DescriptorLearning) -> None:
        super().__init__()
        self.module = task.module  # so that its parts are cast and set to evaluation with it
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        """Return the vectors, and after them the logits."""
        features = self.task.features
        pooled = features.pooled(features.network(images))
        return torch.cat([features.joined(pooled), self.task.logits(pooled)], dim=1)


def _keep_third_stage_wide(backbone: Any, name: str) -> None:
    """Remove the down-sampling of a ResNet's third stage (leftthomas/CGD:resnet.py)."""
    if not hasattr(backbone, "layer3"):
        raise RecipeError(
            f'backbone = "{name}": CGD is built on a ResNet; set keep_wide = false for another', code="wrong-backbone"
        )
    first = backbone.layer3[0]
    for module in first.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    if isinstance(first.downsample[0], nn.AvgPool2d):
        first.downsample[0] = nn.Identity()
