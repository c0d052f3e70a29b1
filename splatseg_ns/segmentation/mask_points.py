"""Clicks and masks: where inside a mask to point, and which clicks a mask contradicts."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from splatseg_ns.masks.segmenter import Prompts

_STRAY, _LEAST_PART = 0.1, 20
"""Parts of a mask that are smaller than this share of its largest part, or than so many pixels, are stray."""

_BESIDE = 2
"""Clicks within so many pixels of a border are on either side of it."""


def violated(mask: Tensor, prompts: Prompts) -> int:
    """How many clicks a mask has on the wrong side."""
    return int((mask[_clicked_pixels(mask, prompts)] != prompts.positive[0]).sum())


def clearly_violated(mask: Tensor, prompts: Prompts) -> int:
    """How many clicks are on the wrong side of a mask and not just beside its border."""
    kernel = np.ones((2 * _BESIDE + 1, 2 * _BESIDE + 1), np.uint8)
    grown, shrunk = (
        torch.from_numpy(change(mask.numpy().astype(np.uint8), kernel)) > 0 for change in (cv2.dilate, cv2.erode)
    )
    pixels, positive = _clicked_pixels(mask, prompts), prompts.positive[0]
    return int((positive & ~grown[pixels]).sum() + (~positive & shrunk[pixels]).sum())


def _clicked_pixels(mask: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:  # [P] int64 each
    """Rows and columns of the clicks; the far edges belong to the last pixels."""
    height, width = mask.shape
    columns, rows = prompts.points[0].long().unbind(dim=1)
    return rows.clamp(0, height - 1), columns.clamp(0, width - 1)


def main_parts(
    inside: np.ndarray,  # [H, W] bool
) -> np.ndarray:  # [H, W] bool
    """The connected parts of a mask, without the stray ones."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    if count == 1:
        return inside
    areas = statistics[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= max(_STRAY * areas.max(), _LEAST_PART))
    return np.isin(parts, kept)


def confident_points(
    inside: np.ndarray,  # [H, W] bool
    count: int,
) -> list[tuple[float, float]]:
    """Pixels deep inside a mask, apart from each other, the deepest first."""
    # The picture's border is no border of the object.
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.mgrid[: inside.shape[0], : inside.shape[1]]
    points: list[tuple[float, float]] = []
    while len(points) < count:
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        deepest = float(depth[row, column])
        if deepest < 1.5:
            break
        points.append((float(column) + 0.5, float(row) + 0.5))
        depth[(rows - row) ** 2 + (columns - column) ** 2 < (1.5 * max(deepest, 3.0)) ** 2] = 0.0
    return points
