"""The strongest objects of each Gaussian."""

from __future__ import annotations

import torch

from splatseg_ns.lift.ranking import Ranking
from tests.lift.examples import votes_of


def test_five_gaussians_by_hand():
    # Columns 0, 2, 5, 9. The second is a tie of 2 and 9, the third only background, the fourth seen at no pixel of a
    # column, the fifth never.
    ranking = Ranking.of(
        votes_of(
            [[1.0, 0.5, 4.0, 2.0], [0.0, 3.0, 1.0, 3.0], [2.0, 0.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4],
            ids=[0, 2, 5, 9],
            seen=[7.5, 7.0, 2.0, 1.5, 0.0],
        )
    )
    assert ranking.best_id.tolist() == [5, 2, 0, 0, 0]
    assert ranking.best.tolist() == [4.0, 3.0, 0.0, 0.0, 0.0]
    assert ranking.second.tolist() == [2.0, 3.0, 0.0, 0.0, 0.0]
    assert ranking.background.tolist() == [1.0, 0.0, 2.0, 1.5, 0.0]
    assert ranking.total.tolist() == [7.5, 7.0, 2.0, 1.5, 0.0]
    # 1 + 0.25 + 16 + 4 = 21.25; 9 + 1 + 9 = 19; 4; 2.25.
    assert ranking.total_of_squares.tolist() == [21.25, 19.0, 4.0, 2.25, 0.0]


def test_no_objects():
    ranking = Ranking.of(votes_of([[1.0], [0.0]], ids=[0]))
    assert ranking.best_id.tolist() == [0, 0]
    assert torch.equal(ranking.total, torch.tensor([1.0, 0.0]).double())
