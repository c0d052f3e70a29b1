"""Votes of many views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from splatseg_ns.lift.ballots import Ballot, by_mass, by_weighted_mass
from splatseg_ns.lift.distributed import ONE_RANK, Ranks
from splatseg_ns.lift.folds import Folds
from splatseg_ns.lift.views import LabelledView, LabelledViews, Views
from splatseg_ns.lift.vote_sum import VoteSum
from splatseg_ns.lift.votes import Votes, as_ids
from splatseg_ns.raster import Rasterizer, ViewVotes
from splatseg_ns.scene import Camera, Splats

Progress = Callable[[int, int], None]
"""Called with the views done and the views to do."""


def seen_in(rasterizer: Rasterizer, splats: Splats, camera: Camera) -> Tensor:  # [N] float32
    """The mass of each Gaussian in all pixels of a camera, whatever they show."""
    whole = torch.zeros(camera.height, camera.width, dtype=torch.int64)
    return rasterizer.votes(splats, camera, whole, ids=()).seen


def accumulate_votes(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Views,
    ids: Sequence[int] | Tensor,
    *,
    pixel_weight: Callable[[LabelledView], Tensor | None] | None = None,  # gives [H, W] >= 0
    ballot: Ballot | None = None,
    ranks: Ranks = ONE_RANK,
    progress: Progress | None = None,
) -> Votes:
    """The votes of all views for some labels; see ``accumulate_folds``."""
    folds = accumulate_folds(
        rasterizer,
        splats,
        views,
        ids,
        folds=1,
        pixel_weight=pixel_weight,
        ballot=ballot,
        ranks=ranks,
        progress=progress,
    )
    return folds.total


@torch.no_grad()
def accumulate_folds(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Views,
    ids: Sequence[int] | Tensor,
    *,
    folds: int,
    pixel_weight: Callable[[LabelledView], Tensor | None] | None = None,  # gives [H, W] >= 0
    ballot: Ballot | None = None,
    ranks: Ranks = ONE_RANK,
    progress: Progress | None = None,
) -> Folds:
    """The votes of all views for some labels, kept apart in ``folds`` parts by the views' positions.

    Each view votes by the mass of its pixels, weighted by ``pixel_weight``, or as ``ballot`` says. Other labels in the
    maps than ``ids`` count for ``seen`` alone. With several ranks each reads its share of the views, and all get the
    same result. It does not depend on the order in which views are added, not even in its last bit.
    """
    if folds < 1:
        raise ValueError(f"votes are kept in at least one part, got folds={folds}")
    if ballot is not None and pixel_weight is not None:
        raise ValueError("give a ballot or a pixel_weight: a ballot of your own weighs pixels itself")
    if ballot is None:
        ballot = by_mass if pixel_weight is None else by_weighted_mass(pixel_weight)
    views, ids = LabelledViews.of(views), as_ids(ids)
    sums = [VoteSum(len(splats), ids) for _ in range(folds)]
    positions = ranks.share(len(views))
    for done, position in enumerate(positions):
        for view in views.read([position]):
            sums[position % folds].add(ballot(rasterizer, splats, view, ids))
        if progress is not None:
            progress(done + 1, len(positions))
    return Folds(tuple(ranks.sum_votes(part.votes()) for part in sums))


@torch.no_grad()
def accumulate_shares(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Iterable[tuple[Camera, Tensor]],  # each [H, W, L], >= 0
    ids: Tensor,  # [L] int64, ascending
) -> Votes:
    """The votes of pixels that belong to several labels, each to some share of it: alpha * T * share.

    With shares of 0 and 1 these are the votes of label maps. A pixel counts as much as its shares add up to.
    """
    total = VoteSum(len(splats), ids)
    for camera, shares in views:
        mass = rasterizer.lift(splats, camera, shares.to(splats.device)).cpu()
        entries = mass > 0
        offsets = torch.nn.functional.pad(entries.sum(dim=1).cumsum(0), (1, 0))
        columns = entries.nonzero()[:, 1]
        total.add(ViewVotes(ids, offsets, columns, mass[entries], mass.sum(dim=1)))
    return total.votes()
