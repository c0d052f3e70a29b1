"""Whose a view's masks are, and how far their edges are off."""

from __future__ import annotations

import numpy as np
import pytest

from splatseg_ns.lift.labels import UNSEEN
from splatseg_ns.lift.mask_reading import Comparison, Verdict, compare, corrected, judge

REACH = 4
OBJECTS = (1, 2, 3)


def picture(**boxes: tuple[int, int, int, int]) -> np.ndarray:  # [40, 60] int64
    """Rectangles (top, bottom, left, right) by id, as ``o1=...``."""
    labels = np.zeros((40, 60), dtype=np.int64)
    for name, (top, bottom, left, right) in boxes.items():
        labels[top:bottom, left:right] = int(name[1:])
    return labels


ALL = np.ones((40, 60), dtype=bool)
TWO = picture(o1=(10, 26, 8, 24), o2=(10, 26, 34, 50))


def compared(labels: np.ndarray, consensus: np.ndarray, counts: np.ndarray = ALL) -> Comparison:
    return compare(labels, counts, consensus, OBJECTS, REACH)


def judged(comparison: Comparison, decided: tuple[int, ...] = OBJECTS, rename: bool = True) -> list[Verdict]:
    return judge(comparison, dict.fromkeys(OBJECTS, 1.0), decided, 0.5, rename)


def test_iou_without_moving_by_hand():
    # Mask 1 is 16 x 16, the object is shifted right by 8: 128 pixels are shared, 384 belong to one of them. Moving the
    # edge does not help: it takes from both sides alike.
    comparison = compared(picture(o1=(10, 26, 8, 24)), picture(o1=(10, 26, 16, 32)))
    assert comparison.masks.tolist() == [1] and comparison.objects.tolist() == [1]
    assert comparison.iou[0, 0] == pytest.approx(128 / 384) and comparison.shift[0, 0] == 0


@pytest.mark.parametrize("off", [-3, -1, 2, 4])
def test_the_shift_of_an_edge_is_found(off: int):
    # The mask of 1 is the object made larger by ``off`` on each side; moved back it lacks the corners at most.
    mask = picture(o1=(10 - off, 26 + off, 8 - off, 24 + off), o2=(10, 26, 34, 50))
    comparison = compared(mask, TWO)
    assert comparison.shift[0, 0] == off and comparison.shift[1, 1] == 0
    assert comparison.iou[0, 0] > 0.9 and comparison.iou[1, 1] == 1.0
    assert comparison.iou[0, 1] == 0.0
    assert comparison.moved == 1 and comparison.own_iou.tolist() == [comparison.iou[0, 0], 1.0]
    assert comparison.without_shifts().moved == 0


def test_pixels_that_nobody_knows_are_not_compared():
    consensus = TWO.copy()
    consensus[:, 16:] = UNSEEN
    comparison = compared(picture(o1=(10, 26, 8, 40)), consensus)
    assert comparison.iou.tolist() == [[1.0]]
    assert comparison.known.tolist() == [pytest.approx(8 / 32)]
    counts = ALL.copy()
    counts[:, 16:] = False
    assert compared(picture(o1=(10, 26, 8, 40)), TWO, counts).iou.tolist() == [[1.0]]


def test_labels_that_are_no_objects_are_background():
    comparison = compared(picture(o1=(10, 26, 8, 24), o9=(0, 5, 0, 5)), picture(o1=(10, 26, 8, 24), o7=(30, 35, 0, 5)))
    assert comparison.masks.tolist() == [1] and comparison.objects.tolist() == [1]


def test_good_masks_are_left_alone():
    verdicts = judged(compared(TWO, TWO))
    assert verdicts == [Verdict(1, 1), Verdict(2, 2)]
    labels, counts = corrected(TWO, ALL, TWO, verdicts, OBJECTS, REACH, True)
    assert np.array_equal(labels, TWO) and bool(counts.all())


def test_swapped_masks_get_their_names_back():
    swapped = np.array([0, 2, 1])[TWO]
    comparison = compared(swapped, TWO)
    verdicts = judged(comparison)
    assert verdicts == [Verdict(1, 2), Verdict(2, 1)]
    labels, counts = corrected(swapped, ALL, TWO, verdicts, OBJECTS, REACH, True)
    assert np.array_equal(labels, TWO) and bool(counts.all())
    assert judged(comparison, rename=False) == [Verdict(1, None), Verdict(2, None)]


def test_a_mask_that_fits_nothing_says_nothing():
    astray = picture(o1=(30, 38, 2, 30), o2=(10, 26, 34, 50))
    verdicts = judged(compared(astray, TWO))
    assert verdicts == [Verdict(1, None), Verdict(2, 2)]
    labels, counts = corrected(astray, ALL, TWO, verdicts, OBJECTS, REACH, True)
    assert np.array_equal(labels, picture(o2=(10, 26, 34, 50)))
    # Neither where it was nor where the object is that now has no mask.
    assert np.array_equal(counts, (astray != 1) & (TWO != 1))


