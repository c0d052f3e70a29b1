"""FlashSplat (arXiv 2409.08270): the labels that fit the summed masks best, with a bias to the background."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.lift.folds import Folds
from splatseg_ns.lift.gamma import AUTO_FOLDS, choose_gamma
from splatseg_ns.lift.labels import BACKGROUND, UNSEEN, Labels
from splatseg_ns.lift.ranking import Ranking
from splatseg_ns.lift.solvers.evidence import Evidence, Solution
from splatseg_ns.lift.votes import GRID, ROUNDING, Votes

Norm = Literal["l1", "l2"]


@dataclass(frozen=True)
class FlashSplat:
    """Each Gaussian gets the label with the greatest mass: the exact optimum of the L1 fit of renders to masks."""

    gamma: float | Literal["auto"] = 0.0
    """Added to the background's share, -1 to 1: above 0 objects lose doubtful Gaussians, below 0 they gain them."""

    norm: Norm = "l1"
    """What shares are taken of: the sum of the masses (the paper) or the root of their squares (its code)."""

    def __post_init__(self) -> None:
        if self.gamma != "auto" and not -1.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma is a number from -1 to 1 or 'auto', got {self.gamma}")
        if self.norm not in ("l1", "l2"):
            raise ValueError(f"norm is 'l1' or 'l2', got {self.norm!r}")

    def decide(self, votes: Votes) -> Labels:
        """One label for each Gaussian."""
        return strongest_labels(Ranking.of(votes), self._number(), self.norm)

    def members(self, votes: Votes, label: int) -> Tensor:  # [N] bool
        """The Gaussians of one object against all the rest; with a gamma below 0 objects overlap."""
        return one_against_rest(votes, label, self._number(), self.norm)

    def solve(self, evidence: Evidence) -> Solution:
        """Count once and decide."""
        folds = evidence.count(folds=AUTO_FOLDS if self.gamma == "auto" else 1)
        settled = self.settled(folds)
        return Solution(settled.decide(folds.total), folds.total, settled)

    def settled(self, folds: Folds) -> FlashSplat:
        """The same with a number for gamma."""
        if self.gamma != "auto":
            return self
        return replace(
            self, gamma=choose_gamma(folds, lambda ranking, gamma: strongest_labels(ranking, gamma, self.norm))
        )

    def _number(self) -> float:
        if self.gamma == "auto":
            raise ValueError("gamma is 'auto': settle it by the folds of the votes first, or give a number")
        return self.gamma


def strongest_labels(ranking: Ranking, gamma: float, norm: Norm) -> Labels:
    """The greatest of the objects' shares and the background's share plus gamma; at a tie the background."""
    size = (ranking.total if norm == "l1" else ranking.total_of_squares.sqrt()).clamp_min(GRID)
    background = ranking.background / size + gamma
    best, second = ranking.best / size, ranking.second / size
    # Touched by no object: no bias makes it part of one.
    wins = (best > background) & (ranking.best > 0)
    ids = torch.where(wins, ranking.best_id, BACKGROUND)
    lead = torch.where(wins, best - torch.maximum(background, second), background - best)
    seen = ranking.total > 0
    return Labels(torch.where(seen, ids, UNSEEN), torch.where(seen, lead.clamp(0.0, 1.0), 0.0))


def one_against_rest(votes: Votes, label: int, gamma: float, norm: Norm) -> Tensor:  # [N] bool
    """Where the object's share is greater than that of everything else together plus gamma; never where unseen."""
    inside = votes.column(label)
    outside = votes.seen - inside
    outside = torch.where(outside > ROUNDING * votes.seen, outside, 0.0)
    size = inside + outside if norm == "l1" else torch.hypot(inside, outside)
    return (inside - outside > gamma * size) & (inside > 0)
