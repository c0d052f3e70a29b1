"""The reference itself: against a plain loop over pixels, and against finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import Camera, PixelRect, RenderProfile, Splats
from tests.raster.scenes import EXTENTS, MODES, PARAMETERS, camera, cloud, gaussians, trained

ORACLE = OracleRasterizer()


def brute_force(splats: Splats, view: Camera, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture [H, W, C + 2], with alpha and the summed depth behind the colours, and alpha * T [N, H, W]."""
    profile = splats.profile
    drawn = sorted(filter(None, (project_one(splats, view, row) for row in range(len(splats)))))
    picture = np.zeros((view.height, view.width, colors.shape[1] + 2))
    weights = np.zeros((len(splats), view.height, view.width))
    for y in range(view.height):
        for x in range(view.width):
            transmittance = 1.0
            for depth, row, opacity, mean, conic, tiles in drawn:
                if not (tiles[0] <= x // 16 < tiles[2] and tiles[1] <= y // 16 < tiles[3]):
                    continue
                dx, dy = x + 0.5 - mean[0], y + 0.5 - mean[1]
                sigma = 0.5 * (conic[0] * dx * dx + conic[2] * dy * dy) + conic[1] * dx * dy
                alpha = min(profile.alpha_max, opacity * math.exp(-sigma))
                if alpha < profile.alpha_min:
                    continue
                if transmittance * (1 - alpha) <= profile.transmittance_min:
                    break
                weights[row, y, x] = alpha * transmittance
                picture[y, x] += weights[row, y, x] * np.array([*colors[row], 1.0, depth])
                transmittance *= 1 - alpha
    return picture, weights


def project_one(splats: Splats, view: Camera, row: int) -> tuple | None:
    """Depth, row, opacity, mean, conic and tiles of one Gaussian, scalar by scalar; None if it is not drawn."""
    profile = splats.profile
    matrix, intrinsics = view.viewmat.double().numpy(), view.K.double().numpy()
    (fx, cx), (fy, cy) = intrinsics[0, [0, 2]], intrinsics[1, [1, 2]]
    x, y, z = matrix[:3, :3] @ splats.means[row].double().numpy() + matrix[:3, 3]
    if not profile.near < z < profile.far:
        return None
    w, i, j, k = (splats.raw_quats[row].double() / splats.raw_quats[row].double().norm()).numpy()
    cross = np.array([[0, -k, j], [k, 0, -i], [-j, i, 0]])
    axes = matrix[:3, :3] @ (np.eye(3) + 2 * w * cross + 2 * cross @ cross)
    variances = np.exp(2 * splats.log_scales[row].double().numpy())
    limit_x, limit_y = 0.3 * 0.5 * view.width / fx, 0.3 * 0.5 * view.height / fy
    u = min(max(x / z, -cx / fx - limit_x), (view.width - cx) / fx + limit_x)
    v = min(max(y / z, -cy / fy - limit_y), (view.height - cy) / fy + limit_y)
    jacobian = np.array([[fx / z, 0, -fx * u / z], [0, fy / z, -fy * v / z]])
    sharp = jacobian @ axes @ np.diag(variances) @ axes.T @ jacobian.T
    blurred = sharp + profile.eps2d * np.eye(2)
    (a, b), (_, c) = blurred
    determinant = a * c - b * b
    if determinant <= 0:
        return None
    opacity = float(torch.sigmoid(splats.logit_opacities[row].double()))
    if profile.antialiased:
        opacity *= math.sqrt(max(0.0, np.linalg.det(sharp) / determinant))
    mean = (fx * x / z + cx, fy * y / z + cy)
    tiles = tiles_of(profile, mean, (a, c, determinant), opacity, (view.width, view.height))
    return (
        None if tiles is None else (z, row, opacity, mean, (c / determinant, -b / determinant, a / determinant), tiles)
    )


def tiles_of(profile: RenderProfile, mean, covariance, opacity: float, size) -> list[int] | None:
    """Left, top, right and bottom (exclusive) of the tiles in reach."""
    a, c, determinant = covariance
    if profile.extent == "ellipse":
        return [0, 0, 1 << 20, 1 << 20]
    half = (a + c) / 2
    if profile.extent == "opacity_aware":
        if opacity < profile.alpha_min:
            return None
        multiple = min(3.33, math.sqrt(2 * math.log(opacity / profile.alpha_min)))
        radii = [math.ceil(multiple * math.sqrt(a)), math.ceil(multiple * math.sqrt(c))]
    else:
        floor = 0.1 if profile.extent == "inria" else 0.01
        radii = 2 * [math.ceil(3 * math.sqrt(half + math.sqrt(max(floor, half * half - determinant))))]
    first, last = [], []
    for center, radius, pixels in zip(mean, radii, size, strict=True):
        if profile.extent == "inria":
            first.append(max(0, int((center - 0.5 - radius) / 16)))
            last.append(int((center - 0.5 + radius + 15) / 16))
        elif center + radius <= 0 or center - radius >= pixels:
            return None
        else:
            first.append(math.floor((center - radius) / 16))
            last.append(math.ceil((center + radius) / 16))
    return first + last


@pytest.mark.parametrize("profile", MODES, ids=lambda profile: profile.name)
def test_a_loop_over_pixels_gives_the_same(profile: RenderProfile):
    view = camera(37, 21, focal=(25.0, 22.0), center=(15.0, 12.0), turn=0.2)
    splats = replace(cloud(40, 7, size=0.25, opacity=1.0), profile=profile)
    features = torch.randn(40, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected, weights = brute_force(splats, view, features.numpy())
    picture = ORACLE.render(splats, view, features=features)
    alpha = torch.from_numpy(expected[..., 2])
    torch.testing.assert_close(picture.colors, torch.from_numpy(expected[..., :2]), atol=1e-12, rtol=0)
    torch.testing.assert_close(picture.alpha, alpha, atol=1e-12, rtol=0)
    depth = torch.where(alpha > 0, torch.from_numpy(expected[..., 3]) / alpha, 0.0)
    torch.testing.assert_close(picture.depth, depth, atol=1e-10, rtol=0)
    per_pixel = torch.arange(37 * 21).reshape(21, 37)
    votes = ORACLE.votes(splats, view, per_pixel)
    torch.testing.assert_close(votes.dense(), torch.from_numpy(weights).flatten(1), atol=1e-12, rtol=0)


def of_every_kind(profile: RenderProfile, harmonics: int) -> tuple[Splats, Camera]:
    """Four Gaussians, one far outside, where the Jacobian is held fixed; the colour of one is clamped to black."""
    means = [[0.0, 0.0, 2.0], [0.12, -0.1, 2.5], [-0.2, 0.1, 3.0], [2.9, 0.4, 2.2]]
    scales = [[0.1, 0.2, 0.15], [0.3, 0.1, 0.1], [0.2, 0.25, 0.1], [0.9, 0.5, 0.6]]
    quats = [[1.0, 0.2, -0.3, 0.1], [0.3, 1.0, 0.2, -0.4], [0.5, -0.5, 0.6, 1.2], [1.0, 0.1, 0.7, 0.2]]
    splats = gaussians(means, scales, [0.6, 0.7, 0.95, 0.8], quats=quats, profile=profile)
    sh = 0.4 * torch.randn(4, harmonics, 3, generator=torch.Generator().manual_seed(5))
    sh[1, 0] = -4.0
    return trained(replace(splats, sh=sh).to(torch.float64)), camera(5, 4, focal=(9.0, 8.0), center=(2.2, 2.1))


def passes_gradcheck(splats: Splats, view: Camera) -> bool:
    background = torch.tensor([0.3, 0.6, 0.1], dtype=torch.float64, requires_grad=True)

    def outcome(background: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        scene = Splats(*tensors, profile=splats.profile)
        picture = ORACLE.render(scene, view, background=background)
        return picture.colors, picture.alpha, picture.depth

    return torch.autograd.gradcheck(outcome, (background, *(getattr(splats, name) for name in PARAMETERS)))


@pytest.mark.parametrize("antialiased", [False, True], ids=["classic", "antialiased"])
@pytest.mark.parametrize("extent", EXTENTS)
def test_gradcheck(extent: str, antialiased: bool):
    """With harmonics of degree 1: most of the time goes into single numbers, and colours do not know of profiles."""
    assert passes_gradcheck(*of_every_kind(replace(EXTENTS[extent], antialiased=antialiased), harmonics=4))


def test_gradcheck_of_all_harmonics():
    assert passes_gradcheck(*of_every_kind(EXTENTS["ellipse"], harmonics=16))


def test_gradcheck_of_features():
    splats = cloud(6, 8, size=0.3).to(torch.float64)
    view = camera(5, 4, focal=(6.0, 6.0))
    features = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: ORACLE.render(splats, view, features=given).colors, (features,))


def test_means2d_collect_what_a_shift_of_the_picture_would_change():
    # Moving the principal point moves all projected means and, but for its effect on the clamp, nothing else.
    view = camera(24, 20, focal=(20.0, 20.0))
    splats = trained(cloud(30, 9, size=0.2).to(torch.float64))
    weight = torch.randn(20, 24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss(shift: float) -> Tensor:
        moved = view.to(torch.float64).K.clone()
        moved[0, 2] += shift
        return (ORACLE.render(splats, replace(view, viewmat=view.viewmat.double(), K=moved)).colors * weight).sum()

    picture = ORACLE.render(splats, view)
    (picture.colors * weight).sum().backward()
    step = 1e-6
    measured = float((loss(step) - loss(-step)).detach()) / (2 * step)
    assert float(picture.info["means2d"].grad[0, :, 0].sum()) == pytest.approx(measured, rel=1e-5)


def test_absgrad_is_the_sum_over_pixels_of_each_pixels_gradient():
    view = camera(7, 6, focal=(8.0, 8.0))
    splats = trained(cloud(8, 10, size=0.3).to(torch.float64))
    weight = torch.randn(6, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    picture = ORACLE.render(splats, view, absgrad=True)
    (picture.colors * weight).sum().backward()
    expected = torch.zeros(1, 8, 2, dtype=torch.float64)
    for y in range(6):
        for x in range(7):
            single = ORACLE.render(splats, view)
            (single.colors[y, x] * weight[y, x]).sum().backward()
            expected += single.info["means2d"].grad.abs()
    torch.testing.assert_close(picture.info["means2d"].absgrad, expected, atol=1e-12, rtol=0)
    assert bool((expected > picture.info["means2d"].grad.abs() + 1e-6).any())


def test_a_crop_is_the_window_of_the_whole_picture():
    view = camera(61, 47, center=(20.0, 30.0))
    splats = cloud(120, 11)
    crop = PixelRect(13, 9, 30, 27)
    whole, part = ORACLE.render(splats, view), ORACLE.render(splats, view, crop=crop)
    for name in ("colors", "alpha", "depth"):
        # Sums of another number of Gaussians' zeros may round differently.
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[crop.slices], atol=1e-14, rtol=0)
    assert bool((part.info["borderline"] == whole.info["borderline"][crop.slices]).all())


def test_without_gradients_means2d_asks_for_none():
    assert not ORACLE.render(cloud(3, 0), camera(4, 4)).colors.requires_grad


# A ball of variance (50 * scale)^2 + 0.3 = 4.3 at the middle of pixel 4.
@pytest.mark.parametrize(
    ("opacities", "depths", "doubtful"),
    [
        # One pixel off alpha = opacity * exp(-0.5 / 4.3) = 0.890230 * opacity: 1 / 255 at an opacity of 0.0044051.
        ([0.0044051], [2.0], True),
        ([0.0044151], [2.0], False),
        # Two at nearly one depth: which one is in front hangs on rounding.
        ([0.5, 0.5], [2.0, 2.000002], True),
        ([0.5, 0.5], [2.0, 2.0001], False),
    ],
)
def test_borderline_pixels_are_marked(opacities: list[float], depths: list[float], doubtful: bool):
    view = camera(9, 1, focal=(100.0, 100.0), center=(4.5, 0.5))
    splats = gaussians([[0.0, 0.0, depth] for depth in depths], 0.04, opacities)
    assert bool(ORACLE.render(splats, view).info["borderline"][0, 5]) == doubtful


@pytest.mark.parametrize(("opacity", "doubtful"), [(0.99, True), (0.98, False)])
def test_borderline_transmittance_is_marked(opacity: float, doubtful: bool):
    # 1 - 0.99 = 0.01, twice: exactly 1e-4 is left.
    view = camera(1, 1, focal=(100.0, 100.0))
    splats = gaussians([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0]], 0.04, [opacity, opacity])
    assert ORACLE.render(splats, view).info["borderline"].tolist() == [[doubtful]]


@pytest.mark.parametrize(("center", "doubtful"), [(1.0, True), (1.5, False)])
def test_borderline_tiles_are_marked(center: float, doubtful: bool):
    # A radius of 31 around x = 1 just does not reach the third tile, where alpha would still be above 1 / 255.
    view = camera(64, 16, focal=(100.0, 100.0), center=(center, 8.5))
    splats = gaussians([[0.0, 0.0, 1.0]], math.sqrt(99.7) / 100, [0.9])
    assert bool(ORACLE.render(splats, view).info["borderline"][8, 32]) == doubtful
