"""Masks of many views become things in 3D: those that the same Gaussians vote for belong together.

Every mask is a set of Gaussians, those with more than half of what a view sees of them inside it. Two masks, of the
same view or of different ones, are compared over the Gaussians that both views see, so that what is hidden from one of
them is held against neither. Masks that agree are clustered to things: wholes, parts and chance groups side by side. A
thing is believed if many of the views that see it have a mask of it, and of a whole and its parts one level is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from splatseg_ns.lift import Labels, Progress, render_label_map
from splatseg_ns.masks.everything import PictureMasks
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import IGNORED, Camera, Splats

Level = Literal["object", "part"]

_INSIDE = 0.5
"""Of what a view sees of a Gaussian: so much of it in a mask makes it one of the mask's."""

_STILL_SEEN = 0.1
"""A Gaussian is hidden from a view that sees less of it than this, as a share of what another view sees."""

_LEAST_SEEN = 1e-3
"""Mass in pixels below which a view does not see a Gaussian."""

_NESTED = 0.8
"""A thing is part of another that has this share of its mass."""

_CLAIMED = 0.5
"""Things that have this share of their mass in others that are kept are left out."""

_PREFERENCE: dict[Level, float] = {"object": 0.5, "part": 1.5}
"""A whole is kept instead of its parts if it is believed this many times as much as they are together."""

_SPLIT_GAIN = 0.05
"""The parts of a thing are taken together for its mask if they agree with it by so much more than one mask does."""


