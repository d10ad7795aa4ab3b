"""Vision networks from timm behind one interface: from images to tokens and to one feature.

`images` are float32 in 0 … 255, channels first; `images_uint8` are decoded images, channels last.
Shape letters: B images, H decoded size and S input size in pixels, T tokens, D dimensions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from timm.models import group_parameters
from torch import Tensor, nn

from irbench.config.fields import Part
from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone
from irbench.core.errors import RecipeError
from irbench.data.ahead import ahead
from irbench.data.decode import Fit
from irbench.data.pixels import View, pixels
from irbench.networks.pooling import Pool, as_tokens, dimensions, pooling, size_of
from irbench.networks.weights import check_name, find_weights, load_network
from irbench.runtime.batches import in_batches
from irbench.runtime.machine import Runtime
from irbench.runtime.progress import track

BATCH = 128  # images that are encoded at a time

T = TypeVar("T")
FROM_SCRATCH = "trained from scratch"


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The part of a recipe that chooses a network and its preprocessing."""

    backbone: str  # a timm model name: with a tag of weights ("resnet18.tv_in1k") pretrained, without one from scratch
    image_size: PositiveInt = 224  # S, pixels of the network's input
    resize_size: PositiveInt = 256  # H, pixels to which an image is resized before `image_size` of them are cropped
    fit: Fit = "center-crop"  # see irbench.data.decode.View
    drop_path: Part = 0.0  # probability of skipping a block in training, for networks with stochastic depth
    pool: Pool = "native"  # of its tokens into one feature, see irbench.networks.pooling
    final_norm: bool = True  # false: tokens and feature are a transformer's output before its last norm

    def __post_init__(self) -> None:
        if self.image_size > self.resize_size:
            raise ValueError(f"image_size = {self.image_size} is larger than resize_size = {self.resize_size}")

    @property
    def pretrained(self) -> bool:
        """Does the network start from published weights?"""
        return "." in self.backbone


class TimmNetwork(nn.Module):
    """A timm network that takes float32 images in 0 … 255, and knows the origin of its weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, *, weights: Sequence[Path] = ()) -> None:
        super().__init__()
        self.name = config.backbone
        self.weights = FROM_SCRATCH
        self.backbone: Any = self._create(config, weights)  # a timm model, whose methods nn.Module does not declare
        self.pool = config.pool
        self.token_dim, self.dim = dimensions(_architecture(config.backbone), config.image_size, config.pool)
        cfg = self.backbone.pretrained_cfg
        self.register_buffer("mean", 255 * torch.tensor(cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(cfg["std"]).view(1, 3, 1, 1), persistent=False)

    def normalized(self, images: Tensor) -> Tensor:
        """Return images [B,3,S,S] normalised by the mean and standard deviation of the backbone's training."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def facts(self) -> Backbone:
        """Return what a result reports of this network."""
        return Backbone(name=self.name, weights=self.weights, parameters=sum(p.numel() for p in self.parameters()))

    def _create(self, config: NetworkConfig, given: Sequence[Path]) -> Any:
        check_name(config.backbone)
        dimensions(_architecture(config.backbone), config.image_size, config.pool)  # can it be had at all?
        options: dict[str, Any] = dict(size_of(_architecture(config.backbone), config.image_size))
        if config.drop_path:
            options["drop_path_rate"] = config.drop_path
        if config.pretrained:
            weights = find_weights(config.backbone, given)
            self.weights = weights.origin
            backbone = load_network(config.backbone, weights, **options)
        else:
            backbone = timm.create_model(config.backbone, pretrained=False, num_classes=0, **options)
        if getattr(config, "train_size", 0) and backbone.pretrained_cfg.get("fixed_input_size"):
            raise RecipeError(
                f"train_size: {config.backbone} takes images of one size, that of its positions", code="bad-value"
            )
        if not config.final_norm and hasattr(backbone, "norm"):
            backbone.norm = nn.Identity()
        return backbone.to(memory_format=torch.channels_last)


