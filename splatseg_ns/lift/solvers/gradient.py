"""Masked-gradient voting (arXiv 2409.11681): pixels inside a mask vote for a Gaussian, pixels outside against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from splatseg_ns.lift.ballots import Ballot, by_area, by_center, by_presence, dilated
from splatseg_ns.lift.labels import BACKGROUND, UNSEEN, Labels
from splatseg_ns.lift.ranking import Ranking
from splatseg_ns.lift.solvers.evidence import Evidence, Solution
from splatseg_ns.lift.votes import GRID, ROUNDING, Votes


@dataclass(frozen=True)
class Gradient:
    """The picture is linear in the colours, so the gradient of a masked picture by a colour is the mass in the mask."""

    vote_by: Literal["gradient", "binary", "projection"] = "gradient"
    """What a view's vote counts: the gradient (its mean over the pixels), its sign, or the pixel of the centre."""

    background_weight: float = 1.0
    """How much a vote against counts; w is the same as FlashSplat's gamma = (w - 1) / (w + 1)."""

    dilation: int = 0
    """Pixels by which masks grow over the background before they vote; the published code comes to 3."""

    def __post_init__(self) -> None:
        if self.vote_by not in ("gradient", "binary", "projection"):
            raise ValueError(f"vote_by is 'gradient', 'binary' or 'projection', got {self.vote_by!r}")
        if self.background_weight < 0.0 or self.dilation < 0:
            raise ValueError("background_weight and dilation are 0 or more")

    def decide(self, votes: Votes) -> Labels:
        """The object with the most votes if more are for it than against it.

        A Gaussian with as many votes for as against gets no label, as published.
        """
        ranking = Ranking.of(votes)
        against = votes.seen - ranking.best
        against = torch.where(against > ROUNDING * votes.seen, against, 0.0)
        balance = ranking.best - self.background_weight * against
        ids = torch.where(balance > 0, ranking.best_id, torch.where(balance < 0, BACKGROUND, UNSEEN))
        return Labels(ids, (balance.abs() / votes.seen.clamp_min(GRID)).clamp_max(1.0))

    def solve(self, evidence: Evidence) -> Solution:
        """Count in the chosen way and decide."""
        votes = evidence.count(ballot=self.ballot(evidence)).total
        return Solution(self.decide(votes), votes, self)

    def ballot(self, evidence: Evidence) -> Ballot:
        """How each view votes."""
        if self.vote_by == "binary":
            counted: Ballot = by_presence
        elif self.vote_by == "projection":
            counted = by_center
        else:
            counted = by_area(evidence.views.reference_camera)
        return dilated(counted, self.dilation)
