"""Which views are looked at, in which order."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.demo.scene import ring_of_cameras
from splatseg_ns.scene import Camera
from splatseg_ns.segmentation.view_choice import spread_out, step_by_step
from tests.raster.scenes import camera


def walk(count: int) -> list[Camera]:
    """Cameras a step apart, as a film has them."""
    return [camera(8, 8, shift=(0.1 * step, 0.0, 0.0)) for step in range(count)]


@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_each_view_comes_once(count: int):
    for cameras in (walk(count), ring_of_cameras(count, 8, 8), [camera(8, 8)] * count):
        assert sorted(spread_out(cameras)) == list(range(count))


def test_no_views():
    assert spread_out([]) == []


def test_the_middle_comes_first_then_both_ends():
    order = spread_out(walk(21))
    assert order[0] == 10
    assert set(order[1:3]) == {0, 20}


@pytest.mark.parametrize("few", [2, 3, 4, 6, 8])
def test_the_first_few_are_far_apart(few: int):
    cameras = ring_of_cameras(24, 8, 8)
    places = torch.stack([seen_from.position for seen_from in cameras])
    chosen = places[spread_out(cameras)[:few]]
    apart = torch.pdist(chosen).min()
    # The farthest of all orders has them evenly around the ring; one by one, half of that can be had.
    evenly = (places[0] - places[24 // few]).norm()
    assert float(apart) > 0.45 * float(evenly)
    assert float(apart) > 1.4 * float((places[0] - places[1]).norm())


def test_from_one_place_the_first_look_apart():
    turning = [camera(8, 8, turn=0.1 * step) for step in range(11)]
    order = spread_out(turning)
    assert order[0] == 5 and set(order[1:3]) == {0, 10}


def test_the_unit_of_length_does_not_matter():
    cameras = ring_of_cameras(12, 8, 8)
    enlarged = []
    for seen_from in cameras:
        viewmat = seen_from.viewmat.clone()
        viewmat[:3, 3] *= 1000.0
        enlarged.append(Camera(viewmat, seen_from.K, 8, 8))
    assert spread_out(enlarged) == spread_out(cameras)


def directions(*degrees: float) -> list[torch.Tensor]:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return [torch.stack([angle.cos(), angle.sin(), torch.zeros(())]).double() for angle in angles]


def test_each_step_is_to_the_view_nearest_to_one_before():
    assert step_by_step(directions(0), directions(90, 30, -170, 60, 10, 120, 150)) == [4, 1, 3, 0, 5, 6, 2]


def test_steps_from_two_sides():
    # 5 and 175 are next to the two that are known; then 20, and 150 before 60.
    assert step_by_step(directions(0, 180), directions(60, 150, 20, 175, 5)) in ([4, 3, 2, 1, 0], [3, 4, 2, 1, 0])


def test_every_direction_comes_once():
    same = directions(0) * 5
    assert sorted(step_by_step(directions(0), same)) == [0, 1, 2, 3, 4]
    assert step_by_step(directions(0), []) == []
