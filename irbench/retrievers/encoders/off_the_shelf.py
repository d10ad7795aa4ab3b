"""Published encoders, used without training. Recipes: methods/clip.toml, methods/res101-img.toml.

Images are preprocessed as in the authors' evaluation: for CLIP the central square resized to 224 pixels, for ResNet-101
the central 224 of 256 pixels. Resizing is bicubic, for ResNet-101 as well, which was evaluated with bilinear resizing.
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

    projected: bool = False  # by the network's last layer; CLIP's projects into the space shared with text
    cosine: bool = False  # scale vectors to length one, so that distances order as cosines do

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projected and self.pool != "native":
            raise ValueError(
                f'pool = "{self.pool}": projected features are pooled by the network itself; leave one out'
            )
        if not self.pretrained:
            raise ValueError(
                f"backbone = {self.backbone} names no weights, and nothing trains this network: add their tag, "
                f"as in {self.backbone}.TAG (timm.list_pretrained('{self.backbone}') lists them)"
            )


class OffTheShelfEncoder:
    """The pooled feature of a published network."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    @cached_property
    def network(self) -> PublishedNetwork:
        """The network, loaded on first use."""
        config = self.config
        network = PublishedNetwork(config, weights=self.runtime.weights, projected=config.projected)
        self.runtime.cast_weights(network)
        return network.to(self.runtime.device).eval()

    def encode(self, images: ImageSet) -> Embeddings:
        """Return the features [N,D] of the images."""
        view = View(self.config.resize_size, self.config.fit)
        vectors = Embeddings(
            run_network(self.network, images, view, image_size=self.config.image_size, runtime=self.runtime)
        )
        return vectors.unit() if self.config.cosine else vectors

    def describe(self) -> Description:
        """Describe the network and its bytes."""
        return describe_network(self.network, self.network, self.runtime)
