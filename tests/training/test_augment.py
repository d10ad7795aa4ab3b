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


@pytest.mark.parametrize("crop_area", [0.0, 0.5])
def test_crops_in_training_may_be_smaller_than_the_input(images_uint8, crop_area):
    whole = replace(PLAIN, image_size=3, crop_area=crop_area)
    smaller = replace(PLAIN, image_size=7, train_size=3, crop_area=crop_area)
    assert see(images_uint8, smaller).equal(see(images_uint8, whole))


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


def test_resized_crops_have_the_areas_shapes_and_places_of_the_recipe():
    H, S, least, longest = 60, 24, 0.3, 1.5
    ramp = torch.arange(H, dtype=torch.float32)
    picture = torch.stack([ramp.expand(H, H), ramp.expand(H, H).T, torch.full((H, H), 7.0)], dim=-1)
    config = replace(PLAIN, image_size=S, resize_size=H, crop_area=least, crop_ratio=longest)
    seen = see(picture.to(torch.uint8).expand(400, H, H, 3), config)
    assert seen.shape == (400, 3, S, S)
    assert (seen[:, 2] - 7.0).abs().max() < 1e-4
    inner = slice(2, -2)  # the outermost samples of a crop at the border repeat its pixels
    step_x, step_y = (seen[:, c, inner, inner].diff(dim=2 - c).mean(dim=(1, 2)) for c in (0, 1))
    width, height = step_x * S / H, step_y * S / H  # a ramp's slope is the crop's share of the image
    area, ratio = width * height, width / height
    assert area.min() > least * 0.8  # a side longer than the image is cut
    assert area.max() < 1.02
    assert area.std() > 0.15
    assert 1 / longest - 0.02 < ratio.min() < 0.75
    assert 1.3 < ratio.max() < longest + 0.02
    left, right = seen[:, 0, S // 2, 2] - 2 * step_x, seen[:, 0, S // 2, -3] + 2 * step_x
    assert left.min() > -1
    assert right.max() < H
    assert left.std() > 3


def test_colours_change_by_their_share_and_no_more():
    config = replace(PLAIN, image_size=8, colour=0.2)
    grey = torch.full((200, 8, 8, 3), 100, dtype=torch.uint8)
    bright = see(grey, config)[:, 0, 0, 0]
    assert 80 <= bright.min() < 85  # contrast and saturation leave a grey image as it is
    assert 115 < bright.max() <= 120
    colour = grey.clone()
    colour[..., 0] = 200
    seen = see(colour, config)
    spread = (seen[:, 0] - seen[:, 1]).mean(dim=(1, 2))
    assert 100 * 0.8**3 <= spread.min() < 75
    assert 130 < spread.max() <= 100 * 1.2**3
    assert (seen >= 0).all()
    assert see(torch.full_like(grey, 255), config).max() == 255
