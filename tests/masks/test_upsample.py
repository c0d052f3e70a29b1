"""From patches to pixels: nothing is lost or made up, and borders go where the picture has edges."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from splatseg_ns.masks.upsample import Upsampling, to_pixels
from tests.raster.scenes import generator

PATCH = 8
ROWS, COLUMNS = 6, 12
HEIGHT, WIDTH = ROWS * PATCH, COLUMNS * PATCH

each_way = pytest.mark.parametrize("how", get_args(Upsampling))


def noise(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:  # [H, W, 3] uint8
    return torch.randint(0, 256, (height, width, 3), generator=generator(seed), dtype=torch.uint8)


def shares(seed: int, classes: int = 3, unknown: float = 0.0) -> Tensor:  # [h, w, L]
    """Rows that sum to 1, or to 0 in some patches."""
    random = generator(seed)
    values = torch.rand(ROWS, COLUMNS, classes, generator=random)
    known = torch.rand(ROWS, COLUMNS, 1, generator=random) >= unknown
    return values / values.sum(2, keepdim=True) * known


def halves(column: int) -> Tensor:  # [H, W, 3] uint8
    """A picture that is dark left of a column and bright from there on."""
    return torch.where(torch.arange(WIDTH) < column, 40, 200).byte()[None, :, None].expand(HEIGHT, WIDTH, 3)


def step(patch: int) -> Tensor:  # [h, w, 2]
    """One class left of a patch, another from there on."""
    second = (torch.arange(COLUMNS) >= patch).float().expand(ROWS, COLUMNS)
    return torch.stack([1 - second, second], dim=2)


def border(pixels: Tensor) -> Tensor:  # [H]
    """In each row the first column of the second class, which has all that is right of it."""
    second = pixels.argmax(dim=2)
    assert bool((second.diff(dim=1) >= 0).all()) and bool((second[:, -1] == 1).all())
    return WIDTH - second.sum(dim=1)


@each_way
@pytest.mark.parametrize(("height", "width"), [(HEIGHT, WIDTH), (50, 91), (7, 5), (1, 1)])
def test_what_all_patches_say_all_pixels_say(how: Upsampling, height: int, width: int):
    values = torch.tensor([0.2, 0.7, 0.1]).expand(ROWS, COLUMNS, 3)
    found = to_pixels(values, noise(1, height, width), how)
    assert found.shape == (height, width, 3) and found.dtype == torch.float32
    assert torch.allclose(found, torch.tensor([0.2, 0.7, 0.1]).expand_as(found), atol=1e-6)


@each_way
@pytest.mark.parametrize("unknown", [0.0, 0.5, 0.9])
def test_sums_stay_as_they_are_between_patches(how: Upsampling, unknown: float):
    values = shares(2, unknown=unknown)
    for image in (noise(3), halves(45)):
        summed = to_pixels(values, image, how).sum(dim=2)
        between = "nearest-exact" if how == "nearest" else "bilinear"
        alone = F.interpolate(values.sum(2)[None, None], (HEIGHT, WIDTH), mode=between)[0, 0]
        assert torch.allclose(summed, alone, atol=1e-6)
        if not unknown:
            assert torch.allclose(summed, torch.ones(HEIGHT, WIDTH), atol=1e-6)


@each_way
def test_nothing_is_below_zero(how: Upsampling):
    for seed in range(5):
        image = torch.where(noise(seed) > 127, 255, 0).byte()
        assert float(to_pixels(shares(seed, unknown=0.3), image, how).min()) >= 0.0
    # Specks that are darker and brighter than both sides of a border.
    image = (halves(WIDTH // 2).float() * 0.3 + 80).byte()
    image[:: 2 * PATCH, WIDTH // 2 - 3], image[:: 2 * PATCH, WIDTH // 2 + 3] = 0, 255
    found = to_pixels(step(COLUMNS // 2), image, how)
    assert float(found.min()) >= 0.0 and float(found.max()) <= 1.0 + 1e-6


@each_way
def test_a_pixel_that_no_patch_near_it_knows_stays_unknown(how: Upsampling):
    values = torch.zeros(ROWS, COLUMNS, 2)
    values[:, :3, 1] = 1.0
    # Beyond the middle of the first unknown patch nothing is said.
    found = to_pixels(values, halves(50), how)
    assert not bool(found[:, 3 * PATCH + PATCH // 2 :].any())
    assert bool((found[:, : 2 * PATCH, 1] > 0.99).all()) and not bool(found[..., 0].any())


@each_way
def test_classes_that_change_places_change_them_in_the_pixels(how: Upsampling):
    values, order = shares(4), torch.tensor([2, 0, 1])
    assert torch.allclose(to_pixels(values[..., order], noise(5), how), to_pixels(values, noise(5), how)[..., order])


def test_bilinear_is_torchs_whatever_the_picture():
    values = shares(6)
    found = to_pixels(values, noise(7, 50, 91), "bilinear")
    expected = F.interpolate(values.permute(2, 0, 1)[None], (50, 91), mode="bilinear", align_corners=False)
    assert torch.equal(found, expected[0].permute(1, 2, 0)) and found.is_contiguous()


@pytest.mark.parametrize("off", [-3, -2, -1, 1, 2, 3])
def test_a_border_less_than_half_a_patch_off_moves_to_the_edge_of_the_picture(off: int):
    """The patches change in the middle, at column 48; the picture does beside it."""
    middle = WIDTH // 2
    image, values = halves(middle + off), step(COLUMNS // 2)
    for how in ("bilinear", "nearest"):
        assert bool((border(to_pixels(values, image, how)) == middle).all())
    assert bool((border(to_pixels(values, image)) == middle + off).all())


def test_a_border_far_from_any_edge_of_the_picture_stays():
    middle = WIDTH // 2
    for image in (halves(middle + 5 * PATCH), halves(0)):
        assert bool((border(to_pixels(step(COLUMNS // 2), image)) == middle).all())


def test_nearest_gives_each_pixel_what_its_patch_says():
    values = shares(6)
    found = to_pixels(values, noise(7), "nearest")
    assert torch.equal(found, values.repeat_interleave(PATCH, dim=0).repeat_interleave(PATCH, dim=1))
    # Five rows of pixels on two of patches: their middles at 0.2, 0.6, 1.0, 1.4 and 1.8.
    column = torch.tensor([0.3, 0.7])[:, None, None]
    found = to_pixels(column, noise(7, 5, 1), "nearest")[:, 0, 0]
    assert torch.equal(found, torch.tensor([0.3, 0.3, 0.7, 0.7, 0.7]))


def test_guided_is_what_one_gets_without_asking():
    image, values = halves(45), step(COLUMNS // 2)
    assert torch.equal(to_pixels(values, image), to_pixels(values, image, "guided"))
    assert not torch.equal(to_pixels(values, image), to_pixels(values, image, "bilinear"))


def test_many_classes_are_filtered_as_each_alone():
    values = shares(8, classes=7)
    together = to_pixels(values, noise(9))
    for place in range(7):
        rest = values.sum(2) - values[..., place]
        alone = to_pixels(torch.stack([values[..., place], rest], dim=2), noise(9))
        assert torch.allclose(alone[..., 0], together[..., place], atol=1e-5)
