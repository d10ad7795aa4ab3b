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
from torch import Tensor, nn

from irbench.collection import ImageSet
from irbench.errors import MissingWeights
from irbench.images import View, pixels
from irbench.machine import Runtime
from irbench.progress import track
from irbench.protocols import Backbone
from irbench.store import sha256

BATCH = 128  # pictures that run through a network at once
NOTHING = "trained from nothing"


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The part of a recipe that chooses a network."""

    backbone: str  # a timm model name, with its weights' tag where `pretrained`
    pretrained: bool = True
    side: int = 224  # pixels that the network sees


class VisionNetwork(nn.Module):
    """A timm network without its classifier.

    Tokens are the last block's, one for each patch, after the class token where the network has one; of a
    convolutional network they are the cells of the last map. The feature is the class token, or the mean token.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, *, weights: Path | None = None) -> None:
        super().__init__()
        self.weights = NOTHING
        self.body: Any = self._create(config, weights)  # a timm model, whose methods nn.Module does not declare
        self.name = config.backbone
        self.dim: int = self.body.num_features
        self._has_class_token = getattr(self.body, "num_prefix_tokens", 0) > 0
        cfg = self.body.pretrained_cfg
        self.register_buffer("mean", 255 * torch.tensor(cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(cfg["std"]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens [B,T,D] of pictures [B,3,S,S], floats from 0 to 255."""
        x = (images - self.mean) / self.std
        out: Tensor = self.body.forward_features(x.contiguous(memory_format=torch.channels_last))
        return out.flatten(2).transpose(1, 2) if out.ndim == 4 else out

    def feature(self, tokens: Tensor) -> Tensor:
        """One vector [B,D] for each picture, in float32."""
        return tokens[:, 0].float() if self._has_class_token else tokens.float().mean(dim=1)

    def facts(self) -> Backbone:
        """What a result tells of this network."""
        return Backbone(name=self.name, weights=self.weights, parameters=sum(p.numel() for p in self.parameters()))

    def _create(self, config: NetworkConfig, weights: Path | None) -> Any:
        options: dict[str, Any] = {"num_classes": 0}
        if "vit" in config.backbone or "deit" in config.backbone:
            options["img_size"] = config.side
        if not config.pretrained:
            body = timm.create_model(config.backbone, pretrained=False, **options)
        else:
            body, self.weights = _pretrained(config.backbone, weights, options)
        # The published encoder stops before the last norm of CLIP (yakt00/IRGen:model/CLIP/clip/model.py:220-240)
        if "clip" in config.backbone:
            body.norm = nn.Identity()
        return body.to(memory_format=torch.channels_last)


def to_float(pictures: Tensor) -> Tensor:
    """Floats [B,3,S,S] from bytes [B,S,S,3]."""
    return pictures.permute(0, 3, 1, 2).float()  # stays channels-last in memory


def centre(pictures: Tensor, side: int) -> Tensor:
    """Floats [B,3,S,S] from the middle of bytes [B,H,H,3]."""
    start = (pictures.shape[1] - side) // 2
    return to_float(pictures[:, start : start + side, start : start + side])


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


def run_network(module: nn.Module, images: ImageSet, view: View, *, side: int, runtime: Runtime) -> NDArray[np.float32]:
    """Return the outputs [N,…] of `module` for the middle square of every image, in batches, without gradients."""
    module.eval()
    pictures = pixels(images, view, runtime)
    starts = range(0, len(images), BATCH)
    outputs = []
    with torch.inference_mode(), runtime.autocast():
        for start in track(starts, f"encode {images.name}", total=len(starts)):
            batch = torch.from_numpy(pictures[np.arange(start, min(start + BATCH, len(images)))])
            outputs.append(module(centre(batch.to(runtime.device), side)).float().cpu().numpy())
    return np.concatenate(outputs)


def _pretrained(name: str, weights: Path | None, options: dict[str, Any]) -> tuple[Any, str]:
    """Load the published weights of timm model `name`: from the user's file, else the hub's cache, else the hub."""
    if weights is not None and not weights.is_file():
        raise MissingWeights(f"--weights {weights}: no such file; it has to hold the weights of {name}")
    overlay = {"file": str(weights)} if weights is not None else None
    try:
        body: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:  # the hub, the network and the file format each fail in ways of their own
        raise MissingWeights(_advice(name, weights, error)) from error
    if weights is not None:
        return body, f"file {weights.name} sha256:{sha256(weights)}"
    return body, f"hub {body.pretrained_cfg.get('hf_hub_id') or body.pretrained_cfg.get('url')}"


def _advice(name: str, weights: Path | None, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0][:200]
    if weights is not None:
        return f"--weights {weights} does not hold the weights of timm model {name}: {reason}"
    cfg = timm.get_pretrained_cfg(name)
    where = f"https://huggingface.co/{cfg.hf_hub_id}" if cfg and cfg.hf_hub_id else str(cfg and cfg.url)
    return (
        f"no weights for {name}: they are not in the hub's cache and the hub cannot be reached ({reason}). Fetch "
        f"model.safetensors from {where} and give it by --weights FILE, or use --scale tiny or small, "
        "which train from nothing"
    )
