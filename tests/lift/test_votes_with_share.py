"""Votes in which an object is given a share of each Gaussian: the laws of votes, against full matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import Votes
from splatseg_ns.lift.votes import GRID
from tests.lift.examples import identical, random_view_votes, votes_of
from tests.raster.scenes import generator

COUNT = 60
IDS = [0, 2, 5]


def random_votes(seed: int = 1) -> Votes:
    """A third of the Gaussians has been seen nowhere."""
    return Votes.of(random_view_votes(COUNT, IDS, seed))


def random_shares(seed: int = 2) -> tuple[Tensor, Tensor]:
    """Shares, some of them 0 and 1, and what was seen."""
    random = generator(seed)
    share = (2.0 * torch.rand(COUNT, generator=random, dtype=torch.float64) - 0.5).clamp(0.0, 1.0)
    seen = 5.0 * torch.rand(COUNT, generator=random, dtype=torch.float64)
    seen[::4] = 0.0
    return share, seen


@pytest.mark.parametrize("label", [1, 2, 4, 5, 9])
def test_no_other_object_changes(label: int):
    votes, (share, seen) = random_votes(), random_shares()
    changed = votes.with_share(label, share, seen)
    assert changed.ids.tolist() == sorted({*IDS, label})
    total = torch.where(votes.seen > 0, votes.seen, seen)
    assert torch.allclose(changed.seen, total, atol=GRID, rtol=0.0)
    for other in set(IDS) - {0, label}:
        assert torch.equal(changed.column(other), votes.column(other))
    assert torch.allclose(changed.column(label), share * total, atol=GRID, rtol=0.0)


def is_valid(votes: Votes) -> bool:
    """Rows ascend by column, masses are positive and on the grid, offsets fit."""
    rows = votes.rows
    ascending = (rows.diff() > 0) | (votes.columns.diff() > 0)
    on_grid = torch.equal((votes.mass / GRID).round() * GRID, votes.mass)
    return (
        bool(ascending.all())
        and bool((votes.mass > 0).all())
        and on_grid
        and torch.equal((votes.seen / GRID).round() * GRID, votes.seen)
        and votes.columns.dtype == torch.int32
        and votes.mass.dtype == votes.seen.dtype == torch.float64
        and int(votes.columns.max()) < len(votes.ids)
        and votes.offsets.tolist() == [0, *rows.bincount(minlength=len(votes)).cumsum(0).tolist()]
    )


@pytest.mark.parametrize("label", [1, 5, 9])
def test_what_comes_out_are_votes(label: int):
    changed = random_votes().with_share(label, *random_shares())
    assert is_valid(changed)
    assert bool((changed.column(label) <= changed.seen).all())
    # They can be added, shared out and summed as others.
    doubled = changed + changed
    assert torch.equal(doubled.dense(), 2 * changed.dense()) and torch.equal(doubled.seen, 2 * changed.seen)
    assert identical(changed + Votes.zero(COUNT, [label]), changed)


def test_the_last_share_counts():
    votes, first, second = random_votes(), random_shares(2), random_shares(3)
    once = votes.with_share(7, second[0], second[1])
    # What was seen is what was seen first.
    twice = votes.with_share(7, first[0], second[1]).with_share(7, second[0], first[1])
    assert identical(once, twice)


def test_labels_may_be_given_in_any_order():
    votes, first, second = random_votes(), random_shares(2), random_shares(3)
    seen = first[1]
    assert identical(
        votes.with_share(1, first[0], seen).with_share(7, second[0], seen),
        votes.with_share(7, second[0], seen).with_share(1, first[0], seen),
    )


def test_no_share_leaves_no_entry():
    votes, (_, seen) = random_votes(), random_shares()
    changed = votes.with_share(5, torch.zeros(COUNT, dtype=torch.float64), seen)
    assert changed.ids.tolist() == IDS
    assert float(changed.column(5).sum()) == 0.0
    objects = votes.ids[votes.columns.long()]
    assert int((changed.columns > 0).sum()) == int(((objects != 5) & (objects != 0)).sum())


def test_from_nothing_objects_and_background_are_all_that_was_seen():
    share, seen = random_shares()
    votes = Votes.zero(COUNT, [0]).with_share(3, share, seen)
    assert torch.allclose(votes.column(3) + votes.background(), votes.seen, atol=1e-4)
    assert torch.allclose(votes.background(), (1.0 - share) * seen, atol=1e-4)


def test_objects_and_background_are_no_more_than_was_seen():
    votes = votes_of([[4.0], [2.0]], [0]).with_share(3, torch.tensor([0.75, 0.5]).double(), torch.zeros(2).double())
    assert (votes.column(3) + votes.background()).tolist() == [4.0, 2.0]


def test_shares_are_those_of_objects():
    with pytest.raises(ValueError, match="1 or more"):
        random_votes().with_share(0, *random_shares())


def test_only_some_labels_are_kept():
    votes = random_votes()
    some = votes.with_only([0, 5, 8])
    assert is_valid(some) and some.ids.tolist() == [0, 5, 8]
    assert torch.equal(some.dense()[:, :2], votes.shares_of([0, 5], of_seen=False))
    assert torch.equal(some.seen, votes.seen)


def test_share_of_each_by_hand():
    votes = votes_of(
        [[1.0, 0.0, 3.0], [0.0, 2.0, 0.0], [0.5, 0.0, 2.0], [0.0, 0.0, 0.0]], [0, 4, 9], [4.0, 2.0, 5.0, 0.0]
    )
    # 3 of 4; nothing of label 9; 0.5 of 5; never seen.
    assert votes.share_of_each(torch.tensor([9, 9, 0, 4])).tolist() == [0.75, 0.0, 0.1, 0.0]
    # Labels without a column, and none.
    assert votes.share_of_each(torch.tensor([5, 4, -1, -1])).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_share_of_each_is_its_column_of_all_shares():
    votes = random_votes()
    labels = torch.randint(-1, 7, (COUNT,), generator=generator(4))
    expected = votes.shares_of(range(7)).gather(1, labels.clamp_min(0)[:, None])[:, 0]
    assert torch.equal(votes.share_of_each(labels), torch.where(labels >= 0, expected, 0.0))


def test_a_share_that_was_given_is_read_back():
    share, seen = random_shares()
    votes = random_votes().with_share(7, share, seen)
    read = votes.share_of_each(torch.full((COUNT,), 7))
    known = votes.seen > 0.01
    assert torch.allclose(read[known], share[known], atol=1e-5)
