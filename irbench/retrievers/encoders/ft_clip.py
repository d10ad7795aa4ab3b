"""FT-CLIP: an encoder fine-tuned on the data set's classes. Recipe: methods/ft-clip.toml.

The paper states only that it is fine-tuned from CLIP on the target data set. irbench's choice is cross-entropy of a
linear layer on the feature, like the unused `vit_classify` of the published code
(yakt00/IRGen:model/tokenizer.py:13-33).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from irbench.core.benchmark import ImageSet
from irbench.core.embeddings import Embeddings
from irbench.networks.backbones import Featurizer, VisionNetwork
from irbench.retrievers.network_encoder import EncoderTask, TrainedEncoder
from irbench.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Schema of methods/ft-clip.toml."""

    inference_keys: ClassVar[frozenset[str]] = frozenset({"cosine"})

    label_smoothing: float = 0.0
    cosine: bool = True  # scale vectors to length one, so that distances order as cosines do


class FtClipEncoder(TrainedEncoder[Config, "Classification"]):
    """The feature of a network trained to classify."""

    @property
    def unit(self) -> bool:
        """Are vectors scaled to length one?"""
        return self.config.cosine

    def task(self, network: VisionNetwork, classes: NDArray[np.int64]) -> "Classification":
        """Train by classification; `classes` [N] are the classes of the training images."""
        return Classification(network, classes, self.config.label_smoothing)

    @torch.inference_mode()
    def classify(self, images: ImageSet) -> tuple[Embeddings, NDArray[np.float32]]:
        """Return the vectors [N,D] and the log-probabilities [N,C] of the training images' classes; in float32."""
        features = self.features(images)
        classifier = self.trained_task.classifier
        weight, bias = classifier.weight.float().cpu(), classifier.bias.float().cpu()
        logits = functional.linear(torch.from_numpy(features.array), weight, bias)
        return self.scaled(features), logits.log_softmax(dim=1).numpy()


class Classification(EncoderTask):
    """Cross-entropy of a linear layer on the feature."""

    name = "ft-clip"
    features: Featurizer

    def __init__(self, network: VisionNetwork, classes: NDArray[np.int64], label_smoothing: float) -> None:
        self.backbone = network
        self.features = Featurizer(network)
        self.classifier = nn.Linear(network.dim, int(classes.max()) + 1)
        self.module = nn.Sequential(self.features, self.classifier)
        self.label_smoothing = label_smoothing
        self.classes = torch.from_numpy(classes)

    def loss_of_tokens(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Return the mean cross-entropy of the batch, in nats."""
        logits = self.classifier(self.features.of_tokens(tokens))
        return functional.cross_entropy(logits.float(), self.target(rows), label_smoothing=self.label_smoothing)
