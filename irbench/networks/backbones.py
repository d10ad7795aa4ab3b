"""Vision networks from timm behind one face: pictures in, tokens and one feature out.

Shape letters: B images, S side in pixels, T tokens, D dimensions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor, nn

from irbench.config.fields import Part
from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone
from irbench.data.decode import Fit
from irbench.data.pixels import View, pixels
from irbench.networks.weights import check_name, find_weights, load_network
from irbench.runtime.machine import Runtime
from irbench.runtime.progress import track

BATCH = 128  # pictures that run through a network at once
NOTHING = "trained from scratch"


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The part of a recipe that chooses a network, and how pictures come to it."""

    backbone: str  # a timm model name: with a tag of weights ("resnet18.tv_in1k") pretrained, without one from scratch
    image_size: PositiveInt = 224  # pixels that the network sees
    resize_size: PositiveInt = 256  # pixels to which a picture is reduced, a square of `side` of which is seen
    fit: Fit = "center-crop"  # see irbench.data.pixels.View
    drop_path: Part = 0.0  # share of the blocks that a training step skips, for networks that have that
    final_norm: bool = True  # false: tokens and feature leave a transformer before its last norm

    def __post_init__(self) -> None:
        if self.image_size > self.resize_size:
            raise ValueError(f"no square of image_size = {self.image_size} fits into resize_size = {self.resize_size}")

    @property
    def pretrained(self) -> bool:
        """Does the network start from published weights?"""
        return "." in self.backbone


class TimmNetwork(nn.Module):
    """A timm network that takes pictures as floats from 0 to 255, and knows where its weights come from."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, *, weights: Path | None = None) -> None:
        super().__init__()
        self.name = config.backbone
        self.weights = NOTHING
        self.backbone: Any = self._create(config, weights)  # a timm model, whose methods nn.Module does not declare
        self.dim: int = self.backbone.num_features
        cfg = self.backbone.pretrained_cfg
        self.register_buffer("mean", 255 * torch.tensor(cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(cfg["std"]).view(1, 3, 1, 1), persistent=False)

    def normalized(self, images: Tensor) -> Tensor:
        """Pictures [B,3,S,S] in the scale of colours that the body was trained with."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def facts(self) -> Backbone:
        """What a result tells of this network."""
        return Backbone(name=self.name, weights=self.weights, parameters=sum(p.numel() for p in self.parameters()))

    def _create(self, config: NetworkConfig, file: Path | None) -> Any:
        options: dict[str, Any] = {}
        if "vit" in config.backbone or "deit" in config.backbone:
            options["img_size"] = config.image_size
        if config.drop_path:
            options["drop_path_rate"] = config.drop_path
        if config.pretrained:
            weights = find_weights(config.backbone, file)
            self.weights = weights.origin
            backbone = load_network(config.backbone, weights, **options)
        else:
            check_name(config.backbone)
            backbone = timm.create_model(config.backbone, pretrained=False, num_classes=0, **options)
        if not config.final_norm and hasattr(backbone, "norm"):
            backbone.norm = nn.Identity()
        return backbone.to(memory_format=torch.channels_last)


class PublishedNetwork(TimmNetwork):
    """A network used as it was published: [B,3,S,S] to its pooled feature [B,D], `projected` by its last layer or not.

    A Vision Transformer's pooled feature is its class token after the last norm, a convolutional network's the mean.
    """

    def __init__(self, config: NetworkConfig, *, weights: Path | None = None, projected: bool = False) -> None:
        super().__init__(config, weights=weights)
        if not projected:
            self.backbone.reset_classifier(0)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B,D] of pictures [B,3,S,S]."""
        features: Tensor = self.backbone(self.normalized(images))
        return features


class VisionNetwork(TimmNetwork):
    """A network without its classifier, to be trained.

    Tokens are the last block's, one for each patch, after the class token where the network has one; of a
    convolutional network they are the cells of the last map. The feature is the class token, or the mean token.
    """

    def __init__(self, config: NetworkConfig, *, weights: Path | None = None) -> None:
        super().__init__(config, weights=weights)
        self.backbone.reset_classifier(0)
        self._has_class_token = getattr(self.backbone, "num_prefix_tokens", 0) > 0

    def forward(self, images: Tensor) -> Tensor:
        """Tokens [B,T,D] of pictures [B,3,S,S], floats from 0 to 255."""
        out: Tensor = self.backbone.forward_features(self.normalized(images))
        return out.flatten(2).transpose(1, 2) if out.ndim == 4 else out

    def feature(self, tokens: Tensor) -> Tensor:
        """One vector [B,D] for each picture, in float32."""
        return tokens[:, 0].float() if self._has_class_token else tokens.float().mean(dim=1)


def sent(values: Tensor, device: torch.device | str) -> Tensor:
    """Return values on the device; the host does not wait until a GPU has come to them, as it would without pinning."""
    if torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def to_float(pictures: Tensor) -> Tensor:
    """Floats [B,3,S,S] from bytes [B,S,S,3]."""
    return pictures.permute(0, 3, 1, 2).float()  # stays channels-last in memory


def centre(pictures: Tensor, image_size: int) -> Tensor:
    """Floats [B,3,S,S] from the middle of bytes [B,H,H,3]."""
    start, end = (pictures.shape[1] - image_size) // 2, (pictures.shape[1] + image_size) // 2
    return to_float(pictures[:, start:end, start:end])


class Featurizer(nn.Module):
    """A network as a function from pictures to features, and on through `head` where there is one."""

    def __init__(self, network: VisionNetwork, head: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network
        self.head = head or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Features [B,D] of pictures [B,3,S,S]."""
        features: Tensor = self.head(self.network.feature(self.network(images)))
        return features


def run_network(
    module: nn.Module, images: ImageSet, view: View, *, image_size: int, runtime: Runtime
) -> NDArray[np.float32]:
    """Return the outputs [N,…] of `module` for the middle square of every image, in batches, without gradients."""
    module.eval()
    pictures = pixels(images, view, runtime)
    starts = range(0, len(images), BATCH)
    outputs: list[Tensor] = []
    with torch.inference_mode(), runtime.autocast():
        for start in track(starts, f"encode {images.name}", total=len(starts)):
            batch = torch.from_numpy(pictures[np.arange(start, min(start + BATCH, len(images)))])
            outputs.append(module(centre(sent(batch, runtime.device), image_size)).float())
            outputs[-2:-1] = [output.cpu() for output in outputs[-2:-1]]  # a GPU has the next batch to work on by now
    return np.concatenate([output.cpu().numpy() for output in outputs])
