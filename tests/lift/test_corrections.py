"""Counts of what was put right."""

from __future__ import annotations

from splatseg_ns.lift import ONE_RANK, Corrections
from splatseg_ns.lift.mask_reading import Verdict


def test_counts_by_hand():
    one = Corrections.of([Verdict(1, 1), Verdict(2, 3, -2), Verdict(3, None), Verdict(4, 4, 1)])
    assert one == Corrections(masks=4, moved=2, renamed=1, left_out=1)
    assert one + Corrections.of([Verdict(1, None)]) == Corrections(masks=5, moved=2, renamed=1, left_out=2)
    assert one.over(ONE_RANK) == one
