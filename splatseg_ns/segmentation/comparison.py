"""Pictures to judge objects by eye."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from splatseg_ns.masks import Color

_WRONG: Color = (230, 0, 60)
_PALE = 0.35


def painted(
    picture: Tensor,  # [H, W, 3] uint8
    labels: Tensor,  # [H, W] integer
    colors: Mapping[int, Color],
    strength: float = 0.6,
) -> Tensor:  # [H, W, 3] uint8
    """A picture with a veil of colour over each object that has one, and a clear line around it."""
    result = picture.float()
    for id, color in colors.items():
        inside = labels == id
        paint = torch.tensor(color, dtype=torch.float32)
        result[inside] = (1.0 - strength) * result[inside] + strength * paint
        result[_rim(inside)] = paint
    return result.round().byte()


def differences(
    picture: Tensor,  # [H, W, 3] uint8
    wrong: Tensor,  # [H, W] bool
) -> Tensor:  # [H, W, 3] uint8
    """A pale grey picture in which the wrong pixels stand out."""
    grey = picture.float().mean(dim=-1, keepdim=True).expand(-1, -1, 3)
    result = 255.0 - _PALE * (255.0 - grey)
    result[wrong] = torch.tensor(_WRONG, dtype=torch.float32)
    return result.round().byte()


def _rim(inside: Tensor) -> Tensor:  # [H, W] bool
    """The pixels of a mask that touch one outside it."""
    outside = torch.nn.functional.pad((~inside).float()[None], (1, 1, 1, 1))
    return inside & (torch.nn.functional.max_pool2d(outside, 3, stride=1)[0] > 0)
