"""The initial weights of IRGen's networks.

The paper starts the tokenizer's and the decoder's network from CLIP. Where no pretrained weights are at hand,
`start = "ft-clip"` starts both from the encoder of that method, which is trained on the same images first.
"""

from dataclasses import dataclass
from typing import NamedTuple

from irbench.core.benchmark import ImageSet
from irbench.core.errors import RecipeError
from irbench.networks.backbones import NetworkConfig, VisionNetwork
from irbench.protocols import Components, Trainable
from irbench.runtime.machine import Runtime, seed_everything
from irbench.training.config import TrainingConfig
from irbench.training.sharing import SharesNetwork


@dataclass(frozen=True, kw_only=True)
class StartConfig(TrainingConfig):
    """The recipe of a network that may start from another method's."""

    start: str = "weights"  # "weights": as `backbone` says; else the name of a method that trains an encoder


class Start(NamedTuple):
    """A network before its training."""

    network: VisionNetwork
    origin: str  # of its weights: part of the key of what is trained from it
    training: dict[str, dict[str, object]]  # of the method that it starts from: see TrainedModel.training


def check_start(config: StartConfig, components: Components) -> None:
    """Raise `RecipeError` where the network of `start` cannot be this recipe's; nothing is trained to find out."""
    if config.start == "weights":
        return
    other = getattr(components.uncached_encoder(config.start), "config", None)
    if not isinstance(other, NetworkConfig):  # of the user's, perhaps: known when it is trained
        return
    _check_backbone(config, other.backbone)
    if other.fit != config.fit:  # everything would have other proportions than the network has learned
        raise RecipeError(
            f'start = "{config.start}": its network learns from images with fit = "{other.fit}", but fit = '
            f'"{config.fit}" is for this one; set one of the two, as in --set {config.start}.fit={config.fit}',
            code="other-fit",
        )


def _check_backbone(config: StartConfig, backbone: str) -> None:
    if backbone != config.backbone:
        raise RecipeError(
            f'start = "{config.start}": its network is {backbone}, but backbone = "{config.backbone}"',
            code="wrong-backbone",
        )


def starting_network(config: StartConfig, runtime: Runtime, components: Components, images: ImageSet) -> Start:
    """Return the network to train on `images`.

    Raises `RecipeError` if `start` names a method without a network, or with another backbone than the recipe's.
    """
    seed_everything(runtime.seed)
    if config.start == "weights":
        network = VisionNetwork(config, weights=runtime.weights)
        return Start(network, network.weights, {})
    encoder = components.uncached_encoder(config.start)
    if isinstance(encoder, Trainable):
        encoder.train(images)
    if not isinstance(encoder, SharesNetwork):
        raise RecipeError(
            f'start = "{config.start}": this method trains no network that another could start from', code="no-network"
        )
    _check_backbone(config, encoder.network.name)  # a class of the user's need not have a config that tells it
    seed_everything(runtime.seed)  # the state of the generators must not depend on whether the encoder was cached
    return Start(encoder.network, encoder.trained_model.content, encoder.trained_model.training)
