"""Where the networks of IRGen start from.

The paper starts both the tokenizer's and the decoder's network from CLIP. Where nothing pretrained is to be had,
`start = "ft-clip"` starts them from the encoder that was trained on the same images, which is then trained first.
"""

from dataclasses import dataclass

from irbench.backbones import VisionNetwork
from irbench.collection import ImageSet
from irbench.errors import RecipeError
from irbench.machine import Runtime, seed_everything
from irbench.protocols import Parts
from irbench.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class StartConfig(TrainingConfig):
    """The recipe of a network that may start from another method's."""

    start: str = "weights"  # the backbone's own weights (or nothing), or the name of a method that trains an encoder


def starting_network(
    config: StartConfig, runtime: Runtime, parts: Parts, images: ImageSet
) -> tuple[VisionNetwork, str]:
    """Return a network that is ready to learn on `images`, and what it started from, for the key of what it learns."""
    seed_everything(runtime.seed)
    if config.start == "weights":
        network = VisionNetwork(config, weights=runtime.weights)
        return network, network.weights
    network, learnt = parts.trained_network(config.start, images)
    if network.name != config.backbone:
        raise RecipeError(
            f'start = "{config.start}": its network is {network.name}, but backbone = "{config.backbone}"'
        )
    return network, learnt
