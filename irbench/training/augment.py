"""Augmentation on the device: every image of a batch is transformed independently.

Random numbers are drawn on the CPU, so that a GPU trains on the same images. Shape letters: B images, H decoded size
and S input size in pixels.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from irbench.networks.backbones import to_device, to_float
from irbench.training.config import TrainingConfig


def augment(images_uint8: Tensor, config: TrainingConfig, generator: Generator, *, mirror: bool) -> Tensor:
    """Return float32 images [B,3,S,S] in 0 … 255 of uint8 images [B,H,H,3].

    Each is a random crop, mirrored, rotated, scaled and moved as `config` says; not mirrored if `mirror` is false.
    """
    images = to_float(_random_crops(images_uint8, config.image_size, generator))
    if mirror and config.mirror:
        flip = to_device(torch.rand(len(images), generator=generator).lt(0.5), images.device)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    if config.rotate or config.zoom or config.shift:
        images = _random_affine(images, config, generator)
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


def _random_affine(images: Tensor, config: TrainingConfig, generator: Generator) -> Tensor:
    """Rotate, scale and move each image [B,3,S,S]; pixels from outside repeat its border."""
    angle, zoom, right, down = 2 * torch.rand((4, len(images)), generator=generator) - 1
    angle, zoom = angle * math.radians(config.rotate), 1 + zoom * config.zoom
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift = 2 * config.shift  # the grid runs from -1 to 1
    theta = torch.stack([cos, -sin, right * shift, sin, cos, down * shift], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(to_device(theta, images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
