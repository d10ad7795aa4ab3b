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
def pictures():
    return torch.randint(256, (64, 8, 8, 3), generator=Generator().manual_seed(0), dtype=torch.uint8)


def see(pictures, config=PLAIN, seed=0, *, mirror=True):
    return augment(pictures, config, Generator().manual_seed(seed), mirror=mirror)


def places(picture, square):
    """Corners at which `square` [3,S,S] is found in `picture` [H,H,3], as it is and mirrored."""
    side, whole = square.shape[1], to_float(picture[None])[0]
    corners = [(y, x) for y in range(9 - side) for x in range(9 - side)]
    cut = {corner: whole[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side] for corner in corners}
    return [c for c in corners if cut[c].equal(square)], [c for c in corners if cut[c].flip(-1).equal(square)]


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_every_crop_is_a_square_of_its_own_picture(pictures, mirror, wanted):
    seen = see(pictures, replace(PLAIN, mirror=wanted), mirror=mirror)
    assert seen.shape == (64, 3, 5, 5)
    assert seen.is_contiguous(memory_format=torch.channels_last)  # as the network wants it: nothing is moved for that
    found = [places(picture, square) for picture, square in zip(pictures, seen, strict=True)]
    assert all(len(plain) + len(flipped) == 1 for plain, flipped in found)
    flips = sum(len(flipped) for _, flipped in found)
    assert 16 < flips < 48 if mirror and wanted else flips == 0
    corners = {corner for both in found for part in both for corner in part}
    assert {y for y, _ in corners} == {x for _, x in corners} == {0, 1, 2, 3}  # the last place too
    assert len(corners) > 10  # rows and columns are drawn apart


def test_a_picture_of_the_side_that_is_seen_is_left_whole(pictures):
    config = replace(PLAIN, image_size=8, mirror=False)
    assert see(pictures, config).equal(to_float(pictures))


@pytest.mark.parametrize("config", [PLAIN, replace(PLAIN, rotate=20.0, zoom=0.2, shift=0.1)])
def test_chance_is_the_generators_alone(pictures, config):
    first = see(pictures, config)
    torch.manual_seed(99)
    assert see(pictures, config).equal(first)
    assert not see(pictures, config, seed=1).equal(first)


def test_turning_scaling_and_moving_stay_in_range_and_keep_a_plain_picture_plain(pictures):
    config = replace(PLAIN, rotate=30.0, zoom=0.3, shift=0.2)
    seen = see(pictures, config)
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


def test_the_centre_is_what_is_seen_without_chance(pictures):
    assert center_crop(pictures, 6).equal(to_float(pictures)[:, :, 1:7, 1:7])
    assert center_crop(pictures, 5).equal(to_float(pictures)[:, :, 1:6, 1:6])
