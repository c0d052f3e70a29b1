"""Several processes find what one finds, bit for bit."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from splatseg_ns.lift import ONE_RANK, Evidence, Folds, Ranks, Robust, Votes, accumulate_folds
from splatseg_ns.raster.cpu import CpuRasterizer
from tests.lift.examples import identical, toy_splats, toy_views

IDS = [0, 1, 2, 3]
FOLDS = 2
SOLVER = Robust(reach=0.05, rounds=2)


def counted(ranks: Ranks) -> Folds:
    return accumulate_folds(CpuRasterizer(threads=1), toy_splats(), toy_views(7), IDS, folds=FOLDS, ranks=ranks)


def solved(ranks: Ranks):
    return SOLVER.solve(Evidence.of(CpuRasterizer(threads=1), toy_splats(), toy_views(7), IDS, ranks=ranks))


def work(rank: int, count: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    try:
        ranks = Ranks.current()
        for place, part in enumerate(counted(ranks).parts):
            part.save(f"{folder}/{rank}-{place}.npz")
        solution = solved(ranks)
        solution.votes.save(f"{folder}/{rank}-solved.npz")
        torch.save((solution.labels.ids, solution.corrections), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_ranks_find_what_one_process_finds(tmp_path: Path):
    """Three, so that not all have equally many of the seven views."""
    count = 3
    spawn(work, args=(count, str(tmp_path)), nprocs=count)
    alone, solution = counted(ONE_RANK), solved(ONE_RANK)
    assert solution.corrections is not None and 0 < solution.corrections.moved < solution.corrections.masks
    for rank in range(count):
        for place in range(FOLDS):
            assert identical(Votes.load(tmp_path / f"{rank}-{place}.npz"), alone.parts[place])
        assert identical(Votes.load(tmp_path / f"{rank}-solved.npz"), solution.votes)
        ids, corrections = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert torch.equal(ids, solution.labels.ids) and corrections == solution.corrections


def test_without_a_process_group_there_is_one_rank():
    assert Ranks.current() == ONE_RANK
    assert list(ONE_RANK.share(3)) == [0, 1, 2]
    assert list(Ranks(1, 3).share(8)) == [1, 4, 7]
