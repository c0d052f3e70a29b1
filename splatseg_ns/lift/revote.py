"""Which of an object's Gaussians belong to it when it stands alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from splatseg_ns.lift.accumulate import Progress, accumulate_votes
from splatseg_ns.lift.ballots import by_mass
from splatseg_ns.lift.distributed import ONE_RANK, Ranks
from splatseg_ns.lift.labels import BACKGROUND, Labels
from splatseg_ns.lift.views import LabelledView, LabelledViews, Views
from splatseg_ns.raster import Rasterizer, ViewVotes
from splatseg_ns.scene import Splats


def isolated_revote(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Views,
    rows: Tensor,  # [N] bool, the object's Gaussians
    label: int,
    *,
    least_inside: float = 0.5,
    ranks: Ranks = ONE_RANK,
    progress: Progress | None = None,
) -> Tensor:  # [N] bool
    """Those of the object's Gaussians that, drawn without all others, have enough of their mass inside its masks.

    What was hidden inside or behind other things shows only once the object stands alone. The masks are the same ones;
    pixels of other objects say nothing, for there the object may be behind them.
    """
    inside = accumulate_votes(
        rasterizer,
        splats.subset(rows),
        views,
        [label],
        ballot=_by_mass_outside_other_objects,
        ranks=ranks,
        progress=progress,
    )
    kept = rows.clone()
    kept[rows] = (inside.column(label) >= least_inside * inside.seen).to(rows.device)
    return kept


def isolated_labels(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Views,
    labels: Labels,
    *,
    objects: Iterable[int] | None = None,
    least_inside: float = 0.5,
    ranks: Ranks = ONE_RANK,
    progress: Progress | None = None,
) -> Labels:
    """Labels in which what ``isolated_revote`` drops from the objects, all or some, belongs to the background."""
    views = LabelledViews.of(views)
    ids = labels.ids.clone()
    chosen = labels.objects.tolist() if objects is None else list(objects)
    for done, label in enumerate(chosen):
        rows = labels.rows(label)
        kept = isolated_revote(
            rasterizer, splats, views, rows.to(splats.device), label, least_inside=least_inside, ranks=ranks
        )
        ids[rows & ~kept.to(rows.device)] = BACKGROUND
        if progress is not None:
            progress(done + 1, len(chosen))
    return replace(labels, ids=ids)


def _by_mass_outside_other_objects(
    rasterizer: Rasterizer, splats: Splats, view: LabelledView, ids: Tensor
) -> ViewVotes:
    """As ``by_mass`` for a single object."""
    labels = view.labels.long()
    says_something = (labels == BACKGROUND) | (labels == int(ids))
    if view.pixel_mask is not None:
        says_something &= view.pixel_mask
    return by_mass(rasterizer, splats, replace(view, pixel_mask=says_something), ids)
