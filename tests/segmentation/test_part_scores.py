"""Recall and IoU of classes, counted by hand on pictures of ten pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splatseg_ns.segmentation.evaluation import LEAST_SHARE
from splatseg_ns.segmentation.part_scores import ClassScore, ClassScores, ClassTally

NAMES = {1: "handle", 2: "blade"}


def row(*ids: int) -> Tensor:  # [1, W]
    return torch.tensor([ids])


def everywhere(labels: Tensor) -> Tensor:
    return torch.ones_like(labels, dtype=torch.bool)


def test_one_picture_by_hand():
    """Of the handle 3 of 4 pixels are found and 1 too many is: recall 3/4, IoU 3/5. Of the blade 1 of 2: 1/2, 1/2."""
    truth = row(1, 1, 1, 1, 0, 0, 2, 2, 0, 0)
    drawn = row(0, 1, 1, 1, 1, 0, 0, 2, 0, 0)
    tally = ClassTally(NAMES)
    tally.add(drawn, truth, everywhere(truth))
    scores = tally.scores()
    assert scores.classes == (ClassScore("handle", 1, 3 / 4, 3 / 5), ClassScore("blade", 1, 1 / 2, 1 / 2))
    assert scores.recall == pytest.approx((3 / 4 + 1 / 2) / 2) and scores.iou == pytest.approx((3 / 5 + 1 / 2) / 2)


def test_pictures_count_alike_and_so_do_classes():
    """The handle: recall 1 and 1/2, mean 3/4; IoU 1/4 and 1/2, mean 3/8. The blade only in one: 0 and 0.

    With the pixels of both pictures together the recall of the handle would be 3/5.
    """
    tally = ClassTally(NAMES)
    tally.add(row(1, 1, 1, 1), row(1, 0, 0, 0), everywhere(row(1, 0, 0, 0)))
    truth = row(1, 1, 1, 1, 0, 0, 0, 2)
    tally.add(row(1, 1, 0, 0, 0, 0, 0, 0), truth, everywhere(truth))
    scores = tally.scores()
    assert scores.classes == (ClassScore("handle", 2, 3 / 4, 3 / 8), ClassScore("blade", 1, 0.0, 0.0))
    assert scores.recall == 3 / 8 and scores.iou == 3 / 16


def test_pixels_about_which_the_truth_says_nothing_count_for_nothing():
    truth, drawn = row(1, 1, 1, 0, 0, 2), row(1, 0, 0, 1, 0, 2)
    counts = row(1, 1, 0, 0, 1, 0).bool()
    tally = ClassTally(NAMES)
    tally.add(drawn, truth, counts)
    assert tally.scores().classes == (ClassScore("handle", 1, 1 / 2, 1 / 2), ClassScore("blade", 0, None, None))


def test_a_picture_counts_for_a_class_that_it_shows_enough_of():
    pixels = round(2 / LEAST_SHARE)
    for shown, views in ((1, 0), (2, 1), (3, 1)):
        truth = torch.zeros(1, pixels, dtype=torch.int64)
        truth[0, :shown] = 1
        tally = ClassTally(NAMES)
        tally.add(truth, truth, everywhere(truth))
        assert [entry.views for entry in tally.scores().classes] == [views, 0]


def test_a_class_that_is_found_where_it_is_not_costs_only_where_it_is():
    tally = ClassTally({1: "handle"})
    tally.add(row(1, 1, 1, 1), row(0, 0, 0, 0), everywhere(row(0, 0, 0, 0)))
    assert tally.scores() == ClassScores((ClassScore("handle", 0, None, None),))
    tally.add(row(1, 1, 0, 0), row(1, 0, 0, 0), everywhere(row(1, 0, 0, 0)))
    assert tally.scores().classes == (ClassScore("handle", 1, 1.0, 0.5),)


def test_without_any_class_there_is_no_mean():
    for tally in (ClassTally({}), ClassTally(NAMES)):
        assert tally.scores().recall is None and tally.scores().iou is None
    assert ClassTally({}).scores().as_json() == {"mean_recall": None, "mean_iou": None, "classes": {}}


def test_as_json():
    scores = ClassScores((ClassScore("handle", 2, 0.5, 0.25), ClassScore("blade", 0, None, None)))
    assert scores.as_json() == {
        "mean_recall": 0.5,
        "mean_iou": 0.25,
        "classes": {
            "handle": {"views": 2, "recall": 0.5, "iou": 0.25},
            "blade": {"views": 0, "recall": None, "iou": None},
        },
    }
    assert list(scores.as_json()["classes"]) == ["handle", "blade"]


def test_scores_so_far_do_not_change_later():
    tally = ClassTally({1: "handle"})
    tally.add(row(1, 0), row(1, 1), everywhere(row(1, 1)))
    before = tally.scores()
    tally.add(row(1, 1), row(1, 1), everywhere(row(1, 1)))
    assert before.classes == (ClassScore("handle", 1, 0.5, 0.5),)
    assert tally.scores().classes == (ClassScore("handle", 2, 0.75, 0.75),)


def test_the_names_given_are_kept_as_they_were():
    names = {1: "handle"}
    tally = ClassTally(names)
    names[2] = "blade"
    assert [entry.name for entry in tally.scores().classes] == ["handle"]
