"""How something stands out."""

from __future__ import annotations

from dataclasses import replace

import torch

from splatseg_ns.plugin.accent import TINT, overlaid, same_view, tinted
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene.spherical_harmonics import sh_basis
from tests.raster.scenes import camera, cloud

RED = (255, 0, 0)
VIEW = camera(40, 32, focal=(30.0, 30.0))


def square() -> torch.Tensor:
    """Rows and columns 8 to 23 of 32x40 pixels."""
    mask = torch.zeros(32, 40, dtype=torch.bool)
    mask[8:24, 8:24] = True
    return mask


def test_tinted_harmonics_give_mixed_colours_in_all_directions():
    sh = 0.1 * torch.randn(5, 16, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.0, 0.25, 0.5, 1.0, 1.0])
    directions = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    basis = sh_basis(directions, 3)

    def colors(harmonics: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nk,nkc->nc", basis, harmonics) + 0.5

    share = TINT * weights[:, None]
    expected = (1 - share) * colors(sh) + share * torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(colors(tinted(sh, weights, RED)), expected)
    assert torch.equal(tinted(sh, weights, RED)[0], sh[0])


def test_a_mask_tints_its_inside_and_has_a_bright_outline_with_a_dark_rim():
    for shade in (0.05, 0.95):
        picture = torch.full((32, 40, 3), shade)
        shown = overlaid(picture, square(), RED)
        untouched = torch.ones(32, 40, dtype=torch.bool)
        untouched[7:25, 7:25] = False
        assert torch.equal(shown[untouched], picture[untouched])
        inside = shown[16, 16]
        torch.testing.assert_close(inside, picture[16, 16] + TINT * (torch.tensor([1.0, 0, 0]) - shade))
        # All four sides: brighter in its colour than the inside, and darker just outside.
        for row, column in ((8, 16), (23, 16), (16, 8), (16, 23)):
            assert float(shown[row, column, 0]) > 0.9 and float(shown[row, column].sum()) > float(inside.sum())
        for row, column in ((7, 16), (24, 16), (16, 7), (16, 24)):
            torch.testing.assert_close(shown[row, column], picture[row, column] * 0.35)


def test_a_mask_fits_pictures_of_any_size():
    small = overlaid(torch.full((16, 20, 3), 0.5), square(), RED)
    large = overlaid(torch.full((96, 120, 3), 0.5), square(), RED)
    for shown, scale in ((small, 0.5), (large, 3)):
        middle, outside = round(16 * scale), round(30 * scale)
        assert float(shown[middle, middle, 0]) > 0.7 and float(shown[middle, outside, 0]) == 0.5


def test_a_mask_of_nothing_or_everything_has_no_outline():
    picture = torch.rand(32, 40, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(overlaid(picture, torch.zeros(32, 40, dtype=torch.bool), RED), picture)
    everything = overlaid(picture, torch.ones(32, 40, dtype=torch.bool), RED)
    torch.testing.assert_close(everything, picture + TINT * (torch.tensor([1.0, 0, 0]) - picture))


def test_a_view_is_the_same_at_another_size_and_no_other_view_is():
    assert same_view(VIEW, VIEW) and same_view(VIEW, VIEW.to(torch.float64))
    # A viewer rounds the size of its pictures down.
    for width, height in ((400, 320), (13, 10), (133, 106)):
        assert same_view(VIEW, VIEW.resized(width, height)) and same_view(VIEW.resized(width, height), VIEW)
    turned = VIEW.viewmat.clone()
    turned[0, 3] += 0.01
    assert not same_view(VIEW, replace(VIEW, viewmat=turned))
    assert not same_view(VIEW, replace(VIEW, K=VIEW.K * torch.tensor([[1.2], [1.2], [1.0]])))
    assert not same_view(VIEW, replace(VIEW, width=50))


def test_a_tint_shows_in_a_render():
    splats = cloud(60, 5, size=0.2, degree=1)
    plain = rasterizer_for("cpu").render(splats, VIEW).colors
    shown = rasterizer_for("cpu").render(replace(splats, sh=tinted(splats.sh, torch.ones(60), RED)), VIEW).colors
    assert float((shown - plain)[..., 0].mean()) > 0.02 > 0.0 > float((shown - plain)[..., 1].mean())