def test_an_object_without_a_mask_leaves_its_pixels_out():
    only_two = picture(o2=(10, 26, 34, 50))
    labels, counts = corrected(only_two, ALL, TWO, judged(compared(only_two, TWO)), OBJECTS, REACH, True)
    assert np.array_equal(labels, only_two) and np.array_equal(counts, TWO != 1)


def test_a_mask_that_nobody_else_knows_is_kept():
    new = picture(o3=(30, 38, 2, 30), o2=(10, 26, 34, 50))
    consensus = picture(o2=(10, 26, 34, 50))
    assert judged(compared(new, consensus), decided=(2,)) == [Verdict(2, 2), Verdict(3, 3)]
    # The others know object 3, and it is not there.
    assert judged(compared(new, consensus), decided=(2, 3)) == [Verdict(2, 2), Verdict(3, None)]
    # They know it, but have not looked there.
    consensus[30:] = UNSEEN
    assert judged(compared(new, consensus), decided=(2, 3)) == [Verdict(2, 2), Verdict(3, 3)]


def test_what_is_usual_decides_what_is_too_little():
    # IoU 1/3, see above.
    comparison = compared(picture(o1=(10, 26, 8, 24)), picture(o1=(10, 26, 16, 32)))
    assert judge(comparison, {1: 0.6}, (1,), 0.5, True) == [Verdict(1, 1)]
    assert judge(comparison, {1: 0.7}, (1,), 0.5, True) == [Verdict(1, None)]


def test_one_mask_per_object():
    # Both masks cover the object, the larger one has its name's bonus, the other is the better fit by more than that.
    labels = picture(o1=(0, 8, 8, 24), o2=(10, 26, 8, 24))
    consensus = picture(o1=(6, 26, 8, 24))
    assert judged(compared(labels, consensus), decided=(1, 2)) == [Verdict(1, None), Verdict(2, 1)]


def test_edges_move_and_the_deeper_mask_wins():
    # Eroded by 2 on each side: grown back, 1 and 2 touch at column 24, and each has its half of the columns between.
    consensus = picture(o1=(10, 30, 8, 24), o2=(10, 30, 24, 40))
    eroded = picture(o1=(12, 28, 10, 22), o2=(12, 28, 26, 38))
    verdicts = judged(compared(eroded, consensus))
    assert verdicts == [Verdict(1, 1, -2), Verdict(2, 2, -2)]
    labels, counts = corrected(eroded, ALL, consensus, verdicts, OBJECTS, REACH, True)
    # Discs do not reach the corners; of those a disc of radius 2 says nothing.
    assert set(labels[20, 8:24].tolist()) == {1} and set(labels[20, 24:40].tolist()) == {2}
    wrong = (labels != consensus) & counts
    assert int(wrong.sum()) == 0


def test_lost_handles_and_filled_gaps_say_nothing():
    handle = picture(o1=(10, 26, 8, 24), o2=(17, 19, 24, 40))
    handle[handle == 2] = 1
    eroded = picture(o1=(12, 24, 10, 22))
    verdicts = judged(compared(eroded, handle))
    assert verdicts == [Verdict(1, 1, -2)]
    for blind_zones, says_something in ((True, False), (False, True)):
        _, counts = corrected(eroded, ALL, handle, verdicts, OBJECTS, REACH, blind_zones)
        assert bool(counts[17:19, 28:40].any()) == says_something
    gap = picture(o1=(8, 18, 8, 50)) + picture(o1=(20, 30, 8, 50))
    dilated = picture(o1=(6, 32, 6, 52))
    verdicts = judged(compared(dilated, gap))
    assert verdicts == [Verdict(1, 1, 2)]
    for blind_zones, says_something in ((True, False), (False, True)):
        _, counts = corrected(dilated, ALL, gap, verdicts, OBJECTS, REACH, blind_zones)
        assert bool(counts[18:20, 12:46].any()) == says_something


def test_reach_zero_moves_nothing():
    eroded = picture(o1=(12, 24, 10, 22), o2=(10, 26, 34, 50))
    comparison = compare(eroded, ALL, TWO, OBJECTS, 0)
    assert not comparison.shift.any()
    assert comparison.iou[0, 0] == pytest.approx(12 * 12 / 16**2)


def test_speckled_masks_are_not_moved():
    # A tenth of the pixels are someone else's: growing the mask would fill its holes, and grow its specks.
    salt = np.random.default_rng(0)
    speckled = np.where(salt.random(TWO.shape) < 0.1, salt.integers(0, 4, TWO.shape), TWO)
    comparison = compared(speckled, TWO)
    assert comparison.masks.tolist() == [1, 2, 3] and not comparison.shift.any()
    assert judged(comparison)[:2] == [Verdict(1, 1), Verdict(2, 2)]


def test_empty_views():
    nothing = np.zeros((40, 60), dtype=np.int64)
    assert judged(compared(nothing, TWO)) == []
    assert compared(TWO, np.full((40, 60), UNSEEN)).known.tolist() == [0.0, 0.0]
    assert judged(compared(TWO, np.full((40, 60), UNSEEN))) == [Verdict(1, 1), Verdict(2, 2)]
