"""FT-CLIP: an encoder fine-tuned on the data set's classes. Recipe: methods/ft-clip.toml.

The paper says only that it is fine-tuned from CLIP on the target data set. irbench's choice is cross-entropy over a
linear layer on the feature, the way the published code's unused `vit_classify` has it
(yakt00/IRGen:model/tokenizer.py:13-33).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from irbench.networks.backbones import Featurizer, VisionNetwork
from irbench.retrievers.network_encoder import EncoderTask, TrainedEncoder
from irbench.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Schema of methods/ft-clip.toml."""

    label_smoothing: float = 0.0


class FtClipEncoder(TrainedEncoder[Config]):
    """The feature of a network trained to tell the classes apart; Euclidean distance."""

    def task(self, network: VisionNetwork, classes: NDArray[np.int64]) -> "Classification":
        """Train by classification; the feature below the classifier is what is searched."""
        return Classification(network, classes, self.config.label_smoothing)


class Classification(EncoderTask):
    """Cross-entropy on a linear layer over the feature."""

    name = "ft-clip"

    def __init__(self, network: VisionNetwork, classes: NDArray[np.int64], label_smoothing: float) -> None:
        self.backbone = network
        self.features = Featurizer(network)
        self.module = nn.Sequential(self.features, nn.Linear(network.dim, int(classes.max()) + 1))
        self.label_smoothing = label_smoothing
        self.classes = torch.from_numpy(classes)

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy of the batch."""
        logits = self.module(images)
        return functional.cross_entropy(logits.float(), self.target(rows), label_smoothing=self.label_smoothing)
