"""Masks grown and shrunk by discs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from splatseg_ns.lift.mask_edges import EdgeDistance, Mask, beyond_opening, gaps


def disc(radius: int) -> np.ndarray:
    across = np.arange(-radius, radius + 1)
    return (across[:, None] ** 2 + across[None, :] ** 2 <= radius**2).astype(np.uint8)


def blobs(seed: int) -> Mask:
    noise = np.random.default_rng(seed).random((60, 70)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 4) > 0.5


def moved(mask: Mask, shift: int, reach: int = 4) -> Mask:
    edge = EdgeDistance.of(mask, reach)
    whole = np.zeros_like(mask)
    whole[edge.window] = edge.level >= shift
    return whole


@pytest.mark.parametrize("shift", range(-4, 5))
def test_levels_are_dilations_and_erosions_by_discs(shift: int):
    for seed in range(3):
        mask = blobs(seed)
        change = cv2.erode if shift > 0 else cv2.dilate
        # The picture's border is no edge: the erosion must not start from it, which is what OpenCV does by default.
        expected = change(mask.astype(np.uint8), disc(abs(shift))) > 0
        assert np.array_equal(moved(mask, shift), expected)


def test_depth_by_hand():
    mask = np.zeros((1, 9), dtype=bool)
    mask[0, 3:6] = True
    edge = EdgeDistance.of(mask, 2)
    assert edge.window == (slice(0, 4), slice(0, 9))
    assert edge.depth.tolist() == [[-3, -2, -1, 1, 2, 1, -1, -2, -3]]
    assert edge.level.tolist() == [[-3, -2, -1, 0, 1, 0, -1, -2, -3]]


def test_a_mask_of_the_whole_picture_has_no_edge():
    edge = EdgeDistance.of(np.ones((5, 7), dtype=bool), 3)
    assert bool((edge.level >= 3).all())


def test_thin_parts_are_what_an_opening_takes():
    # A block of 9 x 9 with a handle one pixel wide.
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:14, 5:14] = True
    mask[9, 14:25] = True
    thin = beyond_opening(mask, 2)
    assert bool(thin[9, 16:25].all()) and not thin[7:12, 7:12].any() and not (thin & ~mask).any()
    expected = mask & ~(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc(2)) > 0)
    assert np.array_equal(thin, expected)


def test_gaps_are_what_a_closing_fills():
    mask = np.zeros((30, 30), dtype=bool)
    mask[8:14, 8:22] = True
    mask[16:22, 8:22] = True
    filled = gaps(mask, 2)
    assert bool(filled[14:16, 10:20].all()) and not (filled & mask).any()
    expected = (cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc(2)) > 0) & ~mask
    assert np.array_equal(filled, expected)


def test_nothing_has_neither():
    nothing = np.zeros((4, 4), dtype=bool)
    assert not beyond_opening(nothing, 2).any() and not gaps(nothing, 2).any()
