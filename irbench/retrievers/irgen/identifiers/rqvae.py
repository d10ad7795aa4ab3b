"""Identifiers from an autoencoder of pixels with a residual-quantised code map. Recipe: methods/identifier/rqvae.toml.

RQ-VAE (kakaobrain/rq-vae-transformer, configs/imagenet256/stage1) as the paper's Table 3 uses it: the code map of
8 x 8 x 4, read row by row and at each place from the first code to the last, is an identifier of 256 codes. Nothing
in it was trained to tell classes apart.

It differs from the published one: the reconstruction is judged by its squared error alone, without the perceptual
term (LPIPS), which needs a pretrained network of its own, and without the adversarial one; so its pictures are
blurred. Each code's commitment is to its own residual, as vector-quantize-pytorch has it, not to the sum of entries.

Shape letters: B images, S side in pixels, D dimensions of a place of the code map, P places, Q quantizers,
M = P·Q codes.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from vector_quantize_pytorch import ResidualVQ

from irbench.config.fields import Part
from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone, Description
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.data.pixels import View
from irbench.networks.backbones import NOTHING, run_network
from irbench.protocols import Components
from irbench.runtime.machine import Runtime, seed_everything
from irbench.training.config import TrainingConfig
from irbench.training.loop import Task, TrainedModel, train


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Schema of methods/identifier/rqvae.toml."""

    backbone: Literal["autoencoder"] = "autoencoder"  # always its own, from scratch
    backbone_lr: NonNegativeFloat = 1.0
    channels: Annotated[int, Field(gt=0, multiple_of=4)] = 128  # of the widest map
    multipliers: tuple[PositiveInt, ...] = (1, 1, 2, 2, 4, 4)  # channels at each width, which is halved between them
    blocks: PositiveInt = 2  # residual blocks at each width
    attention: bool = True  # between the places of the narrowest map
    dim: PositiveInt = 256  # D
    codebook_size: PositiveInt = 256  # L, one codebook for all depths
    num_quantizers: PositiveInt = 4  # codes at each place
    decay: Part = 0.99  # of the running means that the codebook is made of
    commitment_weight: NonNegativeFloat = 0.25
    dead_below: NonNegativeInt = 1  # an entry that fewer vectors (a running mean) chose is set to one of the batch

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 2 ** (len(self.multipliers) - 1):
            raise ValueError(f"side = {self.image_size} cannot be halved {len(self.multipliers) - 1} times")

    @property
    def places(self) -> int:
        """P, of the code map."""
        return (self.image_size >> (len(self.multipliers) - 1)) ** 2


class RqVaeIdentifier:
    """The code map of a quantised autoencoder, flattened."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:  # noqa: ARG002 -- needs no components
        self.config, self.runtime = config, runtime
        self._task: Reconstruction | None = None
        self._trained_model: TrainedModel | None = None

    def train(self, images: ImageSet) -> None:
        """Learn to reconstruct the images; labels are not looked at."""
        seed_everything(self.runtime.seed)
        task = Reconstruction(self.config, device=self.runtime.device)
        self._trained_model = train(task, images, self.config, self.runtime)
        self._task = task

    def encode(self, images: ImageSet) -> Identifiers:
        """Return the codes [N,M] of the images; `train` comes first."""
        view = View(self.config.resize_size, self.config.fit)
        codes = run_network(Coder(self._trained), images, view, image_size=self.config.image_size, runtime=self.runtime)
        return Identifiers(codes.astype(np.int64), self.config.codebook_size)

    def describe(self) -> Description:
        """Tell the autoencoder and its bytes; only its first half is needed to encode."""
        parameters = sum(p.numel() for p in self._trained.module.parameters())
        details: dict[str, object] = {
            "num_codebooks": self.config.places * self.config.num_quantizers,
            "codebook_size": self.config.codebook_size,
        }
        if self._trained_model is not None:
            details["training"] = self._trained_model.training
        backbone = Backbone(name="convolutional autoencoder", weights=NOTHING, parameters=parameters)
        kept = parameters + self.config.codebook_size * self.config.dim
        return Description(backbone=backbone, model_bytes=4 * kept, details=details)

    @property
    def _trained(self) -> "Reconstruction":
        if self._task is None:
            raise ContractError("RqVaeIdentifier was used before it was trained")
        return self._task


class Reconstruction(Task):
    """Squared error of the reconstruction, and the commitment of the code map to the codebook."""

    name = "rqvae"

    def __init__(self, config: Config, *, device: str) -> None:
        self.device = device
        self.encoder, self.decoder = make_encoder(config), make_decoder(config)
        self.quantizer = ResidualVQ(
            dim=config.dim,
            num_quantizers=config.num_quantizers,
            codebook_size=config.codebook_size,
            shared_codebook=True,
            decay=config.decay,
            commitment_weight=config.commitment_weight,
            kmeans_init=True,
            threshold_ema_dead_code=config.dead_below,
            rotation_trick=False,  # a plain straight-through gradient
        )
        self.backbone = self.encoder
        self.module = nn.ModuleList([self.encoder, self.quantizer, self.decoder])

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:  # noqa: ARG002 -- needs no labels
        """Mean squared error of pictures in -1 … 1, plus the commitment."""
        pictures = scaled(images)
        quantized, _, commitment = self.quantize(self.encoder(pictures))
        return functional.mse_loss(self.decoder(quantized).float(), pictures) + commitment.mean()

    def quantize(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantised maps [B,D,s,s] of maps [B,D,s,s], codes [B,P,Q] and the commitment of each depth, in float32.

        bfloat16 would tell near entries of a codebook no more apart.
        """
        with torch.autocast(self.device, enabled=False):
            places = maps.float().flatten(2).transpose(1, 2)  # [B,P,D]
            quantized, codes, commitment = self.quantizer(places)
        return quantized.transpose(1, 2).reshape(maps.shape), codes, commitment


