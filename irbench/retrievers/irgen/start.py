"""Where the networks of IRGen start from.

The paper starts both the tokenizer's and the decoder's network from CLIP. Where nothing pretrained is to be had,
`start = "ft-clip"` starts them from the encoder that was trained on the same images, which is then trained first.
"""

from dataclasses import dataclass
from typing import NamedTuple

from irbench.core.benchmark import ImageSet
from irbench.core.errors import RecipeError
from irbench.networks.backbones import VisionNetwork
from irbench.protocols import Components
from irbench.runtime.machine import Runtime, seed_everything
from irbench.training.config import TrainingConfig
from irbench.training.sharing import SharesNetwork


@dataclass(frozen=True, kw_only=True)
class StartConfig(TrainingConfig):
    """The recipe of a network that may start from another method's."""

    start: str = "weights"  # the backbone's own weights (or nothing), or the name of a method that trains an encoder


class Start(NamedTuple):
    """A network that is ready to learn."""

    network: VisionNetwork
    origin: str  # what it started from, for the key of what it learns
    training: dict[str, dict[str, object]]  # how it learnt what it starts from: see TrainedModel.training


def starting_network(config: StartConfig, runtime: Runtime, components: Components, images: ImageSet) -> Start:
    """Return the network that is to learn on `images`."""
    seed_everything(runtime.seed)
    if config.start == "weights":
        network = VisionNetwork(config, weights=runtime.weights)
        return Start(network, network.weights, {})
    encoder = components.trained_encoder(config.start, images)
    if not isinstance(encoder, SharesNetwork):
        raise RecipeError(f'start = "{config.start}": this method trains no network that another could start from')
    network, trained = encoder.network, encoder.trained_model
    seed_everything(runtime.seed)  # whatever training it, or not training it again, has drawn
    if network.name != config.backbone:
        raise RecipeError(
            f'start = "{config.start}": its network is {network.name}, but backbone = "{config.backbone}"'
        )
    return Start(network, trained.content, trained.training)
