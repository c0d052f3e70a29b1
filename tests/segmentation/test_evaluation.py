"""Scores computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splatseg_ns.segmentation import SceneObject
from splatseg_ns.segmentation.comparison import differences, painted
from splatseg_ns.segmentation.evaluation import (
    Evaluation,
    JudgedView,
    MaskCount,
    ObjectScore,
    TruthMatch,
    boundary_pixels,
    inner_boundary,
    match_objects,
    overlap_matrix,
)


def judged(drawn: list[list[int]], truth: list[list[int]], counts: Tensor | None = None) -> JudgedView:
    ours, theirs = torch.tensor(drawn), torch.tensor(truth)
    return JudgedView(0, theirs, ours, torch.ones_like(ours, dtype=torch.bool) if counts is None else counts)


def test_scores_are_of_all_views_together():
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
    assert (MaskCount().iou, MaskCount().accuracy) == (None, None)


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
        ObjectScore(id, f"o{id}", id, f"o{id}", "name", iou, iou, iou, iou, None) for id, iou in [(1, 0.5), (2, None)]
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
