"""Label maps of other sizes than their pictures."""

from __future__ import annotations

import torch
from torch import Tensor

Size = tuple[int, int]
"""Width and height."""


def size_of(label_map: Tensor) -> Size:
    """Width and height of a map [H, W]."""
    height, width = label_map.shape
    return width, height


def fit_label_map(
    label_map: Tensor,  # [H, W]
    size: Size | None,
    what: str,
) -> Tensor:  # [size[1], size[0]]
    """The map in another size, each pixel from the one nearest to its centre; an error if the aspects differ."""
    if size is None or size_of(label_map) == size:
        return label_map
    (old_width, old_height), (width, height) = size_of(label_map), size
    # Equal but for the rounding of both sides to whole pixels.
    if abs(old_width * height - old_height * width) > max(width, height):
        raise ValueError(
            f"{what}: the label map is {old_width}x{old_height}, the picture {width}x{height}, which is another "
            "shape; make the map from the picture itself"
        )
    rows = _nearest(old_height, height)
    return label_map[rows[:, None], _nearest(old_width, width)]


def _nearest(old: int, new: int) -> Tensor:  # [new] int64
    return ((2 * torch.arange(new) + 1) * old) // (2 * new)
