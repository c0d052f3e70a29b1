"""From patches to pixels."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Upsampling = Literal["guided", "bilinear", "nearest"]
"""guided: borders go where the picture has edges; bilinear: they stay as smooth as patches are; nearest: all of a patch
is alike."""

_LEAST_VARIANCE = 1e-3
"""Of grey values from 0 to 1: what varies less is no edge."""


def to_pixels(
    values: Tensor,  # [h, w, C] of patches
    image: Tensor,  # [H, W, 3] uint8
    how: Upsampling = "guided",
) -> Tensor:  # [H, W, C]
    """What patches say, for each pixel of their picture; sums over C stay what they are."""
    height, width = image.shape[:2]
    planes = values.permute(2, 0, 1)[None].float()
    if how == "nearest":
        return F.interpolate(planes, (height, width), mode="nearest-exact")[0].permute(1, 2, 0).contiguous()
    smooth = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    if how == "bilinear":
        return smooth.contiguous()
    radius = max(1, round(max(height / values.shape[0], width / values.shape[1])))
    sharp = torch.from_numpy(_guided(image.float().mean(dim=2).numpy() / 255, smooth.numpy(), radius))
    # A straight line over the guide may leave what the patches say.
    sharp = sharp.clamp_min(0.0)
    return sharp * (smooth.sum(dim=2) / sharp.sum(dim=2).clamp_min(1e-6))[..., None]


def _guided(
    guide: np.ndarray,  # [H, W] from 0 to 1
    values: np.ndarray,  # [H, W, C]
    radius: int,
) -> np.ndarray:  # [H, W, C]
    """The guided filter (He, Sun and Tang 2013): in each window the values are a straight line over the guide."""

    def mean(array: np.ndarray) -> np.ndarray:
        side = 2 * radius + 1
        planes = array if array.ndim == 3 else array[..., None]
        # OpenCV takes four channels at a time at most in some versions.
        parts = [cv2.boxFilter(np.ascontiguousarray(planes[..., c]), -1, (side, side)) for c in range(planes.shape[2])]
        return np.stack(parts, axis=-1)

    guide = guide[..., None].astype(np.float32)
    mean_guide, mean_values = mean(guide), mean(values)
    variance = mean(guide * guide) - mean_guide**2
    slope = (mean(guide * values) - mean_guide * mean_values) / (variance + _LEAST_VARIANCE)
    level = mean_values - slope * mean_guide
    return mean(slope) * guide + mean(level)
