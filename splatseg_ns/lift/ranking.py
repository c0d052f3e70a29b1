"""The background and the two strongest objects of each Gaussian: all that a solver needs to know of its row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.lift.votes import Votes


@dataclass(frozen=True)
class Ranking:
    """Masses, not shares. A Gaussian that no object touches has ``best_id`` 0 and ``best`` 0."""

    best_id: Tensor  # [N] int64, of two equally strong objects the lower id
    best: Tensor  # [N] float64
    second: Tensor  # [N] float64
    background: Tensor  # [N] float64
    total: Tensor  # [N] float64, of background and all objects
    total_of_squares: Tensor  # [N] float64

    @staticmethod
    def of(votes: Votes) -> Ranking:
        """Sort out each row of the votes."""
        zero = torch.zeros(len(votes), dtype=torch.float64)
        ids = votes.ids[votes.columns.long()]
        is_object = ids > 0
        rows, ids, mass = votes.rows[is_object], ids[is_object], votes.mass[is_object]
        best = zero.scatter_reduce(0, rows, mass, "amax")
        background = votes.background()
        none = torch.iinfo(torch.int64).max
        leads = mass == best[rows]
        best_id = torch.full((len(votes),), none).scatter_reduce(0, rows[leads], ids[leads], "amin")
        follows = ids != best_id[rows]
        return Ranking(
            torch.where(best_id == none, 0, best_id),
            best,
            zero.scatter_reduce(0, rows[follows], mass[follows], "amax"),
            background,
            background + zero.index_add(0, rows, mass),
            background.square() + zero.index_add(0, rows, mass.square()),
        )
