"""Masks grown and shrunk by discs of all radii at once, by each pixel's distance to the edge."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Distances = NDArray[np.float32]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class EdgeDistance:
    """How deep each pixel lies in a mask, in a window that goes some pixels beyond it."""

    window: Window
    depth: Distances  # pixels to the nearest one on the other side of the edge: 1 or more inside, -1 or less outside

    @staticmethod
    def of(
        mask: Mask,  # [H, W], not empty
        reach: int,
    ) -> EdgeDistance:
        """Right up to ``reach`` pixels on both sides; the picture's border is no edge."""
        window = _window_around(mask, reach + 1)
        inside = mask[window]
        depth = np.where(inside, _to_nearest_other(inside), -_to_nearest_other(~inside))
        return EdgeDistance(window, depth)

    @property
    def level(self) -> NDArray[np.int64]:
        """The largest d for which the pixel is in the mask moved by d, inwards for d > 0, outwards for d < 0."""
        away = np.ceil(np.abs(self.depth)).astype(np.int64)
        return np.where(self.depth > 0, away - 1, -away)


def beyond_opening(
    mask: Mask,  # [H, W]
    radius: int,
) -> Mask:
    """The thin parts of a mask, that a disc of this radius does not fit into."""
    thin = np.zeros_like(mask)
    if mask.any():
        window = _window_around(mask, radius + 1)
        thin[window] = mask[window] & ~_grown(_shrunk(mask[window], radius), radius)
    return thin


def gaps(
    mask: Mask,  # [H, W]
    radius: int,
) -> Mask:
    """The narrow places around and between a mask's parts, that a disc of this radius does not fit into."""
    narrow = np.zeros_like(mask)
    if mask.any():
        window = _window_around(mask, 2 * radius + 1)
        narrow[window] = _shrunk(_grown(mask[window], radius), radius) & ~mask[window]
    return narrow


def _grown(mask: Mask, radius: int) -> Mask:
    return _to_nearest_other(~mask) <= radius


def _shrunk(mask: Mask, radius: int) -> Mask:
    return _to_nearest_other(mask) > radius


def _to_nearest_other(mask: Mask) -> Distances:
    """For the pixels of a mask the distance to the nearest one outside; all are far away if there is none outside."""
    if mask.all():
        return np.full(mask.shape, sum(mask.shape), dtype=np.float32)
    return cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32, copy=False)


def _window_around(mask: Mask, margin: int) -> Window:
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )
