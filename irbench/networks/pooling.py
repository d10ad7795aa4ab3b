"""From a network's tokens to its feature. `pool` is a key of the recipes of networks.

native     as the network was published: timm's own head without the classifier (class token, mean, attention pooling)
cls        the class token
mean       the mean of the patches, or of the positions of a convolutional network's last map
gem        their generalised mean, p = 3 (Radenović et al. 2018)
attention  the network's own attention pooling

Shape letters: B images, T tokens, D dimensions, h and w positions of a map.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import timm
import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import Tensor

from irbench.core.errors import RecipeError

Pool = Literal["native", "cls", "mean", "attention", "gem"]
GEM_POWER = 3
_LEAST = 1e-6  # of a number that is raised to a power


def as_tokens(features: Tensor, backbone: Any) -> Tensor:
    """Return the output of a timm network's last block as tokens [B,T,D]: those of a map row by row."""
    if features.ndim == 3:
        return features
    channels_last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
    return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)


def pooling(backbone: Any, kind: Pool, name: str) -> Callable[[Tensor], Tensor]:
    """Return the function from tokens [B,T,D] to float32 features [B,D]; `RecipeError` where the network has none."""
    prefix = getattr(backbone, "num_prefix_tokens", None)  # class token and registers; None: a map
    if kind == "mean":
        return lambda tokens: tokens[:, prefix or 0 :].float().mean(dim=1)
    if kind == "gem":
        return lambda tokens: power_mean(tokens[:, prefix or 0 :].float(), GEM_POWER)
    if kind == "cls":
        if getattr(backbone, "cls_token", None) is None:
            raise RecipeError(f'pool = "cls": {name} has no class token', code="bad-value")
        return lambda tokens: tokens[:, 0].float()
    if kind == "attention":
        attend = getattr(backbone, "attn_pool", None)
        if attend is None:
            raise RecipeError(f'pool = "attention": {name} has no attention pooling', code="bad-value")
        return lambda tokens: attend(tokens).float()
    if _averages_alone(backbone):  # timm's mean has the precision of the tokens, of which there may be few bits
        return lambda tokens: tokens.float().mean(dim=1)
    return lambda tokens: backbone.forward_head(_as_features(tokens, backbone), pre_logits=True).float()


def power_mean(cells: Tensor, power: float) -> Tensor:
    """Return (mean of x^p)^(1/p) [B,D] over cells [B,T,D]; numbers below 0 count as 0, unless p = 1."""
    if power == 1:
        return cells.mean(dim=1)
    if power == torch.inf:
        return cells.amax(dim=1)
    return cells.clamp(min=_LEAST).pow(power).mean(dim=1).pow(1 / power)  # the root has no gradient at zero


def _averages_alone(backbone: Any) -> bool:
    pool = getattr(backbone, "global_pool", None)
    return isinstance(pool, SelectAdaptivePool2d) and pool.pool_type in ("avg", "fast", "fastavg")


def _as_features(tokens: Tensor, backbone: Any) -> Tensor:
    """Return tokens as timm's head takes them: those of a map as a square map."""
    if getattr(backbone, "num_prefix_tokens", None) is not None:
        return tokens
    B, T, D = tokens.shape
    side = round(T**0.5)
    cells = tokens.float().view(B, side, side, D)
    return cells if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else cells.permute(0, 3, 1, 2)


@cache
def dimensions(architecture: str, image_size: int, kind: Pool) -> tuple[int, int]:
    """Return the dimensions of a timm network's tokens and of its feature, without computing either.

    Raises `RecipeError` where the network takes no images of that size, or has no such pooling.
    """
    try:
        with torch.device("meta"), torch.inference_mode():
            options: dict[str, Any] = dict(size_of(architecture, image_size))
            network: Any = timm.create_model(architecture, pretrained=False, num_classes=0, **options)
            network.eval()
            tokens = as_tokens(network.forward_features(torch.zeros(1, 3, image_size, image_size)), network)
            return tokens.shape[2], pooling(network, kind, architecture)(tokens).shape[1]
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        published, why = timm.get_pretrained_cfg(architecture), str(error).partition("\n")[0]
        side = published.input_size[-1] if published else "another size"
        raise RecipeError(
            f"image_size = {image_size}: {architecture} takes no images of that size ({why}); published with {side}",
            code="bad-value",
        ) from error


def size_of(architecture: str, image_size: int) -> dict[str, int]:
    """Return how a timm network is told the size of its images; most convolutional ones take any."""
    published = timm.get_pretrained_cfg(architecture)
    return {"img_size": image_size} if published is not None and published.fixed_input_size else {}
