"""Identifiers from an autoencoder of pixels with a residual-quantised code map. Recipe: methods/identifier/rqvae.toml.

RQ-VAE (kakaobrain/rq-vae-transformer, configs/imagenet256/stage1) as the paper's Table 3 uses it: the code map of
8 x 8 x 4, read row by row and at each position from the first quantizer to the last, is an identifier of 256 codes. The
training uses no labels.

It differs from the published one: the reconstruction loss is the squared error alone, without the perceptual term
(LPIPS), which needs a pretrained network of its own, and without the adversarial one, so that reconstructions are
blurred. Each code's commitment is to its own residual, as in vector-quantize-pytorch, not to the sum of entries.

Shape letters: B images, S image size in pixels, s size of the code map, D dimensions of a position of the code map,
P = s·s positions, Q quantizers, M = P·Q codes, C channels.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

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
from irbench.networks.backbones import FROM_SCRATCH, run_network
from irbench.protocols import Components
from irbench.runtime.machine import Runtime, seed_everything
from irbench.training.config import TrainingConfig
from irbench.training.loop import Task, TrainedModel, train


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Schema of methods/identifier/rqvae.toml."""

    unused_keys: ClassVar[frozenset[str]] = frozenset(
        {"frozen_epochs", "frozen_stages", "frozen_statistics", "drop_path", "final_norm", "train_size"}
    )

    backbone: Literal["autoencoder"] = "autoencoder"  # the only choice: trained from scratch
    backbone_lr: NonNegativeFloat = 1.0
    channels: Annotated[int, Field(gt=0, multiple_of=4)] = 128  # of the widest map
    multipliers: tuple[PositiveInt, ...] = (
        1,
        1,
        2,
        2,
        4,
        4,
    )  # of `channels` at each resolution; each halves the one before
    blocks: PositiveInt = 2  # residual blocks at each resolution
    attention: bool = True  # self-attention at the lowest resolution
    dim: PositiveInt = 256  # D
    codebook_size: PositiveInt = 256  # L, one codebook shared by all quantizers
    num_quantizers: PositiveInt = 4  # Q, codes at each position
    decay: Part = 0.99  # of the moving averages that are the codebook entries
    commitment_weight: NonNegativeFloat = 0.25
    dead_below: NonNegativeInt = (
        1  # entries chosen by fewer vectors (a moving average) are replaced by vectors of the batch
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 2 ** (len(self.multipliers) - 1):
            raise ValueError(f"image_size = {self.image_size} cannot be halved {len(self.multipliers) - 1} times")

    @property
    def positions(self) -> int:
        """P, the positions of the code map."""
        return (self.image_size >> (len(self.multipliers) - 1)) ** 2


class RqVaeIdentifier:
    """The code map of a quantised autoencoder, flattened."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:  # noqa: ARG002 -- needs no components
        self.config, self.runtime = config, runtime
        self._task: Reconstruction | None = None
        self._trained_model: TrainedModel | None = None

    def train(self, images: ImageSet) -> None:
        """Train to reconstruct the images; labels are not used."""
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
        """Describe the autoencoder and its bytes, though encoding needs only its first half."""
        parameters = sum(p.numel() for p in self._trained.module.parameters())
        details: dict[str, object] = {
            "num_codebooks": self.config.positions * self.config.num_quantizers,
            "codebook_size": self.config.codebook_size,
        }
        if self._trained_model is not None:
            details["training"] = self._trained_model.training
        backbone = Backbone(name="convolutional autoencoder", weights=FROM_SCRATCH, parameters=parameters)
        numbers = parameters + self.config.codebook_size * self.config.dim
        return Description(backbone=backbone, model_bytes=4 * numbers, details=details)

    @property
    def _trained(self) -> "Reconstruction":
        if self._task is None:
            raise ContractError("RqVaeIdentifier was used before it was trained", code="not-trained")
        return self._task


class Reconstruction(Task):
    """The squared error of the reconstruction, plus the commitment of the code map to the codebook."""

    name = "rqvae"
    gathers = True  # the maps, so that all processes update the codebook alike

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
            rotation_trick=False,  # plain straight-through gradients
            sync_codebook=False,  # it sees whole batches
        )
        self.backbone = self.encoder
        self.module = nn.ModuleList([self.encoder, self.quantizer, self.decoder])

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:  # noqa: ARG002 -- needs no labels
        """Return the mean squared error of images in -1 … 1, plus the commitment."""
        inputs = scaled(images)
        quantized, _, commitment = self.quantize(self.part.gather(self.encoder(inputs)))
        error = functional.mse_loss(self.decoder(quantized[self.part.rows]).float(), inputs)
        return self.part.weight * error + commitment.mean()

    def quantize(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return quantised maps [B,D,s,s] of maps [B,D,s,s], codes [B,P,Q] and the commitment [Q] of each quantizer.

        In float32: in bfloat16 the distances to close codebook entries would be equal.
        """
        with torch.autocast(self.device, enabled=False):
            vectors = maps.float().flatten(2).transpose(1, 2)  # [B,P,D]
            quantized, codes, commitment = self.quantizer(vectors)
        return quantized.transpose(1, 2).reshape(maps.shape), codes, commitment


class Coder(nn.Module):
    """A trained autoencoder as a function from images to codes."""

    def __init__(self, task: Reconstruction) -> None:
        super().__init__()
        self.task, self.module = task, task.module

    def forward(self, images: Tensor) -> Tensor:
        """Return codes [B,M] of float32 images [B,3,S,S] in 0 … 255."""
        return self.task.quantize(self.task.encoder(scaled(images)))[1].flatten(1)


def scaled(images: Tensor) -> Tensor:
    """Scale images to -1 … 1, contiguous by channel: group norms are slow on channels-last memory."""
    return (images / 127.5 - 1).contiguous()


def make_encoder(config: Config) -> nn.Sequential:
    """Return the network from images [B,3,S,S] to code maps [B,D,s,s]."""
    widths = [config.channels * m for m in config.multipliers]
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
    for width, following in zip(widths, [*widths[1:], None], strict=True):
        layers += [Residual(width) for _ in range(config.blocks)]
        if following is not None:
            layers += [nn.Conv2d(width, following, 3, stride=2, padding=1)]
    return nn.Sequential(*layers, *_middle(widths[-1], config), *_last(widths[-1], config.dim))


def make_decoder(config: Config) -> nn.Sequential:
    """Return the network from quantised maps [B,D,s,s] to images [B,3,S,S] in -1 … 1."""
    widths = [config.channels * m for m in config.multipliers[::-1]]
    layers: list[nn.Module] = [nn.Conv2d(config.dim, widths[0], 3, padding=1), *_middle(widths[0], config)]
    for width, following in zip(widths, [*widths[1:], None], strict=True):
        layers += [Residual(width) for _ in range(config.blocks)]
        if following is not None:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, following, 3, padding=1)]
    return nn.Sequential(*layers, *_last(widths[-1], 3))


def _middle(width: int, config: Config) -> list[nn.Module]:
    return [Residual(width), *([SelfAttention(width)] if config.attention else []), Residual(width)]


def _last(width: int, out: int) -> list[nn.Module]:
    return [_norm(width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1)]


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, width // 4), width)  # 32 groups from 128 channels on


class Residual(nn.Module):
    """Two convolutions, each after a norm, with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            _norm(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return maps [B,C,s,s] of maps of that shape."""
        return x + self.layers(x)


class SelfAttention(nn.Module):
    """Single-head attention between the positions of a map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.query_key_value = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps [B,C,s,s] of maps of that shape."""
        query, key, value = self.query_key_value(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        y = functional.scaled_dot_product_attention(query, key, value)  # [B,P,C]
        return x + self.out(y.transpose(1, 2).reshape(x.shape))
