"""What encoders with a trained network share: training, encoding, description."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.data.pixels import View
from irbench.networks.backbones import TimmNetwork, VisionNetwork, run_network
from irbench.runtime.machine import Runtime, seed_everything
from irbench.training.config import TrainingConfig
from irbench.training.loop import Task, TrainedModel, train


class EncoderTask(Task):
    """A task that trains `features`, the module from images to embeddings."""

    features: nn.Module


C = TypeVar("C", bound=TrainingConfig)
T = TypeVar("T", bound=EncoderTask)


class TrainedEncoder(ABC, Generic[C, T]):
    """Base of the trained encoders: a subclass chooses the training task."""

    def __init__(self, config: C, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime
        self._network: VisionNetwork | None = None
        self._task: T | None = None
        self._trained_model: TrainedModel | None = None

    @abstractmethod
    def task(self, network: VisionNetwork, classes: NDArray[np.int64]) -> T:
        """Return the training task; `classes` [N] are those of the training images, numbered from 0 without gaps."""

    @property
    def unit(self) -> bool:
        """Are vectors scaled to length one?"""
        return False

    @property
    def view(self) -> View:
        """How an image is resized before its center crop is encoded."""
        return View(self.config.resize_size, self.config.fit)

    def train(self, images: ImageSet) -> None:
        """Fine-tune the network on `images`."""
        seed_everything(self.runtime.seed)
        network = VisionNetwork(self.config, weights=self.runtime.weights)
        task = self.task(network, np.unique(images.labels, return_inverse=True)[1])
        self._trained_model = train(task, images, self.config, self.runtime, also=network.weights)
        self._network, self._task = network, task

    @property
    def network(self) -> VisionNetwork:
        """The trained network, which others may start from; `ContractError` before `train`."""
        if self._network is None:
            raise ContractError(f"{type(self).__name__} was used before it was trained", code="not-trained")
        return self._network

    @property
    def trained_task(self) -> T:
        """The task with its trained modules; `ContractError` before `train`."""
        if self._task is None:
            raise ContractError(f"{type(self).__name__} was used before it was trained", code="not-trained")
        return self._task

    @property
    def trained_model(self) -> TrainedModel:
        """The record of the training; `ContractError` before `train`."""
        if self._trained_model is None:
            raise ContractError(f"{type(self).__name__} was used before it was trained", code="not-trained")
        return self._trained_model

    def encode(self, images: ImageSet) -> Embeddings:
        """Return the features [N,D] of the images, of length one if `unit`; `ContractError` before `train`."""
        return self.scaled(self.features(images))

    def features(self, images: ImageSet) -> Embeddings:
        """Return the features [N,D] of the images as the network gives them; `ContractError` before `train`."""
        return Embeddings(self.run(self.trained_task.features, images))

    def scaled(self, features: Embeddings) -> Embeddings:
        """Return the features [N,D] as they are compared: of length one if `unit`."""
        return features.unit() if self.unit else features

    def run(self, module: nn.Module, images: ImageSet) -> NDArray[np.float32]:
        """Return the outputs [N,…] of a trained module for the images as this encoder views them."""
        self.runtime.cast_weights(module)
        return run_network(module, images, self.view, image_size=self.config.image_size, runtime=self.runtime)

    def describe(self) -> Description:
        """Describe the backbone, the bytes of the network, and the training."""
        description = describe_network(self.network, self.trained_task.features, self.runtime)
        return replace(description, details={"training": self.trained_model.training})


def describe_network(network: TimmNetwork, module: nn.Module, runtime: Runtime) -> Description:
    """Return the description of a network, with the bytes of the parameters of `module`, which runs it."""
    return Description(backbone=network.facts(), model_bytes=runtime.weight_bytes(module))
