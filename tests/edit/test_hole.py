"""Where a removed object leaves a hole."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from splatseg_ns.edit.hole import Hole, find_hole, object_masks
from splatseg_ns.edit.pixels import grown, points_at
from splatseg_ns.edit.surface_behind import Plane, Surface
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera
from tests.edit.can_scene import RADIUS, CanScene, can_scene


@pytest.fixture(scope="module")
def scene() -> CanScene:
    return can_scene()


TABLE = Plane(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), 0.0)


def hole_of(scene: CanScene, removed: Tensor, planes: tuple[Plane, ...] = (TABLE,)) -> Hole:
    engine = rasterizer_for("cpu")
    masks = object_masks(engine, scene.splats, removed, scene.cameras)
    surface = Surface(planes, RADIUS)
    return find_hole(engine, scene.splats, removed, surface, scene.cameras, masks, list(scene.cameras))


def under_the_can(scene: CanScene) -> Tensor:
    """The Gaussians of the table that nobody has seen."""
    return ~scene.can & (scene.splats.means[:, :2].norm(dim=1) < RADIUS - 0.03)


@pytest.mark.parametrize("planes", [(TABLE,), ()])
def test_the_hole_is_where_the_can_stood(scene: CanScene, planes: tuple[Plane, ...]):
    hole = hole_of(scene, scene.can, planes)
    for view in hole.views:
        depth = torch.full(view.hole.shape, 1.0)
        # The table is z = 0: along each ray from the camera so far that z vanishes.
        towards = points_at(view.camera, depth) - view.camera.position.double()
        on_table = view.camera.position.double() - towards * (view.camera.position[2] / towards[..., 2:])
        under = on_table[..., :2].norm(dim=-1) < RADIUS
        shared, both = (view.hole & under).sum(), (view.hole | under).sum()
        assert shared / both > 0.65
        assert not bool((view.hole & ~view.object).any())


def test_what_was_hidden_goes_and_what_was_seen_stays(scene: CanScene):
    hole = hole_of(scene, scene.can)
    inner = under_the_can(scene) & (scene.splats.means[:, :2].norm(dim=1) < RADIUS - 0.08)
    assert not bool(hole.stays[inner].any()) and not bool(hole.stays[scene.can].any())
    outside = ~scene.can & (scene.splats.means[:, :2].norm(dim=1) > RADIUS + 0.08)
    assert bool(hole.stays[outside].all())


def test_it_is_the_same_hole_where_the_hidden_went_with_the_can(scene: CanScene):
    under = under_the_can(scene)
    known, told = hole_of(scene, scene.can), hole_of(scene, scene.can | under)
    for one, other in zip(known.views, told.views, strict=True):
        assert (one.hole & other.hole).sum() / (one.hole | other.hole).sum() > 0.8


def test_what_hides_nothing_leaves_no_hole(scene: CanScene):
    lifted = scene.splats.means.clone()
    lifted[scene.can] += torch.tensor([0.0, 0.0, 0.22])
    high = CanScene(
        type(scene.splats)(**{**scene.splats.tensors(), "means": lifted}), scene.can, scene.truth, scene.cameras
    )
    assert hole_of(high, scene.can).pixels == 0


def test_a_mask_grows_by_a_disc():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[4, 4] = True
    ring = grown(mask, 2)
    assert bool(ring[4, 2] and ring[2, 4] and ring[5, 5]) and not bool(ring[2, 2] or ring[4, 1])
    assert torch.equal(grown(mask, 0), mask)


def test_what_few_views_saw_behind_a_large_object_is_no_hole(scene: CanScene):
    # Five of eight cameras stand side by side: most of what the views show of the table behind the can, the can hid.
    beside = {f"view_0 {turn}": turned(scene.cameras["view_0"], 0.02 * turn) for turn in range(5)}
    cameras = {**beside, **{name: scene.cameras[name] for name in ("view_2", "view_4", "view_6")}}
    hole = hole_of(replace(scene, cameras=cameras), scene.can)
    for view in hole.views:
        points = points_at(view.camera, TABLE.depth(view.camera))[view.hole]
        assert len(points) and float(points[:, :2].norm(dim=1).max()) < 1.3 * RADIUS


def turned(camera: Camera, angle: float) -> Camera:
    """About the table's middle, by radians."""
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return replace(camera, viewmat=camera.viewmat @ turn)


def test_what_one_view_alone_could_have_seen_far_behind_an_object_is_no_hole(scene: CanScene):
    def narrow(camera: Camera) -> Camera:
        return replace(camera, K=camera.K * torch.tensor([[3.0], [3.0], [1.0]]) - 2.0 * centre_of(camera))

    camera = scene.cameras["view_0"]
    eye = torch.tensor([2.2, 0.0, 0.6])
    # It looks along the x axis, and its y axis points down.
    rotation = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    viewmat = torch.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
    low = replace(camera, viewmat=viewmat)
    others = {name: narrow(camera) for name, camera in can_scene(views=20).cameras.items()}
    hole = hole_of(replace(scene, cameras={**others, "low": low}), scene.can)
    (view,) = (view for view in hole.views if view.name == "low")
    behind = points_at(low, TABLE.depth(low).nan_to_num(posinf=0.0))[view.object]
    in_hole = points_at(low, TABLE.depth(low))[view.hole]
    assert float(behind[:, :2].norm(dim=1).max()) > 6.0 * RADIUS
    assert len(in_hole) and float(in_hole[:, :2].norm(dim=1).max()) < 4.0 * RADIUS


def centre_of(camera: Camera) -> Tensor:  # [3, 3]
    """The principal point where the intrinsics have it."""
    centre = torch.zeros(3, 3)
    centre[:2, 2] = camera.K[:2, 2]
    return centre
