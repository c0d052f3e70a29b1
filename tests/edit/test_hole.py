"""Where a removed object leaves a hole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splatseg_ns.edit.hole import Hole, find_hole, grown, object_masks
from splatseg_ns.edit.surface_behind import points_at
from splatseg_ns.raster import rasterizer_for
from tests.edit.can_scene import RADIUS, CanScene, can_scene


@pytest.fixture(scope="module")
def scene() -> CanScene:
    return can_scene()


def hole_of(scene: CanScene, removed: Tensor, hidden: Tensor | None = None) -> Hole:
    engine = rasterizer_for("cpu")
    hidden = torch.zeros_like(removed) if hidden is None else hidden
    masks = object_masks(engine, scene.splats, removed, scene.cameras)
    return find_hole(engine, scene.splats, removed, hidden, scene.cameras, masks)


def under_the_can(scene: CanScene) -> Tensor:
    """The Gaussians of the table that nobody has seen."""
    return ~scene.can & (scene.splats.means[:, :2].norm(dim=1) < RADIUS - 0.03)


def test_the_hole_is_where_the_can_stood(scene: CanScene):
    hole = hole_of(scene, scene.can)
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
    known, told = hole_of(scene, scene.can), hole_of(scene, scene.can | under, hidden=under)
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
