"""How well the masks of the views agree with what was decided from all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from splatseg_ns.lift.labels import Labels
from splatseg_ns.lift.votes import Votes, column_of


def iou_of_objects(
    predicted: Tensor,  # [H, W] integer
    given: Tensor,  # [H, W] integer
    ids: Tensor,  # [L] int64
    pixel_mask: Tensor | None = None,  # [H, W] bool, False: the pixel does not count
) -> Tensor:  # [L] float64
    """The IoU of each object's two masks; nan where there is nothing to compare with, and for the background."""
    first, second = column_of(ids, predicted).flatten(), column_of(ids, given).flatten()
    if pixel_mask is not None:
        first, second = first[pixel_mask.flatten()], second[pixel_mask.flatten()]
    sizes = [
        torch.bincount(part[part >= 0], minlength=len(ids)).double() for part in (first, second, first[first == second])
    ]
    union = sizes[0] + sizes[1] - sizes[2]
    return torch.where((sizes[1] > 0) & (ids > 0), sizes[2] / union, torch.nan)


def vote_agreement(labels: Labels, votes: Votes) -> float:
    """The mean over objects of the soft IoU of what was decided with the masks behind some votes.

    The composited weight of an object's Gaussians, summed over the pixels of its masks, is the sum of their mass: so
    the IoU of the unthresholded render with the masks needs no render.
    """
    ids = votes.ids[votes.ids > 0]
    label_of_row = column_of(ids, labels.ids)
    label_of_entry = column_of(ids, votes.ids)[votes.columns.long()]
    is_object = label_of_entry >= 0
    shared = is_object & (label_of_row[votes.rows] == label_of_entry)

    def summed(columns: Tensor, mass: Tensor) -> Tensor:  # [L]
        return torch.zeros(len(ids), dtype=torch.float64).index_add_(0, columns, mass)

    inside = summed(label_of_entry[shared], votes.mass[shared])
    given = summed(label_of_entry[is_object], votes.mass[is_object])
    decided = summed(label_of_row[label_of_row >= 0], votes.seen[label_of_row >= 0])
    union = given + decided - inside
    return float((inside[union > 0] / union[union > 0]).mean()) if bool((union > 0).any()) else 1.0
