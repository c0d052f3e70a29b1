"""The running sum behind votes."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.lift import VoteSum, vote_sum
from splatseg_ns.lift.votes import GRID
from tests.lift.examples import identical, random_view_votes


def test_it_is_the_sum_of_matrices():
    views = [random_view_votes(300, [0, 2, 5, 6], seed) for seed in range(12)]
    total = VoteSum(300, [0, 2, 5, 6])
    for view in views:
        total.add(view)
    expected = sum(view.dense().double() for view in views)
    torch.testing.assert_close(total.votes().dense(), expected, rtol=0.0, atol=1e-6)
    torch.testing.assert_close(total.votes().seen, sum(view.seen.double() for view in views), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("least", [0, 50, 10**9])
def test_when_entries_are_merged_changes_nothing(least: int, monkeypatch: pytest.MonkeyPatch):
    def total():
        running = VoteSum(300, [0, 2, 5, 6])
        for seed in range(12):
            running.add(random_view_votes(300, [0, 2, 5, 6], seed))
        return running.votes()

    usual = total()
    monkeypatch.setattr(vote_sum, "_LEAST_WAITING", least)
    assert identical(total(), usual)


def test_labels_without_a_column_count_as_seen():
    view = random_view_votes(100, [0, 2, 5], seed=1)
    total = VoteSum(100, [5, 77])
    total.add(view)
    votes = total.votes()
    assert torch.equal(votes.column(5) > 0, view.dense()[:, 2] > GRID / 2)
    assert float(votes.column(77).sum()) == 0.0
    torch.testing.assert_close(votes.seen, view.seen.double(), rtol=0.0, atol=1e-6)


def test_what_was_handed_out_does_not_change():
    total = VoteSum(100, [0, 1])
    total.add(random_view_votes(100, [0, 1], seed=1))
    first = total.votes()
    kept = first.mass.clone(), first.seen.clone()
    total.add(random_view_votes(100, [0, 1], seed=1))
    assert torch.equal(first.mass, kept[0]) and torch.equal(first.seen, kept[1])
    assert float(total.votes().seen.sum()) == 2 * float(first.seen.sum())
