"""Which views are taken, and which of them are wrong."""

from __future__ import annotations

import pytest
import torch

from benchmarks.conditions import CONDITIONS, Condition, positions_of
from splatseg_ns.lift import LabelledView
from tests.raster.scenes import camera

OBJECTS = torch.tensor([1, 2])


def clean_views(count: int) -> list[LabelledView]:
    """The left half of each is object 1, the right half object 2."""
    labels = torch.ones(12, 16, dtype=torch.uint8)
    labels[:, 8:] = 2
    seen_from = camera(16, 12)
    return [LabelledView(position, seen_from, labels, None) for position in range(count)]


def test_views_are_spaced_evenly_and_move_on_with_the_seed():
    assert positions_of(4, 12, seed=0) == [0, 3, 6, 9]
    assert positions_of(4, 12, seed=2) == [2, 5, 8, 11]
    assert positions_of(4, 12, seed=4) == [4, 7, 10, 1]
    assert positions_of(4, 10, seed=0) == [0, 2, 5, 7]


def test_clean_masks_are_run_once_for_each_choice_of_views():
    # Every third of 12 views: the fourth seed would take the first choice again.
    assert Condition("few", views=4).seeds(12, 5) == range(3)
    assert Condition("all").seeds(12, 5) == range(1)
    assert Condition("dirty", salt=0.1).seeds(12, 5) == range(5)


@pytest.mark.parametrize(("views", "share", "wrong"), [(48, 0.1, 5), (8, 1 / 8, 1), (16, 0.3, 5)])
def test_wrong_views_carry_rotated_ids(views: int, share: float, wrong: int):
    made = Condition("wrong", wrong=share).make(clean_views(views), OBJECTS, seed=0)
    assert sum(view.wrong for view in made) == wrong
    for view in made:
        assert int(view.label_map()[0, 0]) == (2 if view.wrong else 1)


def test_masks_are_the_same_for_a_seed_and_others_for_another():
    condition = Condition("all at once", views=6, moved_edges=True, wrong=0.5, salt=0.2)
    first, again, other = (
        torch.stack([view.labels for view in condition.make(clean_views(9), OBJECTS, seed)]) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_clean_masks_are_as_they_were():
    clean = clean_views(3)
    made = Condition("clean").make(clean, OBJECTS, seed=0)
    assert all(torch.equal(view.labels, given.labels) for view, given in zip(made, clean, strict=True))


def test_a_capture_with_few_views_shows_fewer_conditions():
    assert [condition.name for condition in CONDITIONS if not condition.fits(8)] == [
        "clean, 16 views",
        "clean, 8 views",
        "8 views, 1 wrong, e/d",
        "16 views, 30 % wrong, e/d",
    ]
