"""What answers of several views have in common: made ones, whose meaning is known."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.segmentation.consensus import Candidate, hypotheses
from splatseg_ns.segmentation.partial import PartialObject

COUNT = 40
EVERYTHING = range(COUNT)
WHOLE = range(20)


def candidate(
    view: int, rows: range | list[int], seen: range | list[int] = EVERYTHING, score: float = 0.9
) -> Candidate:
    """A mask with all of what is seen of some Gaussians."""
    inside, all_seen = torch.zeros(COUNT), torch.zeros(COUNT)
    all_seen[list(seen)] = 2.0
    inside[[row for row in rows if row in seen]] = 2.0
    return Candidate(view, score, PartialObject(inside, all_seen))


def rows_of(known: PartialObject) -> list[int]:
    return known.rows.nonzero().flatten().tolist()


def test_a_whole_that_most_views_see_comes_before_parts_that_differ():
    parts = [range(0, 6), range(7, 13), range(14, 20), range(3, 9)]
    asked = [
        entry
        for view, part in enumerate(parts)
        for entry in (candidate(view, part, score=0.99), candidate(view, WHOLE))
    ]
    best = hypotheses(asked, 4)[0]
    assert rows_of(best.known) == list(WHOLE)
    assert best.views == 4 and best.support == pytest.approx(1.0)


def test_a_part_that_most_views_see_comes_before_wholes_that_differ():
    groups = [range(0, 22), range(0, 28), range(0, 34), range(0, 40)]
    asked = [
        entry for view, group in enumerate(groups) for entry in (candidate(view, range(10)), candidate(view, group))
    ]
    best = hypotheses(asked, 4)[0]
    assert rows_of(best.known) == list(range(10))
    assert best.support == pytest.approx(1.0)


def test_a_view_without_a_mask_of_it_lowers_the_support():
    asked = [candidate(0, WHOLE), candidate(1, WHOLE), candidate(2, range(20, 40))]
    best = hypotheses(asked, 4)[0]
    assert rows_of(best.known) == list(WHOLE)
    # The third view agrees with nothing of it.
    assert best.support == pytest.approx(0.5) and best.views == 2


def test_views_that_see_other_sides_are_compared_on_what_both_see():
    sides = [range(0, 10), range(5, 15), range(10, 20)]
    # Each also sees some of what is not the object.
    asked = [candidate(view, WHOLE, [*side, *range(20 + 5 * view, 30 + 5 * view)]) for view, side in enumerate(sides)]
    found = hypotheses(asked, 4)
    assert all(entry.support == pytest.approx(1.0) for entry in found)
    # Two neighbouring sides each, and nothing but the object.
    assert all(entry.views >= 2 for entry in found)
    assert all(len(rows_of(entry.known)) >= 15 and set(rows_of(entry.known)) <= set(WHOLE) for entry in found)


def test_a_view_that_sees_nothing_of_it_has_no_say():
    asked = [candidate(0, WHOLE), candidate(1, WHOLE), candidate(2, range(30, 40), range(25, 40))]
    best = hypotheses(asked, 4)[0]
    assert rows_of(best.known) == list(WHOLE)
    assert best.support == pytest.approx(1.0) and best.views == 2


def test_masks_of_one_view_go_by_the_word_of_the_segmenter():
    asked = [candidate(0, range(5), score=0.6), candidate(0, WHOLE, score=0.9), candidate(0, range(30), score=0.8)]
    found = hypotheses(asked, 1)
    assert rows_of(found[0].known) == list(WHOLE)
    # What the first view has besides may be meant all the same.
    assert [rows_of(entry.known) for entry in found[1:]] == [list(range(30)), list(range(5))]
    assert all(entry.views == 1 for entry in found)


def test_one_meaning_is_named_once():
    asked = [candidate(view, WHOLE) for view in (0, 0, 0, 1, 1, 2)]
    assert len(hypotheses(asked, 4)) == 1


def test_a_mask_that_is_off_counts_for_less():
    better = [candidate(0, WHOLE), candidate(1, WHOLE), candidate(2, range(18))]
    worse = [candidate(0, WHOLE), candidate(1, WHOLE), candidate(2, range(12))]
    assert hypotheses(better, 1)[0].support > hypotheses(worse, 1)[0].support > 0.7


def test_nothing_was_answered():
    assert hypotheses([], 4) == []


def test_an_empty_mask_means_nothing_to_other_views():
    asked = [candidate(0, []), candidate(0, WHOLE), candidate(1, WHOLE)]
    found = hypotheses(asked, 1)
    assert rows_of(found[0].known) == list(WHOLE) and found[0].support == pytest.approx(1.0)


def test_the_order_of_masks_of_a_view_does_not_matter():
    asked = [
        entry
        for view, part in enumerate([range(0, 6), range(7, 13), range(14, 20)])
        for entry in (candidate(view, part), candidate(view, WHOLE))
    ]
    straight, turned = hypotheses(asked, 1)[0], hypotheses(asked[::-1], 1)[0]
    assert rows_of(straight.known) == rows_of(turned.known)
    assert straight.support == pytest.approx(turned.support)
