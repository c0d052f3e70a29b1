"""From labels back to pictures."""

from __future__ import annotations

import torch

from splatseg_ns.lift import (
    FlashSplat,
    Labels,
    object_masks,
    render_label_map,
    render_nearest_map,
    render_object_mask,
    render_shares,
)
from splatseg_ns.raster import Rasterizer
from tests.lift.examples import toy_splats, toy_views, votes_of
from tests.raster.scenes import camera, gaussians, generator

# Two pixels side by side, focal length 100 and depth 2: one pixel is 0.02 units. Small Gaussians blurred by 0.3 square
# pixels: at a distance of one pixel alpha falls to exp(-0.5 / 0.3) = 0.189 of that in the centre.
CAMERA = camera(2, 1, focal=(100.0, 100.0))
LEFT, RIGHT = [-0.01, 0.0], [0.01, 0.0]


def test_the_strongest_share_of_a_pixel_wins(engine: Rasterizer):
    # Left: object 4 with alpha 0.8, behind it object 7 with 0.2 * 0.9. Right: object 7 with 0.45, less than the rest.
    splats = gaussians([[*LEFT, 2.0], [*LEFT, 2.0001], [*RIGHT, 2.0]], 1e-4, [0.8, 0.9, 0.3]).to(engine.device)
    labels = Labels(torch.tensor([4, 7, 7]), torch.ones(3).double())
    seen_from = CAMERA.to(engine.device)
    shares = render_shares(engine, splats, seen_from, labels, torch.tensor([4, 7]))
    torch.testing.assert_close(shares[0, 0].cpu().float(), torch.tensor([0.8, 0.18]), atol=0.03, rtol=0.0)
    assert render_label_map(engine, splats, seen_from, labels, torch.tensor([4, 7])).tolist() == [[4, 0]]


def test_a_single_object_needs_more_than_half_of_the_pixel(cpu: Rasterizer):
    for opacity, expected in ((0.49, 0), (0.51, 3)):
        splats = gaussians([[*LEFT, 2.0]], 1e-4, [opacity])
        labels = Labels(torch.tensor([3]), torch.ones(1).double())
        assert int(render_label_map(cpu, splats, CAMERA, labels, torch.tensor([3]))[0, 0]) == expected


def test_no_objects_leave_all_pixels_to_the_background(cpu: Rasterizer):
    splats = gaussians([[*LEFT, 2.0]], 1e-4, [0.9])
    labels = Labels(torch.tensor([3]), torch.ones(1).double())
    for nothing in ([], [0]):
        assert render_label_map(cpu, splats, CAMERA, labels, torch.tensor(nothing).long()).tolist() == [[0, 0]]


def test_votes_give_the_soft_mask(cpu: Rasterizer):
    # In front of an opaque Gaussian of the background one of alpha 0.9 that belongs to object 2 by 0.6: as a label the
    # pixel is 0.9 object, by its share 0.54; by a share of 0.5 only 0.45.
    splats = gaussians([[*LEFT, 2.0], [*LEFT, 3.0]], 1e-4, [0.9, 0.99])
    for share, expected in ((0.6, 2), (0.5, 0)):
        votes = votes_of([[1 - share, share], [1.0, 0.0]], ids=[0, 2])
        assert int(render_label_map(cpu, splats, CAMERA, votes, torch.tensor([0, 2]))[0, 0]) == expected


def test_many_objects_are_drawn_in_parts(cpu: Rasterizer, monkeypatch):
    splats, seen_from = toy_splats(), toy_views(1)[0].camera
    ids = torch.arange(12)
    labels = Labels(torch.randint(-1, 12, (len(splats),), generator=generator(1)), torch.ones(len(splats)).double())
    whole = render_label_map(cpu, splats, seen_from, labels, ids)
    weights = render_shares(cpu, splats, seen_from, labels, ids)
    weights[..., 0] = 1.0 - weights[..., 1:].sum(dim=-1)
    assert torch.equal(whole, weights.argmax(dim=-1)) and len(whole.unique()) > 6
    monkeypatch.setattr(object_masks, "_CHANNELS", 5)
    assert torch.equal(render_label_map(cpu, splats, seen_from, labels, ids), whole)


def test_an_object_alone_is_not_occluded(cpu: Rasterizer):
    splats = gaussians([[*LEFT, 2.0], [*LEFT, 3.0]], 1e-4, [0.99, 0.15])
    behind = torch.tensor([False, True])
    assert render_object_mask(cpu, splats, CAMERA, behind).tolist() == [[True, False]]
    assert render_object_mask(cpu, splats, CAMERA, behind, tau=0.5).tolist() == [[False, False]]


