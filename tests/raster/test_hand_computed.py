"""Scenes of one to five Gaussians whose pictures can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from splatseg_ns.raster.interface import Rasterizer
from splatseg_ns.scene import PROFILES, Camera, Splats
from tests.raster.scenes import EXTENTS, SH0, camera, gaussians, host, radii_of, trained

# A focal length of 100 and a depth of 2: 0.04 units are 2 pixels. The optical axis hits the middle of pixel (4, 4).
CAMERA = camera(9, 9, focal=(100.0, 100.0), center=(4.5, 4.5))
PIXEL = camera(1, 1, focal=(100.0, 100.0), center=(0.5, 0.5))
RED, GREEN, BLUE = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def draw(engine: Rasterizer, splats: Splats, view: Camera, **options):
    return engine.render(splats.to(engine.device), view.to(engine.device), **options)


def check(actual: torch.Tensor, expected, tolerance: float = 1e-5) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64).expand(actual.shape)
    torch.testing.assert_close(host(actual), wanted, atol=tolerance, rtol=0.0)


def skip_where_not_native(engine: Rasterizer) -> None:
    if engine.device.type == "cuda":
        pytest.skip("gsplat's kernels know the extent rule and the alpha clamp of their own version only")


def test_one_gaussian_falls_off_by_its_blurred_variance(engine: Rasterizer):
    # Variance (100 / 2 * 0.04)^2 + 0.3 = 4.3; at the centre alpha = 0.5; two pixels off 0.5 * exp(-0.5 * 4 / 4.3) =
    # 0.31403; one off in x and two in y: 0.5 * exp(-0.5 * 5 / 4.3) = 0.27956.
    picture = draw(engine, gaussians([[0.0, 0.0, 2.0]], 0.04, [0.5], [[0.8, 0.4, 0.2]]), CAMERA)
    check(picture.colors[4, 4], [0.4, 0.2, 0.1])
    check(picture.alpha[4, 4], 0.5)
    check(picture.alpha[4, 6], 0.31403)
    check(picture.alpha[2, 4], 0.31403)
    check(picture.alpha[6, 5], 0.27956)
    check(picture.depth[4, 6], 2.0)


def test_a_turned_gaussian_is_long_along_its_own_axis(engine: Rasterizer):
    # A quarter turn about z, q = (cos 45, 0, 0, sin 45), lays the long axis x along y: variances 0.3 + (50 * 0.02)^2 =
    # 1.3 in x and 0.3 + (50 * 0.06)^2 = 9.3 in y. Two pixels off: 0.5 * exp(-2 / 1.3) = 0.10735 and
    # 0.5 * exp(-2 / 9.3) = 0.40325.
    half = math.sqrt(0.5)
    splats = gaussians([[0.0, 0.0, 2.0]], [[0.06, 0.02, 0.02]], [0.5], quats=[[half, 0.0, 0.0, half]])
    picture = draw(engine, splats, CAMERA)
    check(picture.alpha[4, 6], 0.10735)
    check(picture.alpha[6, 4], 0.40325)


def test_two_gaussians_blend_front_to_back(engine: Rasterizer):
    # The nearer, red: alpha 0.5. The farther, green, stored first: alpha 0.8 of the 0.5 that is left = 0.4.
    # Depth (0.5 * 2 + 0.4 * 4) / 0.9 = 2.88889. Behind them 0.1 of the background is left.
    splats = gaussians([[0.0, 0.0, 4.0], [0.0, 0.0, 2.0]], 0.04, [0.8, 0.5], [GREEN, RED])
    backdrop = torch.tensor([0.2, 0.2, 1.0], device=engine.device)
    picture = draw(engine, splats, PIXEL, background=backdrop)
    check(picture.colors[0, 0], [0.52, 0.42, 0.1])
    check(picture.alpha, [[0.9]])
    check(picture.depth, [[2.88889]])


def test_gaussians_at_one_depth_blend_in_the_order_of_storage(engine: Rasterizer):
    # The first keeps 0.5, the second 0.5 * 0.5.
    splats = gaussians([[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]], 0.04, [0.5, 0.5], [RED, GREEN])
    check(draw(engine, splats, PIXEL).colors[0, 0], [0.5, 0.25, 0.0])


def test_a_pixel_is_finished_before_the_gaussian_that_would_use_it_up(engine: Rasterizer):
    # 0.99 leaves T = 0.01. The next, 0.995, would leave 5e-5 <= 1e-4: it and all behind it are not drawn, not even the
    # last one, which alone would leave 0.005.
    splats = gaussians([[0.0, 0.0, z] for z in (2.0, 3.0, 4.0)], 0.04, [0.99, 0.995, 0.5], [RED, GREEN, BLUE])
    picture = draw(engine, splats, PIXEL)
    check(picture.colors[0, 0], [0.99, 0.0, 0.0])
    check(picture.alpha, [[0.99]])
    check(picture.depth, [[2.0]], tolerance=1e-4)


@pytest.mark.parametrize(("profile", "clamp"), [("gsplat-1.4", 0.999), ("gsplat-1.5", 0.999), ("inria", 0.99)])
def test_alpha_is_clamped(engine: Rasterizer, profile: str, clamp: float):
    if profile != "gsplat-1.4":
        skip_where_not_native(engine)
    splats = gaussians([[0.0, 0.0, 2.0]], 0.04, [0.9999], profile=PROFILES[profile])
    check(draw(engine, splats, PIXEL).alpha, [[clamp]], tolerance=1e-6)


def test_what_is_fainter_than_alpha_min_is_not_drawn(engine: Rasterizer):
    # 1 / 255 = 0.003922: 0.0039 lies below it, 0.00394 above.
    for opacity, alpha in ((0.0039, 0.0), (0.00394, 0.00394)):
        picture = draw(engine, gaussians([[0.0, 0.0, 2.0]], 0.04, [opacity]), PIXEL)
        check(picture.alpha, [[alpha]], tolerance=1e-7)


# The blurred variance is (100 * scale)^2 + 0.3 = 100, the centre lies at x = 1. Pixel 32, the first of the third tile,
# is 31.5 pixels off: alpha = 0.9 * exp(-0.5 * 31.5^2 / 100) = 0.0063038 > 1/255.
# three_sigma: ceil(3 * sqrt(100 + sqrt(0.01))) = 31, 1 + 31 = 32: two tiles. inria: ceil(3 * sqrt(100 + sqrt(0.1))) =
# 31, (1 - 0.5 + 31 + 15) / 16 = 2.9: two tiles. opacity_aware: k = sqrt(2 ln(0.9 * 255)) = 3.2973, ceil(32.973) = 33,
# 34 / 16 = 2.1: three tiles.
@pytest.mark.parametrize(
    ("extent", "alpha"), [("gsplat-1.4", 0.0), ("inria", 0.0), ("gsplat-1.5", 0.0063038), ("ellipse", 0.0063038)]
)
def test_the_extent_rule_decides_which_tiles_are_reached(engine: Rasterizer, extent: str, alpha: float):
    if extent != "gsplat-1.4":
        skip_where_not_native(engine)
    view = camera(64, 16, focal=(100.0, 100.0), center=(1.0, 8.5))
    splats = gaussians([[0.0, 0.0, 1.0]], math.sqrt(99.7) / 100, [0.9], profile=EXTENTS[extent])
    picture = draw(engine, splats, view)
    check(picture.alpha[8, 32], alpha, tolerance=1e-6)
    assert float(picture.alpha[8, 31]) > 0.006


@pytest.mark.parametrize(("extent", "radius"), [("gsplat-1.4", 31), ("inria", 31), ("gsplat-1.5", 33), ("ellipse", 33)])
def test_radii(engine: Rasterizer, extent: str, radius: int):
    if extent != "gsplat-1.4":
        skip_where_not_native(engine)
    # As above for the first. The second lies behind the camera, the third far to the left of the picture.
    view = camera(64, 16, focal=(100.0, 100.0), center=(1.0, 8.5))
    splats = gaussians(
        [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [-5.0, 0.0, 1.0]],
        math.sqrt(99.7) / 100,
        [0.9, 0.9, 0.9],
        profile=EXTENTS[extent],
    )
    info = draw(engine, splats, view).info
    assert info["radii"].dtype == torch.int32
    assert radii_of(info).tolist() == [radius, 0, 0]
    check(info["means2d"][0, 0], [1.0, 8.5])
    assert (info["width"], info["height"], info["n_cameras"], info["gaussian_ids"]) == (64, 16, 1, None)


def test_antialiasing_dims_by_the_area_that_the_blur_added(engine: Rasterizer):
    # Variances 4 before, 4.3 after the blur: 0.5 * sqrt(16 / 18.49) = 0.465116.
    profile = replace(PROFILES["gsplat-1.4"], antialiased=True)
    picture = draw(engine, gaussians([[0.0, 0.0, 2.0]], 0.04, [0.5], profile=profile), CAMERA)
    check(picture.alpha[4, 4], 0.465116)


@pytest.mark.parametrize(("profile", "alpha"), [("gsplat-1.4", 0.5), ("inria", 0.0)])
def test_the_near_plane(engine: Rasterizer, profile: str, alpha: float):
    if profile != "gsplat-1.4":
        skip_where_not_native(engine)
    # A depth of 0.15: beyond 0.01, but not beyond 0.2.
    splats = gaussians([[0.0, 0.0, 0.15]], 0.004, [0.5], profile=PROFILES[profile])
    check(draw(engine, splats, PIXEL).alpha, [[alpha]])


def test_harmonics_of_degree_one(engine: Rasterizer):
    # Straight ahead, along (0, 0, 1), the basis is 0.282095, 0, 0.488603, 0: 0.5 + 0.282095 * 0.2 + 0.488603 * 0.6 =
    # 0.849581 and 0.5 + 0.488603 * -1.2 < 0, clamped to 0. At half opacity.
    splats = gaussians([[0.0, 0.0, 2.0]], 0.04, [0.5])
    sh = torch.zeros(1, 4, 3)
    sh[0, 0, 0], sh[0, 1, 0], sh[0, 2, 0], sh[0, 3, 0] = 0.2, 0.9, 0.6, 0.7
    sh[0, 2, 1] = -1.2
    splats = replace(splats, sh=sh)
    check(draw(engine, splats, PIXEL).colors[0, 0], [0.424790, 0.0, 0.25])
    # The constant alone: 0.5 + 0.282095 * 0.2 = 0.556419.
    check(draw(engine, splats, PIXEL, sh_degree=0).colors[0, 0], [0.278210, 0.25, 0.25])


def test_features_instead_of_colours(engine: Rasterizer):
    # 0.5 * 3 + 0.4 * 10 = 5.5 and 0.5 * -2 + 0.4 * 5 = 1.
    splats = gaussians([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0]], 0.04, [0.5, 0.8])
    features = torch.tensor([[3.0, -2.0], [10.0, 5.0]], device=engine.device)
    check(draw(engine, splats, PIXEL, features=features).colors[0, 0], [5.5, 1.0])


def test_five_gaussians_side_by_side(engine: Rasterizer):
    # So small that the blur of 0.3 alone remains: a pixel off alpha = opacity * exp(-0.5 / 0.3) = 0.188876 * opacity.
    # They stand 4 pixels apart at a depth of 1: in pixels 2, 6, 10, 14 and 18.
    view = camera(21, 3, focal=(10.0, 10.0), center=(10.5, 1.5))
    opacities = [0.1, 0.3, 0.5, 0.7, 0.9]
    splats = gaussians([[0.4 * step, 0.0, 1.0] for step in (-2, -1, 0, 1, 2)], 1e-5, opacities)
    picture = draw(engine, splats, view)
    check(picture.alpha[1, 2::4], opacities)
    check(picture.alpha[1, 3::4], [0.188876 * opacity for opacity in opacities])
    check(picture.alpha[1, 0::4], [0.0] * 6)


def test_votes_of_two_gaussians(engine: Rasterizer):
    # As in the blend above: the nearer gives 0.5, the farther 0.4, both to the label of the one pixel.
    splats = gaussians([[0.0, 0.0, 4.0], [0.0, 0.0, 2.0]], 0.04, [0.8, 0.5]).to(engine.device)
    label_map = torch.tensor([[7]], device=engine.device)
    votes = engine.votes(splats, PIXEL.to(engine.device), label_map, ids=[3, 7])
    assert votes.ids.tolist() == [3, 7]
    assert votes.offsets.tolist() == [0, 1, 2]
    assert votes.columns.tolist() == [1, 1]
    check(votes.mass, [0.4, 0.5])
    check(votes.seen, [0.4, 0.5])


def test_votes_go_to_the_label_of_each_pixel(engine: Rasterizer):
    # Three pixels in a row at 0.5, 1.5 and 2.5, the Gaussian at 1.5 with variance 4.3 and opacity 0.5: 0.5 in the
    # middle and 0.5 * exp(-0.5 / 4.3) = 0.445115 beside it.
    view = camera(3, 1, focal=(100.0, 100.0), center=(1.5, 0.5)).to(engine.device)
    splats = gaussians([[0.0, 0.0, 2.0]], 0.04, [0.5]).to(engine.device)
    label_map = torch.tensor([[1, 1, 4]], device=engine.device)
    votes = engine.votes(splats, view, label_map)
    assert votes.ids.tolist() == [1, 4]
    check(votes.dense(), [[0.945115, 0.445115]])
    check(votes.seen, [1.390230])
    weights = torch.tensor([[2.0, 0.0, 1.0]], device=engine.device)
    weighed = engine.votes(splats, view, label_map, pixel_weight=weights)
    check(weighed.dense(), [[0.890230, 0.445115]])
    lifted = engine.lift(splats, view, torch.tensor([[[10.0], [20.0], [30.0]]], device=engine.device))
    check(lifted, [[0.445115 * 40 + 10.0]], tolerance=1e-4)


def test_gradients_of_one_gaussian(engine: Rasterizer):
    # Pixel (4, 6) is 2 pixels right of the centre: alpha = 0.314026, d alpha / d mean2d.x = alpha * 2 / 4.3 = 0.146059.
    # Red is 0.8 * alpha: d red / d logit = 0.8 * alpha * (1 - 0.5) = 0.125610, d red / d sh = alpha * SH0 = 0.088585,
    # d red / d mean2d.x = 0.8 * 0.146059 = 0.116847. A unit in the world is 50 pixels: d red / d x = 5.842352 (the
    # variance does not change with x on the optical axis). The variance without blur, 4 = (50 s)^2, grows by 2 * 4 per
    # unit of log s.x: d red / d log s.x = 0.8 * alpha * 0.5 * 4 * 8 / 4.3^2 = 0.217390.
    splats = trained(gaussians([[0.0, 0.0, 2.0]], 0.04, [0.5], [[0.8, 0.4, 0.2]]).to(engine.device))
    picture = draw(engine, splats, CAMERA, absgrad=True)
    picture.colors[4, 6, 0].backward()
    check(splats.logit_opacities.grad, [0.125610])
    check(splats.sh.grad[0, 0], [0.314026 * SH0, 0.0, 0.0])
    check(splats.means.grad[0, :2], [5.842352, 0.0], tolerance=1e-4)
    check(splats.log_scales.grad[0, :2], [0.217390, 0.0])
    check(picture.info["means2d"].grad, [[[0.116847, 0.0]]])
    check(picture.info["means2d"].absgrad, [[[0.116847, 0.0]]])


def test_absgrad_adds_up_what_cancels_in_the_gradient(engine: Rasterizer):
    # Red of the pixels two to the right and two to the left: the gradients 0.116847 and -0.116847 cancel.
    splats = trained(gaussians([[0.0, 0.0, 2.0]], 0.04, [0.5], [[0.8, 0.4, 0.2]]).to(engine.device))
    picture = draw(engine, splats, CAMERA, absgrad=True)
    (picture.colors[4, 6, 0] + picture.colors[4, 2, 0]).backward()
    check(picture.info["means2d"].grad, [[[0.0, 0.0]]])
    check(picture.info["means2d"].absgrad, [[[0.233693, 0.0]]])


def test_no_gradient_through_the_alpha_clamp(engine: Rasterizer):
    splats = trained(gaussians([[0.0, 0.0, 2.0]], 0.04, [0.9999]).to(engine.device))
    draw(engine, splats, PIXEL).alpha.sum().backward()
    check(splats.logit_opacities.grad, [0.0], tolerance=0.0)
