"""Augmentation on the device, on bytes: every picture of a batch is changed in its own way.

Random numbers are drawn on the CPU, so that a GPU sees the same pictures. Shape letters: B pictures, H decoded side,
S side that the network sees.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from irbench.networks.backbones import sent, to_float
from irbench.training.config import TrainingConfig


def augment(pictures: Tensor, config: TrainingConfig, generator: Generator, *, mirror: bool) -> Tensor:
    """Floats [B,3,S,S] from bytes [B,H,H,3]: a random square, perhaps mirrored, turned, scaled and moved."""
    images = to_float(_random_squares(pictures, config.image_size, generator))
    if mirror and config.mirror:
        flip = sent(torch.rand(len(images), generator=generator).lt(0.5), images.device)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    if config.rotate or config.zoom or config.shift:
        images = _random_affine(images, config, generator)
    return images


def _random_squares(pictures: Tensor, image_size: int, generator: Generator) -> Tensor:
    """Cut [B,S,S,3] from [B,H,H,3], each at its own place, without resampling."""
    room = pictures.shape[1] - image_size
    if room == 0:
        return pictures
    corner = sent(torch.randint(room + 1, (2, len(pictures)), generator=generator), pictures.device)
    span = torch.arange(image_size, device=pictures.device)
    rows, columns = (corner[axis, :, None] + span for axis in (0, 1))  # [B,S] each
    batch = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    return pictures[batch, rows[:, :, None], columns[:, None, :]]


def _random_affine(images: Tensor, config: TrainingConfig, generator: Generator) -> Tensor:
    """Turn, scale and move each picture; what comes into view is its border, repeated."""
    angle, zoom, right, down = 2 * torch.rand((4, len(images)), generator=generator) - 1
    angle, zoom = angle * math.radians(config.rotate), 1 + zoom * config.zoom
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift = 2 * config.shift  # the grid runs from -1 to 1
    theta = torch.stack([cos, -sin, right * shift, sin, cos, down * shift], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(sent(theta, images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
