"""What solvers are given, and what they give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from splatseg_ns.lift.accumulate import Progress, accumulate_folds
from splatseg_ns.lift.ballots import Ballot
from splatseg_ns.lift.corrections import Corrections
from splatseg_ns.lift.distributed import ONE_RANK, Ranks
from splatseg_ns.lift.folds import Folds
from splatseg_ns.lift.labels import BACKGROUND, Labels
from splatseg_ns.lift.views import LabelledViews, Views
from splatseg_ns.lift.votes import Votes, as_ids
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats


@dataclass(frozen=True)
class Evidence:
    """Splats and labelled views, and the ways to ask them."""

    rasterizer: Rasterizer
    splats: Splats
    views: LabelledViews
    ids: Tensor  # [L] int64, the labels that count, 0 for the background among them
    ranks: Ranks = ONE_RANK
    progress: Progress | None = None

    @staticmethod
    def of(
        rasterizer: Rasterizer,
        splats: Splats,
        views: Views,
        ids: Sequence[int] | Tensor | None = None,
        *,
        ranks: Ranks = ONE_RANK,
        progress: Progress | None = None,
    ) -> Evidence:
        """Of views with label maps; without ``ids`` all labels in the maps count."""
        views = LabelledViews.of(views)
        chosen = views.present_ids() if ids is None else as_ids(ids)
        return Evidence(rasterizer, splats, views, chosen, ranks, progress)

    @property
    def objects(self) -> list[int]:
        """The labels that count, without the background."""
        return self.ids[self.ids > BACKGROUND].tolist()

    def count(self, *, folds: int = 1, ballot: Ballot | None = None) -> Folds:
        """Let all views vote."""
        return accumulate_folds(
            self.rasterizer,
            self.splats,
            self.views,
            self.ids,
            folds=folds,
            ballot=ballot,
            ranks=self.ranks,
            progress=self.progress,
        )


class Solver(Protocol):
    """A config dataclass that knows how to count votes and how to decide by them."""

    def decide(self, votes: Votes) -> Labels:
        """Labels from votes that were counted as ``solve`` counts them; a pure function."""
        ...

    def solve(self, evidence: Evidence) -> Solution:
        """Count the votes, settle what is left open in the config, and decide."""
        ...


@dataclass(frozen=True)
class Solution:
    """Labels, and what is needed to decide again without counting again: ``solver.decide(votes)`` gives them."""

    labels: Labels
    votes: Votes
    solver: Solver
    """The config with everything settled: a number for gamma where it was ``auto``."""

    corrections: Corrections | None = None
    """What was put right in the masks, if anything was."""
