"""The ways in which one view votes."""

from __future__ import annotations

import torch

from splatseg_ns.lift import LabelledViews, Votes
from splatseg_ns.lift.ballots import by_area, by_center, by_mass, by_presence, dilate_objects, dilated
from splatseg_ns.raster import Rasterizer
from tests.lift.examples import ToyView, toy_splats, toy_views
from tests.raster.scenes import camera, gaussians

IDS = torch.tensor([0, 1, 2, 3])


def test_presence_by_hand(cpu: Rasterizer):
    # A row of three pixels 1, 1, 2 and three small Gaussians: over the first pixel, over the border of 1 and 2, over
    # none. Focal length 100, depth 2: 0.02 units are one pixel.
    splats = gaussians([[-0.02, 0.0, 2.0], [0.01, 0.0, 2.0], [0.0, 9.0, 2.0]], 1e-4, [0.3, 0.5, 0.5])
    view = ToyView(camera(3, 1, focal=(100.0, 100.0)), torch.tensor([[1, 1, 2]]))
    (labelled,) = LabelledViews([view]).read()
    votes = Votes.of(by_presence(cpu, splats, labelled, torch.tensor([0, 1, 2])))
    assert votes.column(1).tolist() == [1.0, 0.5, 0.0]
    assert votes.column(2).tolist() == [0.0, 0.5, 0.0]
    assert votes.seen.tolist() == [1.0, 1.0, 0.0]
    # If 2 does not count, the middle one still shares what it is seen by.
    only = Votes.of(by_presence(cpu, splats, labelled, torch.tensor([1])))
    assert only.column(1).tolist() == [1.0, 0.5, 0.0] and float(only.column(2).sum()) == 0.0


def test_centres_by_hand(cpu: Rasterizer):
    # Pixels 3, 0, 5 of the only row. Centres: in the first, in the last (which has no column), two walls, of which the
    # first leaves 0.001 and the second would leave less than 1e-4, so that it and the next are not drawn; beside the
    # picture, and behind the camera.
    means = [*([x, 0.0, 2.0] for x in (-0.02, 0.02)), *([-0.02, 0.0, z] for z in (3.0, 3.1, 3.2))]
    means += [[0.06, 0.0, 2.0], [0.0, 0.0, -2.0]]
    sizes = [[size] * 3 for size in (1e-3, 1e-3, 20.0, 20.0, 1e-3, 1e-3, 1e-3)]
    splats = gaussians(means, sizes, [0.5, 0.5, 0.9999, 0.9999, 0.9, 0.9, 0.9])
    (labelled,) = LabelledViews([ToyView(camera(3, 1, focal=(100.0, 100.0)), torch.tensor([[3, 0, 5]]))]).read()
    votes = by_center(cpu, splats, labelled, torch.tensor([0, 3]))
    assert votes.dense()[:, 1].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert votes.seen.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_a_centre_on_a_pixel_that_says_nothing_does_not_vote(cpu: Rasterizer):
    splats = gaussians([[-0.02, 0.0, 2.0], [0.02, 0.0, 2.0]], 0.02, [0.5, 0.5])
    (labelled,) = LabelledViews([ToyView(camera(3, 1, focal=(100.0, 100.0)), torch.tensor([[-1, 1, 1]]))]).read()
    assert by_center(cpu, splats, labelled, torch.tensor([1])).seen.tolist() == [0.0, 1.0]


def test_area_scales_a_view_to_the_size_of_another(cpu: Rasterizer):
    first, second = list(LabelledViews(toy_views(2)).read())
    splats = toy_splats()
    ballot = by_area(first.camera)
    assert torch.equal(ballot(cpu, splats, first, IDS).mass, by_mass(cpu, splats, first, IDS).mass)
    scale = (48 * 40) / (33 * 29)
    torch.testing.assert_close(
        ballot(cpu, splats, second, IDS).dense(),
        scale * by_mass(cpu, splats, second, IDS).dense(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_dilation_of_one_object_is_a_square_window():
    labels = torch.zeros(9, 11, dtype=torch.uint8)
    labels[4, 5] = 6
    grown = dilate_objects(labels, 3)
    expected = torch.zeros(9, 11, dtype=torch.int64)
    expected[1:8, 2:9] = 6
    assert torch.equal(grown, expected)
    assert torch.equal(dilate_objects(labels, 0), labels.long())


def test_objects_grow_until_they_meet():
    assert dilate_objects(torch.tensor([[2, 0, 0, 1, 0, 0, 0, 7]]), 2).tolist() == [[2, 2, 1, 1, 1, 1, 7, 7]]
    # One pixel between them goes to the lower id.
    assert dilate_objects(torch.tensor([[70_000, 0, 3, 9]]), 1).tolist() == [[70_000, 3, 3, 9]]


def test_a_dilated_ballot_sees_grown_masks(cpu: Rasterizer):
    (view,) = LabelledViews(toy_views(1)).read()
    splats = toy_splats()
    grown = cpu.votes(splats, view.camera, dilate_objects(view.labels, 2), IDS)
    assert torch.equal(dilated(by_mass, 2)(cpu, splats, view, IDS).mass, grown.mass)
    assert dilated(by_mass, 0) is by_mass
