"""Pruning: scores against what they stand for, their laws, and the order that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import (
    Pictures,
    Quality,
    RemovalOrder,
    contribution,
    largest_difference,
    removal_error,
    smallest_within,
)
from splatseg_ns.lift.prune import fewer
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import PROFILES, Camera, Splats
from tests.lift.examples import toy_splats, toy_views
from tests.raster.scenes import SH0, camera, gaussians, generator

ONE_PIXEL = camera(1, 1, focal=(1.0, 1.0))


def toy_cameras(count: int = 4) -> list[Camera]:
    return [view.camera for view in toy_views(count)]


def published_gradient(engine: Rasterizer, splats: Splats, cameras: Sequence[Camera]) -> Tensor:  # [N]
    """Norms of the gradients of the mean picture by the constant colours, summed over views."""
    total = torch.zeros(len(splats), dtype=torch.float64)
    for seen_from in cameras:
        constant = splats.sh[:, :1].clone().requires_grad_()
        colored = replace(splats, sh=torch.cat([constant, splats.sh[:, 1:]], dim=1))
        engine.render(colored, seen_from).colors.mean().backward()
        assert constant.grad is not None
        total += constant.grad[:, 0].double().norm(dim=1)
    return total


def squared_error(engine: Rasterizer, splats: Splats, original: Splats, cameras: Sequence[Camera]) -> float:
    """Over channels, the mean over pixels, the sum over views."""
    total = 0.0
    for seen_from in cameras:
        first, second = (engine.render(part, seen_from).colors.double() for part in (splats, original))
        total += float((first - second).square().sum()) / (seen_from.width * seen_from.height)
    return total


def without(splats: Splats, row: int) -> Splats:
    return splats.subset(torch.arange(len(splats)) != row)


def test_contribution_is_the_published_gradient(engine: Rasterizer):
    splats, cameras = toy_splats(), toy_cameras()
    expected = published_gradient(engine, splats, cameras)
    assert bool((expected > 0).any()) and bool((expected == 0).any())
    found = contribution(engine, splats, cameras).cpu()
    torch.testing.assert_close(found * SH0 / math.sqrt(3.0), expected, rtol=1e-4, atol=1e-9)
    assert torch.equal(found > 0, expected > 0)


def test_black_gaussians_hide_what_is_behind_and_count(cpu: Rasterizer):
    # Colours below 0 are cut off at 0, so that no gradient passes.
    splats = gaussians([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0]], 0.5, [0.8, 0.9], [[-1.0] * 3, [0.9] * 3])
    cameras = [camera(20, 20, focal=(20.0, 20.0))]
    assert published_gradient(cpu, splats, cameras).tolist()[0] == 0.0
    assert float(contribution(cpu, splats, cameras)[0]) > 0.0
    assert largest_difference(cpu, splats, without(splats, 0), cameras) > 0.1


def test_two_gaussians_in_one_pixel_by_hand(engine: Rasterizer):
    # Both lie on the pixel's centre, so alpha is the opacity. In red, front to back:
    #   alpha .5, colour .9: w = .5,            behind it .8 * .5 = .4, without it the pixel changes by .5 (.4 - .9)
    #   alpha .8, colour .5: w = .5 * .8 = .4,  behind it nothing,      without it the pixel changes by .4 (0 - .5)
    splats = gaussians([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0]], 0.5, [0.5, 0.8], [[0.9, 0.0, 0.0], [0.5, 0.0, 0.0]])
    splats = splats.to(engine.device)
    assert contribution(engine, splats, [ONE_PIXEL]).tolist() == pytest.approx([0.5, 0.4], abs=1e-5)
    error = removal_error(engine, splats, [ONE_PIXEL])
    assert error.total.tolist() == pytest.approx([0.25**2, 0.2**2], abs=1e-5)
    # The front one alone shows .45 of red, the whole .65: without it too, .65^2 is missing instead of .2^2.
    alone = removal_error(engine, without(splats, 1), [ONE_PIXEL], splats)
    assert alone.total.tolist() == pytest.approx([0.65**2 - 0.2**2], abs=1e-5)
    assert alone.own.tolist() == pytest.approx([0.45**2], abs=1e-5)


@pytest.mark.parametrize("profile", ["gsplat-1.4", "inria", "antialiased"])
def test_the_estimate_is_what_taking_one_away_costs(cpu: Rasterizer, profile: str):
    cameras = toy_cameras(2)
    constants = replace(PROFILES["gsplat-1.4"], antialiased=True) if profile == "antialiased" else PROFILES[profile]
    original = replace(toy_splats(40), profile=constants)
    # Some that are as opaque as numbers go.
    original = replace(original, logit_opacities=original.logit_opacities.where(torch.arange(40) % 5 > 0, 30.0))
    splats = original.subset(torch.arange(30))
    start = squared_error(cpu, splats, original, cameras)
    true = torch.tensor(
        [squared_error(cpu, without(splats, row), original, cameras) - start for row in range(len(splats))]
    )
    estimate = removal_error(cpu, splats, cameras, original, probes=150).total
    # Of a sum of squares that is estimated by 150 draws the error is about a tenth of it.
    spread = removal_error(cpu, splats, cameras, probes=150).own
    # That some are gone already makes a difference.
    assert float((true / spread.clamp_min(1e-6)).max()) > 1.5
    assert float(((estimate - true).abs() / spread.clamp_min(1e-6)).max()) < 0.4
    assert float((estimate - true).sum() / spread.sum()) == pytest.approx(0.0, abs=0.05)


def error_alone(engine: Rasterizer, splats: Splats, cameras: Sequence[Camera]) -> Tensor:  # [N]
    return removal_error(engine, splats, cameras).total


def error_against_others(engine: Rasterizer, splats: Splats, cameras: Sequence[Camera]) -> Tensor:  # [N]
    return removal_error(engine, splats, cameras, toy_splats(150, 8)).total


Score = Callable[[Rasterizer, Splats, Sequence[Camera]], Tensor]
SCORES = {"contribution": contribution, "error": error_alone, "error against others": error_against_others}


@pytest.mark.parametrize("name", SCORES)
def test_scores_follow_the_gaussians_and_add_over_views(cpu: Rasterizer, name: str):
    splats, cameras, score = toy_splats(), toy_cameras(), SCORES[name]
    whole = score(cpu, splats, cameras)
    size = float(whole.abs().max())
    shuffled = torch.randperm(len(splats), generator=generator(3))
    found = score(cpu, splats.subset(shuffled), cameras)
    torch.testing.assert_close(found, whole[shuffled], rtol=1e-3, atol=1e-6 * size)
    parts = score(cpu, splats, cameras[:1]) + score(cpu, splats, cameras[1:])
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12 * size)
    assert torch.equal(score(cpu, splats, cameras), whole)


def hidden_behind_walls() -> Splats:
    """Three balls of which the first is behind two opaque walls, the second behind the camera."""
    wall = [[2.0, 2.0, 0.05]] * 2
    return gaussians(
        [[0.0, 0.0, 5.0], [0.0, 0.0, -2.0], [0.0, 0.0, 1.5], [0.0, 0.0, 2.0], [0.0, 0.0, 3.0]],
        [[0.1] * 3, [0.1] * 3, [0.1] * 3, *wall],
        [0.9, 0.9, 0.9, 0.999, 0.999],
        [[0.9, 0.2, 0.1]] * 3 + [[0.2, 0.6, 0.3]] * 2,
    )


@pytest.mark.parametrize("score", [contribution, error_alone])
def test_what_is_hidden_scores_nothing(engine: Rasterizer, score: Score):
    cameras = [camera(24, 24, focal=(60.0, 60.0))]
    found = score(engine, hidden_behind_walls().to(engine.device), cameras)
    assert found[:2].tolist() == [0.0, 0.0] and bool((found[2:] > 0).all())


def test_without_what_contributes_nothing_the_pictures_stay(engine: Rasterizer):
    splats = Splats.concat([toy_splats(), hidden_behind_walls()]).to(engine.device)
    cameras = toy_cameras(3)
    scores = contribution(engine, splats, cameras)
    left = splats.subset(scores > 0)
    assert 1 < len(left) < len(splats)
    assert largest_difference(engine, splats, left, cameras) < 1 / 510
    assert largest_difference(engine, splats, without(splats, int(scores.argmax())), cameras) > 0.1


def test_orders_are_nested_and_do_not_depend_on_what_was_asked_before(cpu: Rasterizer):
    splats, cameras = toy_splats(), toy_cameras()
    for rule in ("error", "gradient"):
        order = RemovalOrder(cpu, splats, cameras, rule)
        few, many = order.kept(40), order.kept(90)
        assert int(few.sum()) == 40 and int(many.sum()) == 90 and bool((many | ~few).all())
        again = RemovalOrder(cpu, splats, cameras, rule)
        assert torch.equal(again.kept(90), many) and torch.equal(again.kept(40), few)
    scores = contribution(cpu, splats, cameras)
    assert float(scores[few].min()) >= float(scores[~few].max())
    assert bool(order.kept(150).all())


def test_of_two_that_stand_in_for_each_other_one_stays(cpu: Rasterizer):
    # Nine spots of two each, .9 behind .95, and twelve of .3 alone, all of one red c, each in a picture of its own.
    # Alone a front one costs .95 (.9 c - c), a back one .05 * .9 c and a lone one .3 c: less both of two than a lone
    # one. When its back one is gone, a front one costs .95 c.
    spots = [[100.0 * spot, 0.0, 2.0] for spot in range(21)]
    behind = [[x, y, 4.0] for x, y, _ in spots[:9]]
    splats = gaussians([*spots, *behind], 0.1, [0.95] * 9 + [0.3] * 12 + [0.9] * 9, [[0.9, 0.0, 0.0]] * 30)
    cameras = [camera(1, 1, focal=(1.0, 1.0), shift=(-x, 0.0, 0.0)) for x, _, _ in spots]
    expected = torch.tensor([0.095] * 9 + [0.3] * 12 + [0.045] * 9) * 0.9
    torch.testing.assert_close(error_alone(cpu, splats, cameras).sqrt().float(), expected, rtol=1e-3, atol=0)
    assert RemovalOrder(cpu, splats, cameras).kept(9).nonzero().flatten().tolist() == list(range(9))


def test_errors_of_orders(cpu: Rasterizer):
    splats, cameras = toy_splats(20), toy_cameras(1)
    with pytest.raises(ValueError, match="no rule 'area'; there are error, gradient"):
        RemovalOrder(cpu, splats, cameras, "area")  # pyright: ignore
    with pytest.raises(ValueError, match="no views"):
        RemovalOrder(cpu, splats, [])
    order = RemovalOrder(cpu, splats, cameras)
    for count in (0, 21):
        with pytest.raises(ValueError, match="1 to 20 can be kept"):
            order.kept(count)


def test_every_round_leaves_fewer():
    assert [fewer(count) for count in (100, 10, 3, 2, 1)] == [90, 9, 2, 1, 0]


@pytest.mark.parametrize(("needed", "least"), [(37, 30.0), (1, 0.0), (150, 99.0), (140, 42.0)])
def test_the_smallest_size_that_keeps_the_bound(cpu: Rasterizer, needed: int, least: float):
    order = RemovalOrder(cpu, toy_splats(), toy_cameras(1), "gradient")
    asked = []

    def psnr_of(rows: Tensor) -> float:
        asked.append(int(rows.sum()))
        return least if asked[-1] >= needed else least - 0.1

    rows = smallest_within(order, psnr_of, least)
    assert int(rows.sum()) == needed and len(asked) < 60
    assert needed == 150 or needed in asked


@dataclass(frozen=True)
class Photo:
    camera: Camera
    colors: Tensor  # [H, W, 3] uint8
    valid: Tensor | None = None

    def image(self) -> Tensor:
        return self.colors

    def label_map(self) -> None:
        return None

    def valid_mask(self) -> Tensor | None:
        return self.valid


def test_quality_is_of_the_pixels_that_may_be_used(cpu: Rasterizer):
    splats, seen_from = toy_splats(), toy_cameras(1)[0]
    picture = (cpu.render(splats, seen_from).colors.clamp(0, 1) * 255).round().byte()
    good = Quality.of(cpu, splats, Pictures([Photo(seen_from, picture)]))
    assert good.psnr is not None and good.psnr > 50 and good.ssim == pytest.approx(1.0, abs=1e-3)
    spoilt, valid = picture.clone(), torch.ones(picture.shape[:2], dtype=torch.bool)
    spoilt[:10], valid[:10] = 255, False
    bad, masked = (Quality.of(cpu, splats, Pictures([Photo(seen_from, spoilt, mask)])) for mask in (None, valid))
    assert bad.psnr is not None and bad.psnr < 15 and bad.ssim is not None and bad.ssim < 0.8
    assert masked.psnr is not None and masked.psnr > 50 and masked.ssim == pytest.approx(1.0, abs=1e-3)
    assert Quality.of(cpu, splats, Pictures([])) == Quality(None, None)
