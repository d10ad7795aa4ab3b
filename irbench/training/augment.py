"""Augmentation on the device: every image of a batch is transformed independently.

Random numbers are drawn on the CPU, so that a GPU trains on the same images. Shape letters: B images, H decoded size
and S input size in pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from irbench.networks.backbones import to_device, to_float
from irbench.training.config import TrainingConfig


def augment(images_uint8: Tensor, config: TrainingConfig, generator: Generator, *, mirror: bool) -> Tensor:
    """Return float32 images [B,3,S,S] in 0 … 255 of uint8 images [B,H,H,3].

    Each is a random crop, mirrored, rotated, scaled, moved and recoloured as `config` says; not mirrored if `mirror` is
    false.
    """
    side = config.train_size or config.image_size
    if config.crop_area:
        images = _resized_crops(to_float(images_uint8), config, side, generator)
    else:
        images = to_float(_random_crops(images_uint8, side, generator))
    if mirror and config.mirror:
        flip = to_device(torch.rand(len(images), generator=generator).lt(0.5), images.device)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    if config.rotate or config.zoom or config.shift:
        images = _random_affine(images, config, generator)
    if config.colour:
        images = _recoloured(images, config.colour, generator)
    return images


def _random_crops(images_uint8: Tensor, image_size: int, generator: Generator) -> Tensor:
    """Crop [B,S,S,3] from [B,H,H,3], each at its own position, without resampling."""
    B, H, device = len(images_uint8), images_uint8.shape[1], images_uint8.device
    if image_size == H:
        return images_uint8
    corner = to_device(torch.randint(H - image_size + 1, (2, B), generator=generator), device)
    span = torch.arange(image_size, device=device)
    rows, columns = (corner[axis, :, None] + span for axis in (0, 1))  # [B,S] each
    batch = torch.arange(B, device=device)[:, None, None]
    return images_uint8[batch, rows[:, :, None], columns[:, None, :]]


def _resized_crops(images: Tensor, config: TrainingConfig, side: int, generator: Generator) -> Tensor:
    """Crop [B,3,S,S] from [B,3,H,H], each of its own area, shape and place (Szegedy et al. 2015, section 6)."""
    area, ratio, right, down = torch.rand((4, len(images)), generator=generator)
    area = config.crop_area + (1 - config.crop_area) * area
    ratio = ((2 * ratio - 1) * math.log(config.crop_ratio)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # shares of the image
    none = torch.zeros_like(area)
    right, down = (
        (2 * right - 1) * (1 - width),
        (2 * down - 1) * (1 - height),
    )  # of the middle; the grid runs from -1 to 1
    return _sampled(images, [width, none, right, none, height, down], side)


def _recoloured(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Change brightness, contrast and saturation of each image [B,3,S,S] by factors of its own, in this order."""
    factors = 1 + share * (2 * torch.rand((3, len(images), 1, 1, 1), generator=generator) - 1)
    brightness, contrast, saturation = to_device(factors, images.device)
    images = images * brightness
    images = torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, contrast)
    images = torch.lerp(images.mean(dim=1, keepdim=True), images, saturation)
    return images.clamp(0, 255)


def _random_affine(images: Tensor, config: TrainingConfig, generator: Generator) -> Tensor:
    """Rotate, scale and move each image [B,3,S,S]; pixels from outside repeat its border."""
    angle, zoom, right, down = 2 * torch.rand((4, len(images)), generator=generator) - 1
    angle, zoom = angle * math.radians(config.rotate), 1 + zoom * config.zoom
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift = 2 * config.shift  # the grid runs from -1 to 1
    return _sampled(images, [cos, -sin, right * shift, sin, cos, down * shift], images.shape[-1])


def _sampled(images: Tensor, entries: Sequence[Tensor], side: int) -> Tensor:
    """Sample images [B,3,H,H] at the places [B,side,side] of an affine grid; `entries` are the six of its matrix."""
    theta = to_device(torch.stack(list(entries), dim=1).view(-1, 2, 3), images.device)
    grid = functional.affine_grid(theta, [len(images), 3, side, side], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
