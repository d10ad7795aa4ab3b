"""What an encoder offers whose trained network others start from."""

from typing import Protocol, runtime_checkable

from irbench.networks.backbones import VisionNetwork
from irbench.training.loop import TrainedModel


@runtime_checkable
class SharesNetwork(Protocol):
    """An encoder with a network of its own; both are there once it has been trained."""

    @property
    def network(self) -> VisionNetwork:
        """The trained network."""

    @property
    def trained_model(self) -> TrainedModel:
        """The record of the training."""