class PublishedNetwork(TimmNetwork):
    """A published network: from images [B,3,S,S] to its pooled feature [B,D], `projected` by its last layer or not."""

    def __init__(self, config: NetworkConfig, *, weights: Sequence[Path] = (), projected: bool = False) -> None:
        super().__init__(config, weights=weights)
        if not projected:
            self.backbone.reset_classifier(0)

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B,D] of images [B,3,S,S]."""
        normalized = self.normalized(images)
        if self.pool == "native":  # timm's own way from the image to the feature, or to its projection
            features: Tensor = self.backbone(normalized)
            return features
        return pooling(self.backbone, self.pool, self.name)(
            as_tokens(self.backbone.forward_features(normalized), self.backbone)
        )


class VisionNetwork(TimmNetwork):
    """A network without its classifier, to be trained.

    Tokens are the output of the last block, one for each patch, after class token and registers where the network has
    any; of a convolutional network they are the positions of the last map. The feature is what `pool` makes of them.
    """

    def __init__(self, config: NetworkConfig, *, weights: Sequence[Path] = ()) -> None:
        super().__init__(config, weights=weights)
        self.backbone.reset_classifier(0)
        self._frozen: list[nn.Parameter] = []  # which would learn otherwise
        self._still: set[str] = set()  # modules that stay in evaluation mode

    def freeze(self, stages: int, *, statistics: bool = False) -> None:
        """Let the stem and the first `stages` stages (a transformer's blocks) learn nothing; 0 undoes an earlier call.

        The batch norms of what is frozen keep the means and variances that they have, with `statistics` all of them do.
        Raises `RecipeError` where no stage would be left.
        """
        for parameter in self._frozen:
            parameter.requires_grad = True
        names = self._first(stages) if stages else set()
        self._frozen = [one for name, one in self.backbone.named_parameters() if name in names and one.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad = False
        self._still = {name.rpartition(".")[0] for name in names} - {""}  # "": a class token's is the network
        if statistics:
            self._still |= {name for name, one in self.backbone.named_modules() if isinstance(one, nn.BatchNorm2d)}
        self.train(self.training)

    def _first(self, stages: int) -> set[str]:
        """Return the names of the parameters of the stem and of the first stages."""
        groups = group_parameters(self.backbone, self.backbone.group_matcher(coarse=True))
        if stages >= len(groups) - 1:
            raise RecipeError(
                f"frozen_stages = {stages}: {self.name} has {len(groups) - 1} stages, and one has to learn",
                code="bad-value",
            )
        return {name for group in range(stages + 1) for name in groups[group]}

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 -- torch's signature
        """Set training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for name in self._still:
            self.backbone.get_submodule(name).eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens [B,T,D] of images [B,3,S,S]."""
        return as_tokens(self.backbone.forward_features(self.normalized(images)), self.backbone)

    def feature(self, tokens: Tensor) -> Tensor:
        """Return the float32 feature [B,D] of tokens [B,T,D]."""
        return pooling(self.backbone, self.pool, self.name)(tokens)


def _architecture(backbone: str) -> str:
    return backbone.partition(".")[0]


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """Return values on the device; from pinned memory, so that the host does not wait for a GPU."""
    if torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def to_float(images_uint8: Tensor) -> Tensor:
    """Return float32 images [B,3,S,S] of uint8 images [B,S,S,3]."""
    return images_uint8.permute(0, 3, 1, 2).float()  # stays channels-last in memory


def center_crop(images_uint8: Tensor, image_size: int) -> Tensor:
    """Return the center crops, float32 [B,3,S,S], of uint8 images [B,H,H,3]."""
    start, end = (images_uint8.shape[1] - image_size) // 2, (images_uint8.shape[1] + image_size) // 2
    return to_float(images_uint8[:, start:end, start:end])


class Featurizer(nn.Module):
    """A network as a function from images to features, followed by `head` if there is one."""

    def __init__(self, network: VisionNetwork, head: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network
        self.head = head or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B,D] of images [B,3,S,S]."""
        return self.of_tokens(self.network(images))

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """Return features [B,D] of the network's tokens [B,T,D] of images."""
        features: Tensor = self.head(self.network.feature(tokens))
        return features


def run_network(
    module: nn.Module, images: ImageSet, view: View, *, image_size: int, runtime: Runtime
) -> NDArray[np.float32]:
    """Return the float32 outputs [N,…] of `module` for the center crop of every image, computed batch by batch.

    A batch that does not fit into memory is halved. Beside the outputs there is never more than two batches of them.
    """
    module.eval()
    with ahead(pixels(images, view, runtime)) as images_uint8, torch.inference_mode(), runtime.autocast():

        def computed(start: int, end: int) -> Tensor:
            batch = torch.from_numpy(images_uint8(start, end))
            output: Tensor = module(center_crop(to_device(batch, runtime.device), image_size)).float()
            return output

        batches = in_batches("encode", len(images), BATCH, computed)
        return _gathered(track(batches, f"encode {images.name}", total=-(-len(images) // BATCH)), len(images))


def _gathered(batches: Iterable[Tensor], count: int) -> NDArray[np.float32]:
    """Return batches as one array [N,…]; each is fetched from a GPU when that is busy with the next one."""
    outputs, end = np.empty(0, np.float32), 0
    for batch in _behind(batches):
        if not end:
            outputs = np.empty((count, *batch.shape[1:]), np.float32)
        outputs[end : end + len(batch)] = batch.cpu().numpy()
        end += len(batch)
    return outputs


def _behind(items: Iterable[T]) -> Iterator[T]:
    """Yield each item when the one after it is there."""
    waiting: list[T] = []
    for item in items:
        yield from waiting
        waiting = [item]
    yield from waiting
