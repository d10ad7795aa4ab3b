"""Encoders as they were published, nothing trained. Recipes: methods/clip.toml, methods/res101-img.toml.

Each sees pictures the way that its authors evaluated it: CLIP the central square, reduced to 224 pixels; ResNet-101
the central 224 of 256 pixels. Pictures are reduced bicubically, for ResNet-101 as well, which was evaluated bilinearly.
"""

from dataclasses import dataclass
from functools import cached_property

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.data.pixels import View
from irbench.networks.backbones import NetworkConfig, PublishedNetwork, run_network
from irbench.retrievers.network_encoder import describe_network
from irbench.runtime.machine import Runtime


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """Schema of methods/clip.toml and methods/res101-img.toml."""

    projected: bool = False  # through the network's last layer: CLIP's into the space that it shares with text
    cosine: bool = False  # vectors of length one, so that distance orders as the cosine does; else as they are


class OffTheShelfEncoder:
    """The pooled feature of a published network."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    @cached_property
    def network(self) -> PublishedNetwork:
        """The network, loaded when first asked for."""
        config = self.config
        network = PublishedNetwork(config, weights=self.runtime.weights, projected=config.projected)
        self.runtime.cast_weights(network)
        return network.to(self.runtime.device).eval()

    def encode(self, images: ImageSet) -> Embeddings:
        """Return the features E[N,D] of the images."""
        view = View(self.config.resize_size, self.config.fit)
        vectors = Embeddings(
            run_network(self.network, images, view, image_size=self.config.image_size, runtime=self.runtime)
        )
        return vectors.unit() if self.config.cosine else vectors

    def describe(self) -> Description:
        """Tell the network and its bytes."""
        return describe_network(self.network, self.network)