@dataclass(frozen=True)
class Associate:
    """When masks are the same thing, and which things are kept."""

    level: Level = "object"
    """Of things within things: whole objects, or their parts."""

    least_affinity: float = 0.65
    """Clusters of masks are merged while their mean overlap is this."""

    least_common: float = 0.3
    """A view sees a mask or a thing that it sees this share of; masks are compared if their views see both."""

    least_agreement: float = 0.5
    """A view's mask is taken for a thing if it overlaps with it this much."""

    least_support: float = 0.4
    """A thing is stable if this share of the views that see it has a mask of it,"""

    min_views: int = 3
    """and at least so many views,"""

    min_gaussians: int = 20
    """and if so many Gaussians belong to it."""

    def __post_init__(self) -> None:
        for name in ("least_affinity", "least_common", "least_agreement", "least_support"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share, above 0 and at most 1, got {getattr(self, name)}")
        if self.min_views < 1:
            raise ValueError(f"min_views is at least 1, got {self.min_views}")
        if self.level not in _PREFERENCE:
            raise ValueError(f"unknown level {self.level!r}; choose one of {', '.join(_PREFERENCE)}")


@dataclass(frozen=True, eq=False)
class MaskedView:
    """A camera and the masks that were found in its picture."""

    camera: Camera
    masks: PictureMasks


@dataclass(frozen=True, eq=False)
class MaskVotes:
    """What every mask of every view sees of every Gaussian; M masks in all, view after view."""

    regions: tuple[sparse.csr_matrix, ...]  # [N, R] of each view, alpha * T over the pixels of each region
    tables: tuple[np.ndarray, ...]  # [R, M'] bool of each view, which of its masks a region is part of
    seen: np.ndarray  # [N, V] alpha * T over all pixels of each view

    @cached_property
    def first(self) -> np.ndarray:  # [V + 1] int64
        """Where the masks of each view begin."""
        return np.cumsum([0, *(table.shape[1] for table in self.tables)])

    @cached_property
    def view(self) -> np.ndarray:  # [M] int64
        """The view of each mask."""
        return np.repeat(np.arange(len(self.tables)), np.diff(self.first))

    @cached_property
    def members(self) -> sparse.csc_matrix:  # [N, M] of ones
        """The Gaussians of each mask."""
        columns = []
        for place, (regions, table) in enumerate(zip(self.regions, self.tables, strict=True)):
            mass = sparse.coo_matrix(regions @ sparse.csr_matrix(table.astype(np.float64)))
            seen = self.seen[mass.row, place]
            kept = (mass.data > _INSIDE * seen) & (seen > _LEAST_SEEN)
            ones = np.ones(int(kept.sum()))
            columns.append(sparse.csc_matrix((ones, (mass.row[kept], mass.col[kept])), shape=mass.shape))
        return sparse.csc_matrix(sparse.hstack(columns))

    def mass(
        self,
        view: int,
        masks: np.ndarray,  # of int64, numbered within the view
    ) -> np.ndarray:  # [N]
        """What a view sees of each Gaussian in some masks together."""
        return self.regions[view] @ self.tables[view][:, masks].any(axis=1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that masks of several views agree on."""

    rows: np.ndarray  # [N] bool
    masks: dict[int, np.ndarray]
    """The masks of each view that has some, numbered within the view: together they are the thing."""

    support: float
    """The share of the views that see it that have a mask of it."""


@dataclass(frozen=True, eq=False)
class Association:
    """The things that were kept, the largest first: thing k has the id k + 1 in the label maps."""

    things: tuple[Thing, ...]
    label_maps: tuple[Tensor, ...]  # [H, W] int64 each: 0 in none, -1 where a view has no mask of what is there
    unstable: int
    """Things that too few views have masks of."""

    small: int
    """Things with too few Gaussians."""


def cast_mask_votes(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[MaskedView],
    progress: Progress | None = None,
) -> MaskVotes:
    """Let all masks vote; one pass per view, however many masks overlap."""
    regions, seen = [], np.zeros((len(splats), len(views)))
    for place, view in enumerate(views):
        count = len(view.masks.members)
        votes = rasterizer.votes(splats, view.camera, view.masks.regions, torch.arange(count))
        parts = (part.cpu().numpy() for part in (votes.mass.double(), votes.columns, votes.offsets))
        regions.append(sparse.csr_matrix(tuple(parts), shape=(len(splats), count)))
        seen[:, place] = votes.seen.cpu().numpy()
        if progress is not None:
            progress(place + 1, len(views))
    return MaskVotes(tuple(regions), tuple(view.masks.members.numpy() for view in views), seen)


def associate(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[MaskedView],
    config: Associate | None = None,
    progress: Progress | None = None,
) -> Association:
    """The things that the masks of the views agree on, and a label map of them for each view."""
    config = config or Associate()
    votes = cast_mask_votes(rasterizer, splats, views, progress)
    table = _Table(votes, config.least_common)
    clusters = cluster(*mask_affinity(votes, config.least_common), config.least_affinity)
    # Most clusters are masks that one view alone has.
    wide = [masks for masks in clusters if len(np.unique(votes.view[masks])) >= config.min_views]
    stable = {int(masks[0]): thing for masks in wide if _is_stable(thing := table.thing(masks), config)}
    chosen = choose_level(list(stable.values()), table.total, config.level)
    read = [table.read_again(thing, config) for thing in chosen]
    kept = [thing for thing in read if _is_stable(thing, config)]
    large = [thing for thing in kept if int(thing.rows.sum()) >= config.min_gaussians]
    things = tuple(sorted(large, key=lambda thing: -table.size(thing)))
    maps = tuple(_label_map(rasterizer, splats, view, place, things) for place, view in enumerate(views))
    used = {int(votes.first[view] + mask) for thing in kept for view, masks in thing.masks.items() for mask in masks}
    clusters = [masks for masks in clusters if votes.members[:, masks].nnz]
    alone = [masks for masks in clusters if int(masks[0]) not in stable and used.isdisjoint(masks.tolist())]
    return Association(things, maps, len(alone) + len(read) - len(kept), len(kept) - len(large))


def mask_affinity(
    votes: MaskVotes,
    least_common: float,
) -> tuple[np.ndarray, np.ndarray]:  # [M, M] each
    """The overlap (IoU) of each two masks over what the views of both see, and its weight.

    The weight is the share of each mask that the other's view sees, the smaller one; 0 if below ``least_common``.
    """
    view, members = votes.view, votes.members
    # Weighted by the root of the product of what both views see of a Gaussian, all sums are products of matrices.
    roots = np.sqrt(votes.seen)
    weighted = _weighted(members, roots, view)
    shared = np.asarray((weighted.T @ weighted).todense())
    common = np.asarray(weighted.T @ roots)[:, view]
    union = common + common.T - shared
    visible = _visible(votes, members)[:, view]
    weight = np.minimum(visible, visible.T)
    weight[weight < least_common] = 0.0
    return shared / np.maximum(union, 1e-12), weight


def cluster(
    affinity: np.ndarray,  # [M, M] in [0, 1]
    weight: np.ndarray,  # [M, M] >= 0, 0 where two masks cannot be compared
    least: float,
) -> list[np.ndarray]:  # of int64 each
    """Average linkage: merge the two clusters of the greatest weighted mean affinity while it is at least ``least``.

    Pairs that cannot be compared say nothing: two sides of an object come together by the views between them.
    """
    count = len(affinity)
    weights = np.array(weight, dtype=np.float64)
    np.fill_diagonal(weights, 0.0)
    sums = affinity * weights
    members = [[place] for place in range(count)]
    alive = np.ones(count, dtype=bool)
    mean = np.where(weights > 0, sums / np.maximum(weights, 1e-12), -1.0)
    # The best partner of each cluster is kept, so that a merge costs one row and not the whole matrix.
    partner = mean.argmax(axis=1) if count else np.zeros(0, dtype=np.int64)
    best = mean[np.arange(count), partner]
    while count and best.max() >= least:
        first = int(best.argmax())
        second = int(partner[first])
        members[first] += members[second]
        alive[second] = False
        for table in (sums, weights):
            table[first] += table[second]
            table[:, first] = table[first]
        weights[first, first] = sums[first, first] = 0.0
        joined = np.where((weights[first] > 0) & alive, sums[first] / np.maximum(weights[first], 1e-12), -1.0)
        mean[second] = mean[:, second] = -1.0
        mean[first] = mean[:, first] = joined
        best[second] = -1.0
        for place in np.flatnonzero(alive & ((partner == first) | (partner == second) | (joined > best))):
            partner[place] = mean[place].argmax()
            best[place] = mean[place, partner[place]]
        partner[first] = joined.argmax()
        best[first] = joined[partner[first]]
    return [np.sort(np.array(part)) for part, lives in zip(members, alive, strict=True) if lives]


def choose_level(
    things: Sequence[Thing],
    mass: np.ndarray,  # [N] what all views see of each Gaussian
    level: Level,
) -> list[Thing]:
    """Of things within things either the whole or its parts, by what views believe in more.

    A whole counts by its support, its parts by theirs on the share of its mass that they cover.
    """
    shared = _shared_mass(things, mass)
    sizes = shared.diagonal()
    order = np.argsort(-sizes, kind="stable")
    parts: dict[int, list[int]] = {}
    roots = []
    for rank, place in enumerate(order.tolist()):
        inside = [other for other in order[:rank].tolist() if shared[other, place] >= _NESTED * sizes[place]]
        # The smallest of them is the next whole.
        (parts.setdefault(inside[-1], []) if inside else roots).append(place)

    def best_cut(place: int) -> list[int]:
        below = [part for child in parts.get(place, []) for part in best_cut(child)]
        kept, covered = _without_overlaps(below, things, mass, sizes)
        if things[place].support * sizes[place] >= _PREFERENCE[level] * covered:
            return [place]
        return kept

    cut = [place for root in roots for place in best_cut(root)]
    return [things[place] for place in _without_overlaps(cut, things, mass, sizes)[0]]


def _shared_mass(things: Sequence[Thing], mass: np.ndarray) -> np.ndarray:  # [K, K]
    """The mass of the Gaussians that each two things share."""
    rows = [np.flatnonzero(thing.rows) for thing in things]
    ends = np.cumsum([0, *map(len, rows)])
    chosen = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    shape = (len(things), len(mass))
    members = sparse.csr_matrix((np.ones(len(chosen)), chosen, ends), shape)
    return np.asarray((sparse.csr_matrix((mass[chosen], chosen, ends), shape) @ members.T).todense())


def _without_overlaps(
    places: Sequence[int], things: Sequence[Thing], mass: np.ndarray, sizes: np.ndarray
) -> tuple[list[int], float]:
    """Those that claim something new, the best supported first, and their supported mass."""
    kept: list[int] = []
    claimed = np.zeros(len(mass), dtype=bool)
    covered = 0.0
    for place in sorted(places, key=lambda place: (-things[place].support, -sizes[place])):
        rows = things[place].rows
        new = mass[rows & ~claimed].sum()
        if new <= (1.0 - _CLAIMED) * sizes[place]:
            continue
        kept.append(place)
        covered += things[place].support * new
        claimed |= rows
    return kept, covered


class _Table:
    """Questions about the votes of all masks."""

    def __init__(self, votes: MaskVotes, least_common: float) -> None:
        self.votes = votes
        self.least_common = least_common
        self.members = votes.members
        self.total = votes.seen.sum(axis=1)  # [N]

    def thing(
        self,
        masks: np.ndarray,  # of int64
    ) -> Thing:
        """What some masks agree on."""
        views = self.votes.view[masks]
        own = {int(view): masks[views == view] - self.votes.first[view] for view in np.unique(views)}
        return self._thing_of(own)

    def read_again(self, thing: Thing, config: Associate) -> Thing:
        """The thing with the masks of all views that fit it: clusters miss those that show little of it.

        A view that has split the thing gives the parts together.
        """
        votes = self.votes
        masks: dict[int, np.ndarray] = {}
        for place in range(votes.seen.shape[1]):
            own = slice(votes.first[place], votes.first[place + 1])
            seen = votes.seen[:, place]
            inside = self.members[:, own].T @ (seen * thing.rows)
            areas = self.members[:, own].T @ seen
            shown = float(seen[thing.rows].sum())
            if shown <= 0.0 or own.start == own.stop:
                continue
            overlap = inside / np.maximum(areas + shown - inside, 1e-12)
            best = int(overlap.argmax())
            choice, agreement = np.array([best]), float(overlap[best])
            parts = np.flatnonzero(inside >= _NESTED * np.maximum(areas, 1e-12))
            if len(parts) > 1:
                together = np.asarray(self.members[:, own][:, parts].sum(axis=1)).ravel() > 0
                within = float(seen[together & thing.rows].sum())
                union = float(seen[together].sum()) + shown - within
                if within / union >= agreement + _SPLIT_GAIN:
                    choice, agreement = parts, within / union
            if agreement >= config.least_agreement:
                masks[place] = choice
        return self._thing_of(masks)

    def size(self, thing: Thing) -> float:
        """The mass of its Gaussians over all views."""
        return float(self.total[thing.rows].sum())

    def _thing_of(self, masks: dict[int, np.ndarray]) -> Thing:
        """The Gaussians that are inside the masks for more than half of what their views see of them."""
        inside, seen = np.zeros(len(self.total)), np.zeros(len(self.total))
        for view, numbers in masks.items():
            inside += self.votes.mass(view, numbers)
            seen += self.votes.seen[:, view]
        rows = (inside > _INSIDE * seen) & (seen > _LEAST_SEEN)
        return Thing(rows, masks, self._support(rows, masks))

    def _support(self, rows: np.ndarray, masks: dict[int, np.ndarray]) -> float:
        """The share of the views that see the thing that have masks of it."""
        seen = self.votes.seen[rows]
        weight = self.total[rows]
        shows = (seen >= np.maximum(_STILL_SEEN * seen.max(axis=1, keepdims=True), _LEAST_SEEN)).T @ weight
        observers = set(np.flatnonzero((shows >= self.least_common * weight.sum()) & (shows > 0)).tolist()) | set(masks)
        return len(masks) / max(len(observers), 1)


def _visible(votes: MaskVotes, members: sparse.csc_matrix) -> np.ndarray:  # [M, V]
    """Of each mask, by its own view's mass, the share that each view sees."""
    masses = _weighted(members, votes.seen, votes.view)
    visible = np.zeros((len(votes.view), votes.seen.shape[1]))
    for place in range(votes.seen.shape[1]):
        own = slice(votes.first[place], votes.first[place + 1])
        enough = np.maximum(_STILL_SEEN * votes.seen[:, [place]], _LEAST_SEEN)
        visible[own] = masses[:, own].T @ (votes.seen >= enough).astype(np.float64)
    return visible / np.maximum(np.asarray(masses.sum(axis=0)).reshape(-1, 1), 1e-12)


def _is_stable(thing: Thing, config: Associate) -> bool:
    return len(thing.masks) >= config.min_views and thing.support >= config.least_support


def _weighted(members: sparse.csc_matrix, values: np.ndarray, view: np.ndarray) -> sparse.csc_matrix:
    """The members of each mask with the values [N, V] that its view has for them."""
    columns = np.repeat(view, np.diff(members.indptr))
    return sparse.csc_matrix((values[members.indices, columns], members.indices, members.indptr), members.shape)


def _label_map(
    rasterizer: Rasterizer,
    splats: Splats,
    view: MaskedView,
    place: int,
    things: Sequence[Thing],
) -> Tensor:  # [H, W] int64
    """The things of a view: by its masks, small ones over large ones; where it has none, nothing is said of a thing."""
    label_map = torch.zeros(view.camera.height, view.camera.width, dtype=torch.int64)
    unread = [id for id, thing in enumerate(things, 1) if place not in thing.masks]
    for id, thing in enumerate(things, 1):
        for mask in thing.masks.get(place, ()):
            label_map[view.masks.mask(int(mask))] = id
    if unread:
        drawn = Labels(_labels_of(things, len(splats)), torch.zeros(len(splats), dtype=torch.float64))
        shown = render_label_map(rasterizer, splats, view.camera, drawn, torch.arange(1, len(things) + 1)).cpu()
        # It may be in the mask of another thing, where the view takes both for one.
        label_map[torch.isin(shown, torch.tensor(unread))] = IGNORED
    return label_map


def _labels_of(things: Sequence[Thing], count: int) -> Tensor:  # [N] int64
    """The last thing that has each Gaussian; things are sorted, so that small ones lie over large ones."""
    labels = torch.zeros(count, dtype=torch.int64)
    for id, thing in enumerate(things, 1):
        labels[torch.from_numpy(thing.rows)] = id
    return labels
