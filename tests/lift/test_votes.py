"""Votes: sums that do not depend on their order, and their file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from splatseg_ns.lift import Votes
from splatseg_ns.lift.votes import GRID
from tests.lift.examples import identical, random_view_votes, view_votes, votes_of
from tests.raster.scenes import generator


def test_five_gaussians_by_hand():
    # The third is seen by 0.5 + 2.0 in columns and 0.25 elsewhere; the fourth only elsewhere; the fifth never.
    votes = votes_of(
        [[1.0, 0.0, 3.0], [0.0, 2.0, 0.0], [0.5, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        ids=[0, 4, 9],
        seen=[4.0, 2.0, 2.75, 1.5, 0.0],
    )
    assert votes.offsets.tolist() == [0, 2, 3, 5, 5, 5]
    assert votes.columns.tolist() == [0, 2, 1, 0, 2]
    assert votes.mass.tolist() == [1.0, 3.0, 2.0, 0.5, 2.0]
    assert votes.rows.tolist() == [0, 0, 1, 2, 2]
    assert votes.column(9).tolist() == [3.0, 0.0, 2.0, 0.0, 0.0]
    assert votes.column(5).tolist() == [0.0] * 5
    # Label 0 and what has no column: 1; 0; 0.5 + 0.25; 1.5; 0.
    assert votes.background().tolist() == [1.0, 0.0, 0.75, 1.5, 0.0]
    assert votes.shares_of([9, 0])[0].tolist() == [0.75, 0.25]


def test_votes_of_a_view_are_in_the_order_of_ids():
    matrix = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    votes = Votes.of(view_votes(matrix, torch.tensor([8, 3])))
    assert votes.ids.tolist() == [3, 8]
    assert votes.dense().tolist() == [[2.0, 1.0], [3.0, 0.0]]


def test_zero_adds_nothing():
    votes = Votes.of(random_view_votes(40, [0, 2, 5], seed=1))
    assert identical(votes + Votes.zero(40, [2, 5]), votes)
    assert float(Votes.zero(40, [2]).seen.sum()) == 0.0


def test_different_labels_are_united():
    left = votes_of([[1.0, 2.0], [0.0, 4.0]], ids=[1, 3])
    right = votes_of([[8.0, 0.0], [16.0, 32.0]], ids=[2, 3])
    both = left + right
    assert both.ids.tolist() == [1, 2, 3]
    assert both.dense().tolist() == [[1.0, 8.0, 2.0], [0.0, 16.0, 36.0]]
    assert both.seen.tolist() == [11.0, 52.0]


def test_order_and_grouping_change_no_bit():
    views = [Votes.of(random_view_votes(200, [0, 1, 2, 7], seed)) for seed in range(30)]
    in_order = sum(views[1:], views[0])
    for seed in range(5):
        order = torch.randperm(30, generator=generator(seed)).tolist()
        shuffled = [views[place] for place in order]
        halves = sum(shuffled[1:13], shuffled[0]) + sum(shuffled[14:], shuffled[13])
        assert identical(sum(shuffled[1:], shuffled[0]), in_order)
        assert identical(halves, in_order)
    # Plain float32 sums, and plain float64 sums of sizes this far apart, do depend on it.
    masses = torch.stack([votes.seen for votes in views]) * 1.1
    assert not torch.equal(masses.cumsum(0)[-1], masses.flip(0).cumsum(0)[-1])


def test_rounding_to_the_grid_is_smaller_than_anything_drawn():
    view = random_view_votes(200, [0, 1, 2], seed=3)
    assert float((Votes.of(view).dense() - view.dense().double()).abs().max()) <= GRID / 2
    assert GRID / 2 < 0.1 * (1.0 / 255.0) * 1e-4


def test_a_file_gives_back_every_bit(tmp_path: Path):
    votes = Votes.of(random_view_votes(100, [0, 3, 4], seed=2))
    votes.save(tmp_path / "votes.npz")
    assert identical(Votes.load(tmp_path / "votes.npz"), votes)
    assert [path.name for path in tmp_path.iterdir()] == ["votes.npz"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "votes.npz"
    votes = Votes.of(random_view_votes(100, [0, 3], seed=2))
    votes.save(path)

    def fail(stream, **_):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        (votes + votes).save(path)
    assert identical(Votes.load(path), votes)


def test_what_is_no_file_of_votes_is_named(tmp_path: Path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", mass=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", format=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "new.npz", format=np.int64(99))
    votes = Votes.of(random_view_votes(50, [0, 3], seed=2))
    np.savez(
        tmp_path / "cut.npz", format=1, **{n: t.numpy()[:-1] if n == "mass" else t for n, t in vars(votes).items()}
    )
    for name in ("text", "other", "pickled", "new", "cut"):
        with pytest.raises(ValueError, match=f"{name}.npz: no readable votes"):
            Votes.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        Votes.load(tmp_path / "absent.npz")


def test_votes_that_do_not_belong_together_are_errors():
    with pytest.raises(ValueError, match="cannot be added"):
        _ = Votes.zero(3, [1]) + Votes.zero(4, [1])
    with pytest.raises(ValueError, match="different integers"):
        Votes.zero(3, [1, 1])
    with pytest.raises(ValueError, match="different integers"):
        Votes.zero(3, [-1, 1])


MEMORY_PROGRAM = """
import resource, torch
from splatseg_ns.lift import VoteSum
from splatseg_ns.raster import ViewVotes