def at_left(depth: float) -> list[float]:
    """In the middle of the left pixel."""
    return [-0.005 * depth, 0.0, depth]


def members(*rows: list[int]) -> dict[int, torch.Tensor]:
    """Sets of Gaussians, for the objects 1, 2 and so on."""
    return {id: torch.tensor(row).bool() for id, row in enumerate(rows, 1)}


def test_the_nearest_object_wins(engine: Rasterizer):
    # Left: a faint Gaussian of object 2 in front of an opaque one of object 1. Right: object 1 alone.
    splats = gaussians([at_left(2.0), at_left(3.0), [*RIGHT, 2.0]], 1e-4, [0.3, 0.99, 0.9]).to(engine.device)
    seen_from, sets = CAMERA.to(engine.device), members([0, 1, 1], [1, 0, 0])
    # At the left object 2 has alpha 0.3 and depth 2. Object 1 has 0.9 * 0.189 = 0.17 of its right Gaussian at depth 2
    # and 0.83 * 0.99 of its left one at depth 3: depth 2.8.
    assert render_nearest_map(engine, splats, seen_from, sets, tau=0.1).tolist() == [[2, 1]]
    # Below tau object 2 is not there, although it is nearer.
    assert render_nearest_map(engine, splats, seen_from, sets, tau=0.5).tolist() == [[1, 1]]


def test_what_is_in_no_object_hides_nothing_and_is_nothing(cpu: Rasterizer):
    # The opaque Gaussians in front of object 1 and at the right are in no object. Of object 1 the right pixel has
    # alpha 0.4 * 0.189 = 0.08.
    splats = gaussians([at_left(2.0), at_left(3.0), [*RIGHT, 2.0]], 1e-4, [0.99, 0.4, 0.99])
    assert render_nearest_map(cpu, splats, CAMERA, members([0, 1, 0], [0, 0, 0])).tolist() == [[1, 0]]


def test_shared_gaussians_are_drawn_with_each_of_their_objects(cpu: Rasterizer):
    # The second Gaussian, at depth 4, is in both objects. The one that the first is in, too, has depth
    # (0.5 * 2 + 0.5 * 0.8 * 4) / 0.9 = 2.9. Where both have nothing else they are the same: the smaller id.
    splats = gaussians([at_left(2.0), at_left(4.0)], 1e-4, [0.5, 0.8])
    for first, second, winner in (([1, 1], [0, 1], 1), ([0, 1], [1, 1], 2), ([0, 1], [0, 1], 1)):
        assert int(render_nearest_map(cpu, splats, CAMERA, members(first, second))[0, 0]) == winner


def test_depth_is_averaged_not_that_of_the_first_gaussian(cpu: Rasterizer):
    # Object 2 has depth (0.2 * 2 + 0.8 * 0.8 * 4) / 0.84 = 3.5, object 1 lies at 3.
    splats = gaussians([at_left(2.0), at_left(4.0), at_left(3.0)], 1e-4, [0.2, 0.8, 0.9])
    assert int(render_nearest_map(cpu, splats, CAMERA, members([0, 0, 1], [1, 1, 0]))[0, 0]) == 1


def test_a_negative_gamma_gives_sets_that_overlap(cpu: Rasterizer):
    # The Gaussian in the middle is of 1 and 2 by 0.45 and 0.55: against the rest -0.1 and 0.1, above a gamma of -0.2.
    votes = votes_of([[0.0, 1.0, 0.0], [0.0, 0.45, 0.55], [0.0, 0.0, 1.0]], ids=[0, 1, 2])
    sets = {id: FlashSplat(-0.2).members(votes, id) for id in (1, 2)}
    assert {id: rows.tolist() for id, rows in sets.items()} == {1: [True, True, False], 2: [False, True, True]}
    # Object 1: (0.3 * 1.5 + 0.7 * 0.9 * 2) / 0.93 = 1.8. Object 2: (0.9 * 2 + 0.1 * 0.9 * 3) / 0.99 = 2.1.
    splats = gaussians([at_left(1.5), at_left(2.0), at_left(3.0)], 1e-4, [0.3, 0.9, 0.9])
    assert int(render_nearest_map(cpu, splats, CAMERA, sets)[0, 0]) == 1
