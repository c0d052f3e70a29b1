"""Masks of several objects made into one label map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from splatseg_ns.scene import BACKGROUND, IGNORED

OverlapRule = Literal["smallest", "lowest_id", "highest_id", "ignore"]
"""Whose a pixel is that several objects claim: that of the smallest mask in the picture (the lowest id among equals),
of the lowest or the highest id, or nobody's, so that the pixel counts for nothing."""

OVERLAP_RULES: tuple[OverlapRule, ...] = get_args(OverlapRule)


def compose(
    masks: Sequence[tuple[int, Tensor]],  # ids and [H, W] bool, at least one; an id may come more than once
    rule: OverlapRule,
) -> Tensor:  # [H, W] int32
    """The label map of masks that may overlap."""
    if rule == "smallest":
        painted = sorted(masks, key=lambda entry: (int(entry[1].sum()), entry[0]), reverse=True)
    else:
        painted = sorted(masks, key=lambda entry: entry[0], reverse=rule == "lowest_id")
    label_map = torch.full_like(masks[0][1], BACKGROUND, dtype=torch.int32)
    contested = torch.zeros_like(masks[0][1])
    for id, mask in painted:
        contested |= mask & (label_map != BACKGROUND) & (label_map != id)
        label_map[mask] = id
    return torch.where(contested, IGNORED, label_map) if rule == "ignore" else label_map
