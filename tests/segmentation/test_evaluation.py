"""Scores computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splatseg_ns.raster import rasterizer_for
from splatseg_ns.segmentation import SceneObject
from splatseg_ns.segmentation.comparison import differences, painted
from splatseg_ns.segmentation.evaluation import (
    Evaluation,
    JudgedView,
    MaskCount,
    ObjectScore,
    TruthMatch,
    ViewMean,
    boundary_pixels,
    evaluate,
    inner_boundary,
    is_shown,
    match_objects,
    overlap_matrix,
    panoptic_quality,
)
from tests.lift.examples import ToyView, toy_splats
from tests.raster.scenes import camera, gaussians


def judged(drawn: list[list[int]], truth: list[list[int]], counts: Tensor | None = None) -> JudgedView:
    ours, theirs = torch.tensor(drawn), torch.tensor(truth)
    return JudgedView(0, theirs, ours, torch.ones_like(ours, dtype=torch.bool) if counts is None else counts)


def strips(lengths: dict[int, int]) -> Tensor:  # [40, 100]
    """A label map with the first pixels of row k of object k."""
    labels = torch.zeros(40, 100, dtype=torch.int64)
    for id, length in lengths.items():
        # Objects of the truth are called by 4 more: they lie where ours do.
        labels[id % 4, :length] = id
    return labels


def test_pooled_scores_are_of_all_views_together():
    count, all_of_it = MaskCount(), torch.ones(4, dtype=torch.bool)
    count.add(torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 0, 0]).bool(), all_of_it)
    count.add(torch.tensor([1, 1, 1, 0]).bool(), torch.tensor([1, 1, 1, 1]).bool(), all_of_it)
    # Shared 1 + 3 of a union of 2 + 4; one pixel of each view is wrong. The mean over views would be 0.625.
    assert count.iou == pytest.approx(4 / 6)
    assert count.accuracy == pytest.approx(6 / 8)


def test_pixels_that_do_not_count():
    count = MaskCount()
    count.add(torch.tensor([1, 1]).bool(), torch.tensor([1, 0]).bool(), torch.tensor([True, False]))
    assert (count.iou, count.accuracy) == (1.0, 1.0)


def test_nothing_to_compare():
    assert (MaskCount().iou, MaskCount().accuracy, ViewMean().iou) == (None, None, None)


def test_every_view_weighs_the_same():
    mean, all_of_it = ViewMean(), torch.ones(4, dtype=torch.bool)
    mean.add(torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 0, 0]).bool(), all_of_it)
    mean.add(torch.tensor([1, 1, 1, 0]).bool(), torch.tensor([1, 1, 1, 1]).bool(), all_of_it)
    assert mean.iou == pytest.approx((1 / 2 + 3 / 4) / 2)


def test_views_judge_what_they_show():
    # 100 x 40 pixels: 2 are the least share.
    ours = [{1: 2}, {1: 8}, {}, {1: 3, 2: 2}]
    true = [{5: 4}, {5: 8}, {5: 1}, {}]
    views = [
        JudgedView(place, strips(theirs), strips(drawn), torch.ones(40, 100, dtype=torch.bool))
        for place, (drawn, theirs) in enumerate(zip(ours, true, strict=True))
    ]
    seen_from = [ToyView(camera(100, 40), view.truth) for view in views]
    objects = [SceneObject.new(1, "cup"), SceneObject.new(2, "ghost"), SceneObject.new(3, "nowhere")]
    splats, nobody = toy_splats(5), torch.zeros(5, dtype=torch.int64)
    scores = evaluate(rasterizer_for("cpu"), splats, seen_from, views, objects, nobody, {5: "cup"}).objects
    cup, ghost, nowhere = scores
    # Judged in the first two views: 2 of 4 pixels, and all 8. The others leave out 1 pixel and add 3.
    assert (cup.views, cup.iou, cup.boundary_iou, cup.silhouette_iou) == (2, 0.75, 0.75, 0.0)
    assert cup.pooled_iou == pytest.approx(10 / 16) and cup.accuracy == pytest.approx(1 - 6 / 16000)
    assert (ghost.views, ghost.iou, ghost.boundary_iou, ghost.pooled_iou) == (1, 0.0, 0.0, 0.0)
    assert (nowhere.views, nowhere.iou, nowhere.pooled_iou, nowhere.accuracy) == (0, None, None, None)


def test_pixels_that_do_not_count_judge_nothing():
    mask = strips({1: 2}) == 1
    assert is_shown(mask, torch.ones_like(mask))
    assert not is_shown(mask, ~mask)


def test_the_silhouette_of_an_object_alone_is_judged_where_nothing_is_in_front():
    # A Gaussian that is opaque in the middle: alpha 0.9 there, 0.9 * 0.189 one pixel on (see test_object_masks).
    splats = gaussians([[-0.01, 0.0, 2.0]], 1e-4, [0.9])
    seen_from = camera(2, 1, focal=(100.0, 100.0))
    truth, drawn = torch.tensor([[1, 0]]), torch.tensor([[0, 0]])
    for beside, faint in ((0, 1 / 2), (2, 1.0)):
        truth[0, 1] = beside
        view = JudgedView(0, truth, drawn, torch.ones_like(truth, dtype=torch.bool))
        result = evaluate(
            rasterizer_for("cpu"),
            splats,
            [ToyView(seen_from, truth)],
            [view],
            [SceneObject.new(1, "cup")],
            torch.tensor([1]),
            {1: "cup"},
        )
        # Above 0.5 is the left pixel alone, above 0.1 the right one too, which does not count behind object 2.
        assert (result.objects[0].silhouette_iou, result.objects[0].faint_silhouette_iou) == (1.0, faint)


def test_overlap_of_all_pairs():
    view = judged([[5, 5, 0, 7]], [[1, 2, 2, 2]])
    # 5 and 1 share one of two pixels, 5 and 2 one of four, 7 and 2 one of three.
    assert overlap_matrix([view], [5, 7], [1, 2]).tolist() == [[1 / 2, 1 / 4], [0, pytest.approx(1 / 3)]]


def test_names_go_before_overlap():
    view = judged([[1, 1, 2, 2]], [[3, 3, 4, 4]])
    objects = [SceneObject.new(1, "cup"), SceneObject.new(2, "something"), SceneObject.new(9, "nowhere")]
    assert match_objects([view], objects, {4: "cup"}) == {
        1: TruthMatch(4, "name"),
        # The true object 4 overlaps better, but the cup has it already.
        2: TruthMatch(None, "nothing"),
        9: TruthMatch(None, "nothing"),
    }
    assert match_objects([view], objects, {})[2] == TruthMatch(4, "overlap")


def test_the_width_of_boundaries():
    assert boundary_pixels(384, 512) == 13  # 2 % of 640
    assert boundary_pixels(3, 4) == 1


def test_the_boundary_of_a_square():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[2:7, 2:7] = True
    core = torch.zeros_like(mask)
    core[3:6, 3:6] = True
    assert torch.equal(inner_boundary(mask, 1), mask & ~core)
    assert torch.equal(inner_boundary(mask, 3), mask)
    assert not inner_boundary(torch.zeros_like(mask), 2).any()


def test_the_edge_of_the_picture_is_a_boundary():
    assert inner_boundary(torch.ones(3, 3, dtype=torch.bool), 1).sum() == 8


def test_means_leave_out_what_is_not_known():
    scores = [
        ObjectScore(id, f"o{id}", id, f"o{id}", "name", 1, iou, iou, iou, iou, iou, None)
        for id, iou in [(1, 0.5), (2, None)]
    ]
    result = Evaluation(tuple(scores), 1).as_json()
    assert (result["mean_iou"], result["mean_faint_silhouette_iou"]) == (0.5, None)
    assert result["objects"]["o1"]["boundary_iou"] == 0.5
    assert result["objects"]["o2"]["iou"] is None


def test_pictures_show_objects_and_errors():
    picture = torch.full((3, 3, 3), 100, dtype=torch.uint8)
    labels = torch.zeros(3, 3, dtype=torch.int64)
    labels[1, 1] = 2
    veiled = painted(picture, labels, {2: (200, 0, 0)})
    assert veiled[1, 1].tolist() == [200, 0, 0] and veiled[0, 0].tolist() == [100, 100, 100]
    assert differences(picture, labels > 0)[1, 1].tolist() == [230, 0, 60]


def test_panoptic_quality_by_hand():
    # Object 1 has 8 of the 10 pixels of the true 5 and 2 beside them, 2 has 6 of the 12 of the true 6.
    # 3 lies on the true 6 as well, for 6 of its 9 pixels, 4 on nothing, 9 is not drawn.
    truth, drawn = strips({5: 10, 6: 12, 7: 40}), torch.zeros(40, 100, dtype=torch.int64)
    drawn[1, 2:12] = 1
    drawn[2, :6], drawn[2, 6:15] = 2, 3
    drawn[30, :20] = 4
    view = JudgedView(0, truth, drawn, torch.ones(40, 100, dtype=torch.bool))
    result = panoptic_quality([view], [1, 2, 3, 4, 9])
    # 8 of 12 is more than a half, 6 of 12 is not.
    assert result.matched == ((1, 5, pytest.approx(8 / 12)),)
    assert (result.missed, result.extra, result.beyond) == ((6, 7), (2, 3), (4,))
    assert result.segmentation_quality == pytest.approx(8 / 12)
    assert result.recognition_quality == pytest.approx(1 / (1 + 4 / 2))
    assert result.quality == pytest.approx(8 / 12 / 3)
    assert result.strict_quality == pytest.approx(8 / 12 / (1 + 5 / 2))
    assert result.as_json()["quality"] == result.quality


def test_panoptic_quality_is_over_all_views_together():
    # An object that is one thing in one view and another in the next is neither.
    everything = torch.ones(40, 100, dtype=torch.bool)
    here = JudgedView(0, strips({5: 50, 6: 50}), strips({1: 50, 2: 50}), everything)
    turned = JudgedView(1, strips({5: 50, 6: 50}), strips({1: 0, 2: 0}), everything)
    turned.drawn[1, :50], turned.drawn[2, :50] = 2, 1
    assert panoptic_quality([here], [1, 2]).quality == 1.0
    assert panoptic_quality([here, turned], [1, 2]).quality == 0.0


def test_panoptic_quality_of_nothing():
    everything = torch.ones(40, 100, dtype=torch.bool)
    # One pixel of the true 6 is less than the least share.
    nothing = panoptic_quality([JudgedView(0, strips({5: 50, 6: 1}), strips({}), everything)], [1])
    assert (nothing.matched, nothing.missed, nothing.extra, nothing.beyond) == ((), (5,), (), ())
    assert nothing.quality == nothing.strict_quality == 0.0


def test_what_does_not_count_matches_nothing():
    counts = torch.ones(40, 100, dtype=torch.bool)
    counts[:, 40:] = False
    view = JudgedView(0, strips({5: 40}), strips({1: 90}), counts)
    assert panoptic_quality([view], [1]).quality == 1.0
