"""Augmentation on the device: every image of a batch is transformed independently.

Random numbers are drawn on the CPU, so that a GPU trains on the same images. Shape letters: B images, H decoded size
and S input size in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from irbench.networks.backbones import to_device, to_float
from irbench.training.config import TrainingConfig
from irbench.training.parallel import ALL, Part


@dataclass(frozen=True)
class _Draws:
    """Draws random numbers for every image of a batch, and returns those of a part of it."""

    generator: Generator
    total: int
    rows: slice

    def uniform(self, numbers: int) -> Tensor:
        """Return numbers [numbers,B] in 0 … 1."""
        return torch.rand((numbers, self.total), generator=self.generator)[:, self.rows]

    def below(self, limit: int, numbers: int) -> Tensor:
        """Return integers [numbers,B] below the limit."""
        return torch.randint(limit, (numbers, self.total), generator=self.generator)[:, self.rows]


def augment(
    images_uint8: Tensor, config: TrainingConfig, generator: Generator, *, mirror: bool, part: Part = ALL
) -> Tensor:
    """Return float32 images [B,3,S,S] in 0 … 255 of uint8 images [B,H,H,3].

    Each is a random crop, mirrored, rotated, scaled, moved and recoloured as `config` says; not mirrored if `mirror` is
    false. Images that are a `part` of a batch look as they would in the whole of it.
    """
    draws = _Draws(generator, part.size(images_uint8), part.rows)
    side = config.train_size or config.image_size
    if config.crop_area:
        images = _resized_crops(to_float(images_uint8), config, side, draws)
    else:
        images = to_float(_random_crops(images_uint8, side, draws))
    if mirror and config.mirror:
        flip = to_device(draws.uniform(1)[0].lt(0.5), images.device)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    if config.rotate or config.zoom or config.shift:
        images = _random_affine(images, config, draws)
    if config.colour:
        images = _recoloured(images, config.colour, draws)
    return images


def _random_crops(images_uint8: Tensor, image_size: int, draws: _Draws) -> Tensor:
    """Crop [B,S,S,3] from [B,H,H,3], each at its own position, without resampling."""
    B, H, device = len(images_uint8), images_uint8.shape[1], images_uint8.device
    if image_size == H:
        return images_uint8
    corner = to_device(draws.below(H - image_size + 1, 2), device)
    span = torch.arange(image_size, device=device)
    rows, columns = (corner[axis, :, None] + span for axis in (0, 1))  # [B,S] each
    batch = torch.arange(B, device=device)[:, None, None]
    return images_uint8[batch, rows[:, :, None], columns[:, None, :]]


def _resized_crops(images: Tensor, config: TrainingConfig, side: int, draws: _Draws) -> Tensor:
    """Crop [B,3,S,S] from [B,3,H,H], each of its own area, shape and place (Szegedy et al. 2015, section 6)."""
    area, ratio, right, down = draws.uniform(4)
    area = config.crop_area + (1 - config.crop_area) * area
    ratio = ((2 * ratio - 1) * math.log(config.crop_ratio)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # shares of the image
    none = torch.zeros_like(area)
    right, down = (
        (2 * right - 1) * (1 - width),
        (2 * down - 1) * (1 - height),
    )  # of the middle; the grid runs from -1 to 1
    return _sampled(images, [width, none, right, none, height, down], side)


def _recoloured(images: Tensor, share: float, draws: _Draws) -> Tensor:
    """Change brightness, contrast and saturation of each image [B,3,S,S] by factors of its own, in this order."""
    factors = 1 + share * (2 * draws.uniform(3)[:, :, None, None, None] - 1)
    brightness, contrast, saturation = to_device(factors, images.device)
    images = images * brightness
    images = torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, contrast)
    images = torch.lerp(images.mean(dim=1, keepdim=True), images, saturation)
    return images.clamp(0, 255)


def _random_affine(images: Tensor, config: TrainingConfig, draws: _Draws) -> Tensor:
    """Rotate, scale and move each image [B,3,S,S]; pixels from outside repeat its border."""
    angle, zoom, right, down = 2 * draws.uniform(4) - 1
    angle, zoom = angle * math.radians(config.rotate), 1 + zoom * config.zoom
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift = 2 * config.shift  # the grid runs from -1 to 1
    return _sampled(images, [cos, -sin, right * shift, sin, cos, down * shift], images.shape[-1])


def _sampled(images: Tensor, entries: Sequence[Tensor], side: int) -> Tensor:
    """Sample images [B,3,H,H] at the places [B,side,side] of an affine grid; `entries` are the six of its matrix."""
    theta = to_device(torch.stack(list(entries), dim=1).view(-1, 2, 3), images.device)
    grid = functional.affine_grid(theta, [len(images), 3, side, side], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