torch.set_num_threads(1)
N, L = 500_000, 500

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def view(seed):
    random = torch.Generator().manual_seed(seed)
    per_row = torch.randint(0, 3, (N,), generator=random)
    offsets = torch.nn.functional.pad(per_row.cumsum(0), (1, 0))
    second = torch.arange(int(offsets[-1])) - torch.repeat_interleave(offsets[:-1], per_row)
    home = torch.repeat_interleave(torch.arange(N) % (L - 6), per_row)
    columns = home + torch.randint(0, 3, home.shape, generator=random) + 3 * second
    mass = torch.rand(len(columns), generator=random)
    return ViewVotes(torch.arange(L), offsets, columns, mass, torch.ones(N))

total = VoteSum(N, range(L))
total.add(view(0))
before = peak()
for seed in range(1, 12):
    total.add(view(seed))
votes = total.votes()
print(len(votes.mass), peak() - before + 16 * 750_000 + 8 * N)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux states it")
def test_memory_of_many_gaussians_and_labels():
    # A tenth of 5 million Gaussians, so a tenth of 4 GB; as a full matrix they would take 2 GB, and 20 GB at full size.
    result = subprocess.run([sys.executable, "-c", MEMORY_PROGRAM], capture_output=True, text=True, check=True)
    entries, used = map(int, result.stdout.split())
    assert entries > 5 * 500_000
    assert used < 400e6, f"{used / 1e6:.0f} MB for {entries} entries"


def test_votes_of_some_gaussians():
    votes = votes_of([[1.0, 0.0], [2.0, 3.0], [0.0, 0.0], [0.0, 4.0]], ids=[0, 5], seen=[1.0, 6.0, 0.5, 4.0])
    some = votes.of_rows(torch.tensor([3, 1, 2]))
    assert some.dense().tolist() == [[0.0, 4.0], [2.0, 3.0], [0.0, 0.0]]
    assert some.seen.tolist() == [4.0, 6.0, 0.5] and some.ids.tolist() == [0, 5]
    assert len(votes.of_rows(torch.zeros(0, dtype=torch.int64))) == 0


def test_entries_get_other_labels():
    """Rows (label: mass) 0: {0: 1, 3: 2}, 1: {}, 2: {1: 4}, 3: {0: 8, 1: 16, 3: 32}."""
    votes = votes_of([[1, 0, 2], [0, 0, 0], [0, 4, 0], [8, 16, 32]], [0, 1, 3], seen=[3, 1, 5, 56])
    assert votes.ids[votes.columns.long()].tolist() == [0, 3, 1, 0, 1, 3]
    found = votes.relabelled(torch.tensor([9, 2, -1, 0, 9, 2]))
    assert found.ids.tolist() == [0, 2, 9]
    assert found.dense().tolist() == [[0, 2, 1], [0, 0, 0], [0, 0, 0], [8, 32, 16]]
    # What has no label any more still counts as seen.
    assert torch.equal(found.seen, votes.seen) and found.background().tolist() == [0, 1, 5, 8]


def test_the_same_labels_are_the_same_votes_and_none_are_none():
    votes = Votes.of(random_view_votes(40, [0, 2, 5, 9], seed=3))
    same = votes.relabelled(votes.ids[votes.columns.long()])
    assert identical(same, votes)
    back = votes.relabelled(9 - votes.ids[votes.columns.long()])
    assert identical(back.relabelled(9 - back.ids[back.columns.long()]), votes)
    none = votes.relabelled(torch.full((len(votes.mass),), -1))
    assert len(none.ids) == len(none.mass) == 0 and torch.equal(none.seen, votes.seen)
    assert torch.equal(none.background(), votes.seen)


def test_votes_that_are_silent_count_for_nothing():
    # Two Gaussians with 3 + 2 + 1 and 4 + 4 for labels 0, 1, 2; what the first has for 2, and the second for 1, goes.
    votes = votes_of([[3, 2, 1], [4, 4, 0]], [0, 1, 2])
    labels = votes.ids[votes.columns.long()]
    silent = torch.tensor([False, False, True, False, True])
    found = votes.relabelled(labels, silent)
    assert found.ids.tolist() == [0, 1] and found.dense().tolist() == [[3, 2], [4, 0]]
    assert found.seen.tolist() == [5, 4] and found.background().tolist() == [3, 4]
