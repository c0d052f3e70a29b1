"""FlashSplat on masks that are put right first, each by what all other views say of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatseg_ns.lift.ballots import Ballot, by_mass
from splatseg_ns.lift.consensus import labels_without, render_decided
from splatseg_ns.lift.corrections import Corrections
from splatseg_ns.lift.gamma import AUTO_FOLDS
from splatseg_ns.lift.labels import BACKGROUND, Labels
from splatseg_ns.lift.mask_reading import Comparison, compare, corrected, judge
from splatseg_ns.lift.packed_maps import PackedMap, PackedViews, marked
from splatseg_ns.lift.solvers.evidence import Evidence, Solution
from splatseg_ns.lift.solvers.flashsplat import FlashSplat
from splatseg_ns.lift.views import LabelledView
from splatseg_ns.lift.votes import Votes, column_of
from splatseg_ns.raster import Rasterizer, ViewVotes
from splatseg_ns.scene import Splats

WORTH_MOVING_ANY = 0.1
"""If fewer masks than this share would have to be moved, none is: edges are right, and what looks off is noise."""

WORTH_COUNTING = 0.002
"""If fewer pixels than this share of the objects' pixels would change, the masks are taken as they are."""

WORTH_ANOTHER_ROUND = 0.01
"""Another round follows if more pixels than this share of the objects' pixels have changed."""

REMEMBERED_BYTES = 512 * 1024**2
"""Votes of single views are kept up to this size; those that do not fit are counted again when they are needed."""


@dataclass(frozen=True)
class Robust:
    """FlashSplat without bias, on masks that are compared with what the other views say, and put right.

    In each round the votes of all views but one are drawn into that one. A mask whose edge is off everywhere by the
    same few pixels is moved, one that is another object's is renamed, one that fits nothing says nothing.
    """

    gamma: float | Literal["auto"] = 0.0
    """Bias to the background, as FlashSplat's."""

    rounds: int = 3
    """How often masks are compared with the consensus and put right, at most; it ends when hardly anything changes."""

    reach: float = 0.01
    """How far edges may be off, as a share of the picture's diagonal; 0 leaves all edges where they are."""

    reject_below: float = 0.5
    """A mask says nothing if its IoU with its object is less than this share of what is usual for the object."""

    rename: bool = True
    """Take a mask for another object if it fits that one."""

    leave_one_out: bool = True
    """Compare a view with what the others say; otherwise with what all say."""

    blind_zones: bool = True
    """Leave out pixels next to a moved edge about which the mask could not have known."""

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds is 0 or more, got {self.rounds}")
        if not (0.0 <= self.reject_below <= 1.0 and 0.0 <= self.reach <= 0.1):
            raise ValueError("reject_below is a number from 0 to 1, reach one from 0 to 0.1")

    def decide(self, votes: Votes) -> Labels:
        """One label for each Gaussian, from the votes of masks that have been put right."""
        return FlashSplat(self.gamma).decide(votes)

    def solve(self, evidence: Evidence) -> Solution:
        """Count, put the masks right by what was decided, and count again, until hardly anything changes."""
        decider = FlashSplat(self.gamma)
        parts = AUTO_FOLDS if self.gamma == "auto" else 1
        current, corrections, ballot = evidence, None, _RememberedVotes()
        folds = current.count(folds=parts, ballot=ballot)
        for _ in range(self.rounds):
            put_right = self._put_right(evidence, current, ballot, folds.total, decider.settled(folds))
            if put_right.changed < WORTH_COUNTING:
                break
            corrections = put_right.corrections
            current, ballot = replace(evidence, views=put_right.views), _RememberedVotes()
            folds = current.count(folds=parts, ballot=ballot)
            if put_right.changed < WORTH_ANOTHER_ROUND:
                break
        settled = decider.settled(folds)
        return Solution(settled.decide(folds.total), folds.total, replace(self, gamma=settled.gamma), corrections)

    def _put_right(
        self, given: Evidence, current: Evidence, ballot: Ballot, votes: Votes, decider: FlashSplat
    ) -> _PutRight:
        """The given masks as the current votes see them."""
        looks = list(self._looks(given, current, ballot, votes, decider))
        usual, edges_are_off = _usual_iou(given, looks), _share_moved(given, looks) >= WORTH_MOVING_ANY
        views, corrections, changed = PackedViews(len(given.views)), Corrections(), torch.zeros(2)
        for look in looks:
            comparison = look.comparison if edges_are_off else look.comparison.without_shifts()
            verdicts = judge(comparison, usual, look.decided, self.reject_below, self.rename)
            labels, counts = _arrays(look.given)
            consensus, before = look.consensus.unpacked(), look.current.unpacked()
            right = corrected(labels, counts, consensus, verdicts, given.objects, look.reach, self.blind_zones)
            views.put(look.given.position, look.given.camera, *right)
            after = marked(*right)
            changed += torch.tensor([(after != before).sum(), ((after > BACKGROUND) | (before > BACKGROUND)).sum()])
            corrections += Corrections.of(verdicts)
        different, of_objects = given.ranks.sum_tensor(changed.double()).tolist()
        return _PutRight(views, corrections.over(given.ranks), different / max(of_objects, 1.0))

    def _looks(
        self, given: Evidence, current: Evidence, ballot: Ballot, votes: Votes, decider: FlashSplat
    ) -> Iterator[_Look]:
        """Each of this rank's views beside what the others say."""
        everyone = decider.decide(votes)
        positions = given.ranks.share(len(given.views))
        for view, now in zip(given.views.read(positions), current.views.read(positions), strict=True):
            decided = everyone.ids
            if self.leave_one_out:
                own = Votes.of(ballot(given.rasterizer, given.splats, now, given.ids))
                decided = labels_without(everyone, votes, own, decider.decide)
            camera = view.camera
            shown = render_decided(given.rasterizer, given.splats, camera, decided, given.ids).numpy()
            reach = round(self.reach * math.hypot(camera.width, camera.height))
            comparison = compare(*_arrays(view), shown, given.objects, reach)
            yield _Look(view, _packed(now), PackedMap.of(shown), comparison, _present(given.ids, decided), reach)


