"""From pixels to points and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera
from splatseg_ns.segmentation.surfaces import Surfaces, in_picture, projected
from tests.raster.scenes import camera
from tests.scene.examples import random_rotation
from tests.segmentation.clicked import ball_before_wall

BALL, WALL, BETWEEN = 2.0, 10.0, 5.5


def posed(width: int = 12, height: int = 8) -> Camera:
    """A camera in no special place."""
    straight = camera(width, height, focal=(15.0, 14.0), center=(6.3, 3.9))
    viewmat = torch.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = random_rotation(3), torch.tensor([0.4, -1.0, 2.0])
    return replace(straight, viewmat=viewmat)


def silhouette() -> Surfaces:
    """A ball on the left, a wall on the right; in the column between them the expected depth is of neither."""
    depth = torch.full((8, 12), WALL)
    depth[:, :5] = BALL
    depth[:, 5] = BETWEEN
    return Surfaces(posed(), depth, torch.ones(8, 12))


def depth_at(surfaces: Surfaces, x: float, y: float) -> float:
    point = surfaces.point(x, y)
    assert point is not None
    return projected(surfaces.camera, point)[2]


@pytest.mark.parametrize(("x", "depth"), [(3.5, BALL), (4.5, BALL), (6.5, WALL), (7.5, WALL)])
def test_the_surface_of_a_pixel_that_its_neighbours_agree_on_is_its_own(x: float, depth: float):
    assert depth_at(silhouette(), x, 4.5) == pytest.approx(depth, rel=1e-5)


def test_at_a_silhouette_the_nearer_surface_is_meant():
    assert depth_at(silhouette(), 5.5, 4.5) == pytest.approx(BALL, rel=1e-5)


def test_through_a_hole_and_at_a_speck_the_surface_around_is_meant():
    for stray in (1.0, 30.0):
        surfaces = silhouette()
        surfaces.depth[4, 9] = stray
        assert depth_at(surfaces, 9.5, 4.5) == pytest.approx(WALL, rel=1e-5)


def test_where_nothing_agrees_the_own_depth_stays():
    depth = (1.0 + torch.arange(96.0).reshape(8, 12)).clone()
    assert depth_at(Surfaces(posed(), depth, torch.ones(8, 12)), 6.5, 4.5) == pytest.approx(float(depth[4, 6]))


def test_nothing_there():
    surfaces = silhouette()
    surfaces.alpha[:, :6] = 0.2
    assert surfaces.point(3.5, 4.5) is None
    # The faint neighbours have no say.
    assert depth_at(surfaces, 6.5, 4.5) == pytest.approx(WALL, rel=1e-5)


@pytest.mark.parametrize("pixel", [(0.0, 0.0), (12.0, 8.0), (12.0, 0.0), (6.25, 3.75)])
def test_a_point_lies_on_the_ray_of_its_pixel_at_the_edges_too(pixel: tuple[float, float]):
    surfaces = Surfaces(posed(), torch.full((8, 12), 4.0), torch.ones(8, 12))
    point = surfaces.point(*pixel)
    assert point is not None
    assert projected(surfaces.camera, point) == pytest.approx((*pixel, 4.0), abs=1e-5)


def test_the_clicked_point_lies_on_the_front_of_the_ball():
    made = ball_before_wall()
    for view in (0, 3):
        surfaces = Surfaces.seen(rasterizer_for("cpu"), made.splats, made.views[view].camera)
        point = surfaces.point(*made.views[view].middle(1))
        assert point is not None
        assert float(point.norm()) == pytest.approx(0.5, abs=0.06)
        # Towards the camera, not on the far side.
        to_camera = torch.nn.functional.normalize(made.views[view].camera.position.double(), dim=0)
        assert float(point @ to_camera) > 0.4


def test_the_clicked_point_of_a_plane_lies_in_it():
    made = ball_before_wall()
    surfaces = Surfaces.seen(rasterizer_for("cpu"), made.splats, made.views[1].camera)
    wall = (made.views[1].objects == 2).nonzero()
    for row, column in wall[:: len(wall) // 7].tolist():
        point = surfaces.point(column + 0.5, row + 0.5)
        assert point is not None
        assert float(point[2]) == pytest.approx(3.0, abs=0.15)


def test_what_a_pixel_shows_is_seen_there():
    surfaces = silhouette()
    for x in (2.5, 8.25):
        point = surfaces.point(x, 3.5)
        assert point is not None
        assert surfaces.pixel(point) == pytest.approx((x, 3.5), abs=1e-4)


def at(surfaces: Surfaces, x: float, y: float, depth: float) -> torch.Tensor:
    """The point at a pixel and depth, whatever is seen there."""
    point = replace(surfaces, depth=torch.full_like(surfaces.depth, depth)).point(x, y)
    assert point is not None
    return point


def test_a_hidden_point_is_seen_nowhere():
    surfaces = silhouette()
    behind_the_ball = at(surfaces, 3.5, 4.5, 6.0)
    assert surfaces.pixel(behind_the_ball) is None
    assert surfaces.pixel(behind_the_ball, occlusion=False) == pytest.approx((3.5, 4.5), abs=1e-4)


def test_nothing_is_seen_where_nothing_is_drawn():
    surfaces = silhouette()
    surfaces.alpha[:] = 0.0
    surfaces.depth[:] = 0.0
    point = at(replace(surfaces, alpha=torch.ones(8, 12)), 3.5, 4.5, 6.0)
    assert surfaces.pixel(point) is None
    assert surfaces.pixel(point, occlusion=False) is not None


def test_behind_the_camera_and_beside_its_picture():
    surfaces = replace(silhouette(), depth=torch.full((8, 12), 100.0))
    before = at(surfaces, 3.5, 4.5, 4.0)
    behind = 2 * surfaces.camera.position.double() - before
    beside = at(surfaces, 3.5, 4.5, 4.0) + 10.0 * surfaces.camera.viewmat[0, :3].double()
    middle = surfaces.camera.position.double()
    assert in_picture(surfaces.camera, before)
    # The mirror image of a point behind the camera falls on a pixel too.
    assert projected(surfaces.camera, behind)[:2] == pytest.approx((3.5, 4.5), abs=1e-4)
    for point in (behind, beside, middle):
        assert not in_picture(surfaces.camera, point)
        assert surfaces.pixel(point) is None
        assert surfaces.pixel(point, occlusion=False) is None


def test_a_surface_is_smooth_away_from_silhouettes_and_holes():
    surfaces = silhouette()
    surfaces.alpha[:, 11] = 0.0
    assert surfaces.is_smooth(2.5, 4.5) and surfaces.is_smooth(8.5, 4.5)
    # The pixel between the two surfaces, those beside it, and those beside nothing.
    assert not any(surfaces.is_smooth(x, 4.5) for x in (4.5, 5.5, 6.5, 10.5))
