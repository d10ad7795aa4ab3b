"""Augmentation: crops are exact, mirrors exact, chance is the generator's alone."""

from dataclasses import replace

import pytest
import torch
from torch import Generator

from irbench.networks.backbones import center_crop, to_float
from irbench.training.augment import augment
from irbench.training.config import TrainingConfig

PLAIN = TrainingConfig(backbone="test_resnet", epochs=1, lr=1.0, image_size=5, resize_size=8)


@pytest.fixture
def images_uint8():
    return torch.randint(256, (64, 8, 8, 3), generator=Generator().manual_seed(0), dtype=torch.uint8)


def see(images_uint8, config=PLAIN, seed=0, *, mirror=True):
    return augment(images_uint8, config, Generator().manual_seed(seed), mirror=mirror)


def places(picture, square):
    """Corners at which `square` [3,S,S] is found in `picture` [H,H,3], as it is and mirrored."""
    side, whole = square.shape[1], to_float(picture[None])[0]
    corners = [(y, x) for y in range(9 - side) for x in range(9 - side)]
    cut = {corner: whole[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side] for corner in corners}
    return [c for c in corners if cut[c].equal(square)], [c for c in corners if cut[c].flip(-1).equal(square)]


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_every_crop_is_a_square_of_its_own_image(images_uint8, mirror, wanted):
    seen = see(images_uint8, replace(PLAIN, mirror=wanted), mirror=mirror)
    assert seen.shape == (64, 3, 5, 5)
    assert seen.is_contiguous(memory_format=torch.channels_last)  # as the network wants it: nothing is moved for that
    found = [places(picture, square) for picture, square in zip(images_uint8, seen, strict=True)]
    assert all(len(plain) + len(flipped) == 1 for plain, flipped in found)
    flips = sum(len(flipped) for _, flipped in found)
    assert 16 < flips < 48 if mirror and wanted else flips == 0
    corners = {corner for both in found for part in both for corner in part}
    assert {y for y, _ in corners} == {x for _, x in corners} == {0, 1, 2, 3}  # the last place too
    assert len(corners) > 10  # rows and columns are drawn apart


def test_an_image_of_the_input_size_is_left_whole(images_uint8):
    config = replace(PLAIN, image_size=8, mirror=False)
    assert see(images_uint8, config).equal(to_float(images_uint8))


@pytest.mark.parametrize("config", [PLAIN, replace(PLAIN, rotate=20.0, zoom=0.2, shift=0.1)])
def test_chance_is_the_generators_alone(images_uint8, config):
    first = see(images_uint8, config)
    torch.manual_seed(99)
    assert see(images_uint8, config).equal(first)
    assert not see(images_uint8, config, seed=1).equal(first)


def test_turning_scaling_and_moving_stay_in_range_and_keep_a_plain_image_plain(images_uint8):
    config = replace(PLAIN, rotate=30.0, zoom=0.3, shift=0.2)
    seen = see(images_uint8, config)
    assert seen.shape == (64, 3, 5, 5)
    assert seen.min() >= 0
    assert seen.max() <= 255.01
    plain = torch.full((4, 8, 8, 3), 77, dtype=torch.uint8)
    torch.testing.assert_close(see(plain, config), torch.full((4, 3, 5, 5), 77.0))


def test_a_shift_moves_by_the_share_of_the_side_that_it_says():
    picture = torch.zeros(200, 32, 32, 3, dtype=torch.uint8)
    picture[:, 16, 16] = 255
    seen = see(picture, replace(PLAIN, image_size=32, resize_size=32, shift=0.25), mirror=False)
    mass = seen[:, 0] / seen[:, 0].sum(dim=(1, 2), keepdim=True)
    centres = (mass.sum(dim=1) * torch.arange(32)).sum(dim=1) - 16
    assert 7 < centres.abs().max() <= 8.01


def test_without_chance_the_center_crop_is_seen(images_uint8):
    assert center_crop(images_uint8, 6).equal(to_float(images_uint8)[:, :, 1:7, 1:7])
    assert center_crop(images_uint8, 5).equal(to_float(images_uint8)[:, :, 1:6, 1:6])