class Coder(nn.Module):
    """A trained autoencoder as a function from pictures to codes."""

    def __init__(self, task: Reconstruction) -> None:
        super().__init__()
        self.task, self.module = task, task.module

    def forward(self, images: Tensor) -> Tensor:
        """Codes [B,M] of pictures [B,3,S,S], floats from 0 to 255."""
        return self.task.quantize(self.task.encoder(scaled(images)))[1].flatten(1)


def scaled(images: Tensor) -> Tensor:
    """Pictures in -1 … 1, channel by channel in memory: group norms are slow in the other order."""
    return (images / 127.5 - 1).contiguous()


def make_encoder(config: Config) -> nn.Sequential:
    """Return the network from pictures [B,3,S,S] to code maps [B,D,s,s]."""
    widths = [config.channels * m for m in config.multipliers]
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
    for here, below in zip(widths, [*widths[1:], None], strict=True):
        layers += [Residual(here) for _ in range(config.blocks)]
        if below is not None:
            layers += [nn.Conv2d(here, below, 3, stride=2, padding=1)]
    return nn.Sequential(*layers, *_middle(widths[-1], config), *_last(widths[-1], config.dim))


def make_decoder(config: Config) -> nn.Sequential:
    """Return the network from quantised maps [B,D,s,s] to pictures [B,3,S,S] in -1 … 1."""
    widths = [config.channels * m for m in config.multipliers[::-1]]
    layers: list[nn.Module] = [nn.Conv2d(config.dim, widths[0], 3, padding=1), *_middle(widths[0], config)]
    for here, above in zip(widths, [*widths[1:], None], strict=True):
        layers += [Residual(here) for _ in range(config.blocks)]
        if above is not None:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(here, above, 3, padding=1)]
    return nn.Sequential(*layers, *_last(widths[-1], 3))


def _middle(width: int, config: Config) -> list[nn.Module]:
    return [Residual(width), *([SelfAttention(width)] if config.attention else []), Residual(width)]


def _last(width: int, out: int) -> list[nn.Module]:
    return [_norm(width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1)]


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, width // 4), width)  # 32 groups from 128 channels on


class Residual(nn.Module):
    """Two convolutions, each after a norm, and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            _norm(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B,C,s,s]."""
        return x + self.layers(x)


class SelfAttention(nn.Module):
    """Every place of a map looks at all others, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.query_key_value = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B,C,s,s]."""
        query, key, value = self.query_key_value(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        y = functional.scaled_dot_product_attention(query, key, value)  # [B,P,C]
        return x + self.out(y.transpose(1, 2).reshape(x.shape))
