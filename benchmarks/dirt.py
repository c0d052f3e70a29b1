"""What goes wrong with masks, made on purpose: edges that are off, views whose objects are mixed up, salt.

Label maps come and go as integer tensors; pixels that say nothing are kept apart from them (``LabelledView``).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EDGE_PIXELS = (1, 5)
"""The least and the greatest radius by which edges move."""


def with_moved_edges(
    labels: Tensor,  # [H, W] integer, 0 is background
    objects: Tensor,  # [K] int64
    random: np.random.Generator,
) -> Tensor:  # [H, W]
    """Each object's mask eroded or dilated (as likely) by a disc of 1 to 5 px (as likely).

    The masks are then laid down in random order, each over those before it; where none is left there is background.
    """
    given = labels.numpy()
    dirty = np.where(np.isin(given, objects.numpy()), 0, given)
    for label in random.permutation(objects.numpy()):
        radius = int(random.integers(EDGE_PIXELS[0], EDGE_PIXELS[1] + 1))
        growth = radius if random.random() < 0.5 else -radius
        dirty[moved_edge(given == label, growth)] = label
    return torch.from_numpy(dirty)


def moved_edge(
    mask: NDArray[np.bool_],  # [H, W]
    growth: int,
) -> NDArray[np.bool_]:  # [H, W]
    """The mask dilated by a disc of radius ``growth``, or eroded by one of radius ``-growth``.

    The border of the picture is no edge: what reaches it is taken to go on behind it.
    """
    if growth < 0:
        return ~moved_edge(~mask, -growth)
    if not mask.any():
        return mask
    to_mask = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Distances are roots of whole numbers: half a thousandth decides none of them but takes up the rounding.
    return to_mask <= growth + 5e-4


def with_rotated_ids(
    labels: Tensor,  # [H, W] integer
    objects: Tensor,  # [K] int64, ascending
) -> Tensor:  # [H, W]
    """Every object under the id of the next one, the last under that of the first."""
    rotated = labels.clone()
    for label, following in zip(objects.tolist(), objects.roll(-1).tolist(), strict=True):
        rotated[labels == label] = following
    return rotated


def with_salt(
    labels: Tensor,  # [H, W] integer
    objects: Tensor,  # [K] int64
    share: float,
    random: np.random.Generator,
) -> Tensor:  # [H, W]
    """Each pixel gets, with a probability of ``share``, one of the objects or the background (all as likely)."""
    given = labels.numpy()
    choices = np.concatenate([[0], objects.numpy()]).astype(given.dtype)
    hit = random.random(given.shape) < share
    return torch.from_numpy(np.where(hit, random.choice(choices, given.shape), given))
