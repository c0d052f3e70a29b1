"""From labels back to pictures."""

from __future__ import annotations

import torch

from splatseg_ns.lift import Labels, object_masks, render_label_map, render_object_mask, render_shares
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
