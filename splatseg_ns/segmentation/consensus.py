"""What the segmenter's answers in many views have in common: part or whole, settled in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.segmentation.partial import PartialObject

_SEEN = 0.05
"""Gaussians with less mass than this in a view are not seen there."""

_SAME = 0.75
"""Two candidates whose Gaussians have a higher IoU mean the same thing."""

_SUPPORTS = 0.5
"""A candidate of another view with at least this IoU is a mask of the same thing."""

_WORTH_A_LOOK = 0.5
"""What has less than this share of the best one's support is not considered."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One mask that the segmenter gave for a click in one view."""

    view: int
    """The place of the view among those that were asked."""

    score: float
    """The IoU that the segmenter expects."""

    known: PartialObject
    """What the mask says about the Gaussians."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """What a click may have meant: masks of several views that show the same thing."""

    known: PartialObject
    support: float
    """The mean IoU with the best candidate of each other view, over the Gaussians that both views see."""

    views: int
    """In how many views there is a mask of it."""


def hypotheses(candidates: Sequence[Candidate], count: int) -> list[Hypothesis]:
    """What may have been meant: at most ``count`` things by their support, and what the first view has besides.

    Candidates of two views are compared on the Gaussians that both see, weighted by how much both see of them. So it
    does not matter that each sees another side.
    """
    if not candidates:
        return []
    views = torch.tensor([candidate.view for candidate in candidates])
    touched = torch.stack([candidate.known.rows & (candidate.known.seen > _SEEN) for candidate in candidates])
    rows = touched.any(dim=0)
    members = touched[:, rows].float()
    seen = torch.stack([candidate.known.seen[rows] for candidate in candidates])
    mass = seen * members
    both = mass @ mass.T
    mine_there = mass @ seen.T
    iou = both / (mine_there + mine_there.T - both).clamp_min(1e-12)
    # How much of a candidate the other view can judge at all.
    judged = (members @ (seen > _SEEN).float().T) / members.sum(dim=1, keepdim=True).clamp_min(1.0)
    best, partner, weight = _best_of_each_view(iou, judged, views)
    own = torch.tensor([candidate.score for candidate in candidates])
    total = weight.sum(dim=1)
    # One view alone has nothing but the segmenter's own word.
    support = torch.where(total > 0, (best * weight).sum(dim=1) / total.clamp_min(1e-12), _SUPPORTS * own)
    ranked = support.argsort(descending=True, stable=True)
    supported = ranked[support[ranked] >= _WORTH_A_LOOK * support.max()]
    chosen = _different(supported.tolist(), iou, [])[:count]
    chosen = _different(ranked[views[ranked] == views.min()].tolist(), iou, chosen)
    return [
        _hypothesis(candidates, place, partner[place][(best[place] > _SUPPORTS) & (weight[place] > 0)], iou, support)
        for place in chosen
    ]


def _different(places: Sequence[int], iou: Tensor, chosen: Sequence[int]) -> list[int]:
    """What was chosen before, and each place that means something else than all before it."""
    kept = list(chosen)
    for place in places:
        if not any(iou[place, other] > _SAME for other in kept):
            kept.append(place)
    return kept


def _best_of_each_view(iou: Tensor, judged: Tensor, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # [C, V] each
    """For each candidate and each other view: the best IoU, whose it is, and how much the view can say."""
    columns = []
    for view in views.unique():
        of_view = (views == view).nonzero()[:, 0]
        best, place = iou[:, of_view].max(dim=1)
        weight = torch.where(views == view, 0.0, judged[:, of_view[0]].clamp_max(1.0))
        columns.append((best, of_view[place], weight))
    best, partner, weight = (torch.stack(part, dim=1) for part in zip(*columns, strict=True))
    return best, partner, weight


def _hypothesis(
    candidates: Sequence[Candidate], place: int, partners: Tensor, iou: Tensor, support: Tensor
) -> Hypothesis:
    known = candidates[place].known
    for partner in partners.tolist():
        known = known + candidates[partner].known.weighted(float(iou[place, partner]))
    return Hypothesis(known, float(support[place]), 1 + len(partners))