class _RememberedVotes:
    """Each view's votes by mass; those that there is room for are counted once."""

    def __init__(self) -> None:
        self._room = REMEMBERED_BYTES
        self._kept: dict[int, ViewVotes] = {}

    def __call__(self, rasterizer: Rasterizer, splats: Splats, view: LabelledView, ids: Tensor) -> ViewVotes:
        if view.position in self._kept:
            return self._kept[view.position]
        votes = by_mass(rasterizer, splats, view, ids)
        size = sum(part.nbytes for part in vars(votes).values())
        if size <= self._room:
            self._room -= size
            self._kept[view.position] = votes
        return votes


@dataclass(frozen=True, eq=False)
class _PutRight:
    """Masks that have been put right."""

    views: PackedViews
    corrections: Corrections
    changed: float
    """How many pixels differ from those that have voted, as a share of the objects' pixels."""


@dataclass(frozen=True, eq=False)
class _Look:
    """A view beside what the others say of it."""

    given: LabelledView
    current: PackedMap
    """Its label map as it voted."""

    consensus: PackedMap
    comparison: Comparison
    decided: frozenset[int]
    """The labels that the others give to any Gaussian."""

    reach: int


def _usual_iou(given: Evidence, looks: list[_Look]) -> Mapping[int, float]:
    """For each object the median, over all views that have a mask of it, of the IoU with the consensus."""
    # Shifted by one, so that views of other ranks are zeros in the sum.
    shifted = torch.zeros(len(given.views), len(given.ids), dtype=torch.float64)
    column = {id: place for place, id in enumerate(given.ids.tolist())}
    for look in looks:
        for id, iou in zip(look.comparison.masks.tolist(), look.comparison.own_iou, strict=True):
            shifted[look.given.position, column[id]] = 1.0 + iou
    known = given.ranks.sum_tensor(shifted).numpy()
    return {id: float(np.median(part[part > 0] - 1.0)) for id, part in zip(column, known.T, strict=True) if part.any()}


def _share_moved(given: Evidence, looks: list[_Look]) -> float:
    """Of the masks of all views, how many would have to be moved."""
    counts = [[look.comparison.moved, len(look.comparison.masks)] for look in looks]
    moved, masks = given.ranks.sum_tensor(torch.tensor([[0, 0], *counts]).sum(dim=0)).tolist()
    return moved / max(masks, 1)


def _present(ids: Tensor, labels: Tensor) -> frozenset[int]:
    """Those of the ids that are among the labels."""
    found = torch.bincount(column_of(ids, labels) + 1, minlength=len(ids) + 1)[1:]
    return frozenset(ids[found > 0].tolist())


def _arrays(view: LabelledView) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:  # [H, W] labels, and which count
    labels = view.labels.cpu().numpy().astype(np.int64)
    counts = np.ones(labels.shape, dtype=bool) if view.pixel_mask is None else view.pixel_mask.cpu().numpy()
    return labels, counts


def _packed(view: LabelledView) -> PackedMap:
    return PackedMap.of(marked(*_arrays(view)))
