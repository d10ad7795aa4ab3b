"""The protocol of encoders whose trained network other methods can start from."""

from typing import Protocol, runtime_checkable

from irbench.networks.backbones import VisionNetwork
from irbench.training.loop import TrainedModel


@runtime_checkable
class SharesNetwork(Protocol):
    """An encoder with a network of its own; both properties are available after training."""

    @property
    def network(self) -> VisionNetwork:
        """The trained network."""

    @property
    def trained_model(self) -> TrainedModel:
        """The record of the training."""
