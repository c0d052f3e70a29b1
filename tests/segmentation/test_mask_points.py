"""Where inside a mask to point, and which clicks a mask contradicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatseg_ns.masks.segmenter import Prompts
from splatseg_ns.segmentation.mask_points import clearly_violated, confident_points, main_parts, violated


def test_confident_points_are_deep_and_apart():
    mask = torch.zeros(60, 100, dtype=torch.bool)
    mask[10:50, 10:50] = True
    mask[20:30, 60:70] = True
    points = confident_points(mask.numpy(), 3)
    assert points[0] == pytest.approx((29.5, 29.5), abs=1.0)
    assert all(mask[int(y), int(x)] for x, y in points)
    assert len(points) == 2 and points[1] == pytest.approx((64.5, 24.5), abs=1.0)
    assert confident_points(torch.zeros(8, 8, dtype=torch.bool).numpy(), 3) == []
    thin = torch.zeros(8, 8, dtype=torch.bool)
    thin[4] = True
    assert confident_points(thin.numpy(), 1) == []


def square(left: int, top: int, right: int, bottom: int) -> torch.Tensor:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def test_stray_parts_are_left_out():
    mask = square(0, 0, 20, 20) | square(30, 30, 35, 35) | square(36, 0, 40, 12)
    # 25 of 400 pixels are less than a tenth, 48 are more.
    assert np.array_equal(main_parts(mask.numpy()), (square(0, 0, 20, 20) | square(36, 0, 40, 12)).numpy())
    assert main_parts(np.zeros((5, 5), dtype=bool)).sum() == 0


def test_clicks_on_the_wrong_side():
    mask = square(10, 10, 30, 30)
    clicks = Prompts.of([(20.5, 20.5), (5.5, 5.5), (31.5, 20.5)], [(20.5, 15.5), (1.5, 1.5), (11.5, 20.5)])
    assert violated(mask, clicks) == 4
    # Two of them are beside the border.
    assert clearly_violated(mask, clicks) == 2


def test_the_far_edge_belongs_to_the_last_pixel():
    mask = square(30, 30, 40, 40)
    assert violated(mask, Prompts.of([(40.0, 40.0)])) == 0
