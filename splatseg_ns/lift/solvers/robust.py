"""Votes weighted by how well each view's mask of each object agrees with what all views say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.lift.ballots import Ballot, by_weighted_mass
from splatseg_ns.lift.gamma import AUTO_FOLDS
from splatseg_ns.lift.labels import Labels
from splatseg_ns.lift.solvers.evidence import Evidence, Solution
from splatseg_ns.lift.solvers.flashsplat import FlashSplat
from splatseg_ns.lift.views import LabelledView
from splatseg_ns.lift.votes import Votes, column_of


@dataclass(frozen=True)
class Robust:
    """FlashSplat without bias, in which masks that contradict the consensus do not vote."""

    gamma: float | Literal["auto"] = 0.0
    """Bias to the background, as FlashSplat's."""

    reject_below: float = 0.25
    """A view's mask of an object does not count if its IoU with the rendered consensus is less."""

    rounds: int = 2
    """How often the consensus is taken and the votes are counted again."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.reject_below <= 1.0 or self.rounds < 0:
            raise ValueError("reject_below is a number from 0 to 1, rounds 0 or more")

    def decide(self, votes: Votes) -> Labels:
        """One label for each Gaussian, from votes that are already weighted."""
        return FlashSplat(self.gamma).decide(votes)

    def solve(self, evidence: Evidence) -> Solution:
        """Count, look at what the views say of the consensus, and count again without those that contradict it."""
        parts = AUTO_FOLDS if self.gamma == "auto" else 1
        decider = FlashSplat(self.gamma)
        folds, weights = evidence.count(folds=parts), None
        for _ in range(self.rounds):
            consensus = decider.settled(folds).decide(folds.total)
            agreed = weights_of(evidence.agreement(consensus), self.reject_below)
            if bool((agreed == (1.0 if weights is None else weights)).all()):
                break
            weights = agreed
            folds = evidence.count(folds=parts, ballot=by_mask_weight(weights, evidence.ids))
        settled = replace(self, gamma=decider.settled(folds).gamma)
        return Solution(settled.decide(folds.total), folds.total, settled, weights)


def weights_of(
    agreement: Tensor,  # [V, L], nan where there is no mask
    reject_below: float,
) -> Tensor:  # [V, L] float32
    """1 for masks that count, 0 for those that do not; nothing to compare is no contradiction."""
    return torch.where(agreement < reject_below, 0.0, 1.0)


def by_mask_weight(
    weights: Tensor,  # [V, L] >= 0
    ids: Tensor,  # [L] int64
) -> Ballot:
    """Each pixel counts as much as the mask that it belongs to; pixels of other labels count fully."""

    def pixel_weight(view: LabelledView) -> Tensor | None:
        of_label = weights[view.position]
        if bool((of_label == 1.0).all()):
            return None
        column = column_of(ids, view.labels)
        return torch.where(column >= 0, of_label[column.clamp_min(0)], 1.0).float()

    return by_weighted_mass(pixel_weight)
