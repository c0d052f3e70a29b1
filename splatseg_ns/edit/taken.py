"""Which Gaussians go with objects that are removed: their own, and what is nothing without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.spatial import Delaunay, KDTree, QhullError
from torch import Tensor

from splatseg_ns.edit.extract import decided_labels
from splatseg_ns.edit.part import rows_of_objects
from splatseg_ns.lift import BACKGROUND, UNSEEN, Progress, render_share
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.neighbours import Neighbourhood

AUTO_GAMMA = -0.6
"""A fifth of its votes takes a Gaussian along; the looks at the scene without the objects find the rest."""

LEAST_VIEWS = 0.2
"""A Gaussian is known if it was seen beside the objects in this share of the views that show it without them."""

_SEEN = 0.5
"""It was seen in a view that had this much of what the view shows of it without the objects."""

_LEAST_BEHIND = 0.25
"""If less than this of what views show is where the objects were, it was not they that hid it."""

_LEAST_PIXELS = 0.1
"""A view that has less of a Gaussian does not show it."""

_MOST_ROUNDS = 4
"""What is taken uncovers more, which after so many looks is a few Gaussians."""

_NEIGHBOURS = 8


@dataclass(frozen=True)
class Take:
    """What goes with objects that are removed."""

    gamma: float | Literal["auto"] = "auto"
    """The bias to the background: 0 takes what has most of its votes for the objects, -1 all that has any."""

    grow: int = 0
    """How many steps of neighbours around the objects go too, for shadows and smears where they stood."""

    def __post_init__(self) -> None:
        if self.gamma != "auto" and not -1.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma is a number from -1 to 1 or 'auto', got {self.gamma}")
        if self.grow < 0:
            raise ValueError(f"grow is a number of steps, 0 or more, got {self.grow}")


@dataclass(frozen=True, eq=False)
class Taken:
    """The Gaussians that go, each of one kind."""

    own: Tensor  # [N] bool, labelled as the objects
    leaning: Tensor  # [N] bool, many of their votes are for the objects
    inside: Tensor  # [N] bool, never seen, between the Gaussians of the objects
    unknown: Tensor  # [N] bool, hardly any view that shows them without the objects saw them beside these
    around: Tensor  # [N] bool, next to the objects

    @property
    def rows(self) -> Tensor:  # [N] bool
        """All of them."""
        return self.own | self.leaning | self.inside | self.unknown | self.around

    def in_words(self) -> str:
        """How many there are of each kind."""
        kinds = {
            "of the objects": self.own,
            "that lean to them": self.leaning,
            "unseen inside them": self.inside,
            "that only they hid": self.unknown,
            "around them": self.around,
        }
        return ", ".join(f"{int(rows.sum())} {kind}" for kind, rows in kinds.items() if bool(rows.any()))


def taken_with(
    document: Segmentation,
    splats: Splats,
    objects: Sequence[int],
    config: Take | None = None,
    *,
    rasterizer: Rasterizer | None = None,
    cameras: Sequence[Camera] = (),
    progress: Progress | None = None,
) -> Taken:
    """What leaves the scene with these objects. Gaussians of other objects stay, and what was edited by hand counts.

    Beside the objects' own Gaussians that is: what has many votes for them; what nobody has seen and lies inside them;
    and, with the training ``cameras``, floaters and parts of surfaces that only the objects hid. Of the views that show
    these once the objects are gone hardly any saw them before: training could make of them whatever it liked.
    """
    config = config or Take()
    own = rows_of_objects(document, objects)
    free = ~own & ((document.labels == BACKGROUND) | (document.labels == UNSEEN))
    leaning = free & _leaning(document, objects, AUTO_GAMMA if config.gamma == "auto" else config.gamma)
    rows = own | leaning
    unknown = torch.zeros_like(own)
    unseen = document.labels == UNSEEN
    if cameras and rasterizer is not None:
        unknown, shown = _unknown_without(rasterizer, splats, cameras, rows, free, progress)
        unseen = unseen | (shown == 0)
    rows = rows | unknown
    inside = _between(splats.means.cpu(), own, free & unseen & ~rows)
    rows = rows | inside
    around, neighbourhood = rows, Neighbourhood(splats.means)
    for _ in range(config.grow):
        around = around | (neighbourhood.grown(around) & free)
    return Taken(own, leaning, inside, unknown, around & ~rows)


def _leaning(document: Segmentation, objects: Sequence[int], gamma: float) -> Tensor:  # [N] bool
    """The votes for the objects outweigh those against them by more than the bias; not where somebody has edited."""
    votes, decided = document.votes(), decided_labels(document)
    if votes is None:
        return torch.zeros(len(document), dtype=torch.bool)
    share = votes.shares_of(objects).sum(dim=1)
    leaning = (share > (1.0 + gamma) / 2.0) & (share > 0)
    return leaning if decided is None else leaning & (decided == document.labels)


@torch.no_grad()
def _unknown_without(
    rasterizer: Rasterizer,
    splats: Splats,
    cameras: Sequence[Camera],
    objects: Tensor,  # [N] bool, what is taken in any case
    free: Tensor,  # [N] bool, what may be taken
    progress: Progress | None,
) -> tuple[Tensor, Tensor]:  # [N] bool; [N] float64, what all pixels show of each without objects and unknown
    """What hardly any view has seen that shows it without the objects, looked for as often as that uncovers more."""
    steps = len(cameras) * _MOST_ROUNDS
    unknown, shown = torch.zeros_like(objects), torch.zeros(len(splats), dtype=torch.float64)
    for round in range(_MOST_ROUNDS):
        left = ~(objects | unknown)
        part = splats.subset(left.to(splats.device))
        shown, behind, showing, seeing = (torch.zeros(len(splats), dtype=torch.float64) for _ in range(4))
        for done, camera in enumerate(cameras):
            was_object = render_share(rasterizer, splats, camera, objects).clamp(0.0, 1.0)[..., None]
            before = rasterizer.lift(splats, camera, 1.0 - was_object)[:, 0].cpu()[left]
            values = torch.cat([torch.ones_like(was_object), was_object], dim=-1)
            everywhere, where_it_was = rasterizer.lift(part, camera, values).cpu().unbind(dim=1)
            shows = everywhere >= _LEAST_PIXELS
            shown[left] += everywhere
            behind[left] += where_it_was
            showing[left] += shows
            seeing[left] += shows & (before >= _SEEN * everywhere)
            if progress is not None:
                progress(round * len(cameras) + done + 1, steps)
        found = free & left & (seeing < LEAST_VIEWS * showing) & (behind >= _LEAST_BEHIND * shown)
        if not bool(found.any()):
            break
        unknown = unknown | found
    if progress is not None:
        progress(steps, steps)
    return unknown, shown


def _between(
    means: Tensor,  # [N, 3]
    own: Tensor,  # [N] bool
    candidates: Tensor,  # [N] bool
) -> Tensor:  # [N] bool
    """The candidates in the hull of the objects whose neighbours are mostly the objects' Gaussians."""
    between = torch.zeros_like(own)
    points, rows = means.double().numpy(), candidates.nonzero().flatten()
    others = (~candidates).nonzero().flatten()
    if len(rows) == 0 or int(own.sum()) <= points.shape[1]:
        return between
    try:
        in_hull = Delaunay(points[own.numpy()]).find_simplex(points[rows.numpy()]) >= 0
    except QhullError:
        # Flat: nothing is inside.
        return between
    count = min(_NEIGHBOURS, len(others))
    _, nearest = KDTree(points[others.numpy()]).query(points[rows.numpy()], count)
    mostly_own = own[others[torch.from_numpy(np.asarray(nearest).reshape(len(rows), count))]].double().mean(dim=1) > 0.5
    between[rows[torch.from_numpy(in_hull) & mostly_own]] = True
    return between
