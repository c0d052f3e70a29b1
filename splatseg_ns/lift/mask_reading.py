"""What a view's masks mean, read beside what all other views say: whose they are, and how far their edges are off."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatseg_ns.lift.labels import BACKGROUND, UNSEEN
from splatseg_ns.lift.mask_edges import EdgeDistance, Mask, beyond_opening, gaps

Ids = NDArray[np.int64]

WORTH_MOVING = 0.9
"""A moved edge is believed if it leaves no more than this of the disagreement."""

FRAYED = 2.0
"""A mask with this many times the edge pixels of its object is speckled; no move of the edge can put that right."""

OWN_NAME = 0.2
"""What its own name counts for, in IoU, when masks and objects are matched."""

RENAME_FROM = 0.5
"""The least IoU of a mask with another object to be taken for that one."""

LEAST_KNOWN = 0.5
"""Of a mask whose pixels are known to others by less than this share nobody can say that it is wrong."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Each mask of a view beside each object that the other views show there."""

    masks: Ids  # [M] ids in the view's label map
    objects: Ids  # [J] ids in the consensus
    iou: NDArray[np.float64]  # [M, J] at the best shift
    shift: Ids  # [M, J] pixels by which the mask's edge is to be moved inwards; below 0 outwards
    known: NDArray[np.float64]  # [M] share of the mask's pixels of which the other views say anything

    @property
    def own_iou(self) -> NDArray[np.float64]:  # [M]
        """Of each mask with the object whose name it has; 0 if that does not show."""
        return np.where(self.own, self.iou, 0.0).sum(axis=1)

    @property
    def moved(self) -> int:
        """How many masks would have to be moved to fit the object whose name they have."""
        return int((self.own & (self.shift != 0)).sum())

    def without_shifts(self) -> Comparison:
        """The same with all edges where they are."""
        return replace(self, shift=np.zeros_like(self.shift))

    @property
    def own(self) -> NDArray[np.bool_]:  # [M, J]
        """Which object has the name of each mask."""
        return self.masks[:, None] == self.objects


def compare(
    labels: Ids,  # [H, W] the view's label map
    counts: Mask,  # [H, W] False: the pixel says nothing
    consensus: Ids,  # [H, W] what the others say, UNSEEN where they say nothing
    objects: Collection[int],  # the ids that are masks and objects; all others are background
    reach: int,  # pixels by which edges may be off
) -> Comparison:
    """The IoU of every mask with every object, over the pixels that both know, at the shift that fits best."""
    wanted = np.array(sorted(objects), dtype=np.int64)
    place = _places(wanted, labels)
    shown = counts & (consensus != UNSEEN)
    shown_place = _places(wanted, consensus)
    masks = np.flatnonzero(np.bincount(place[counts], minlength=len(wanted) + 1)[1:])
    others = np.flatnonzero(np.bincount(shown_place[shown], minlength=len(wanted) + 1)[1:])
    # Column 0 takes the background, the last one the pixels that do not count.
    column_of_place = np.zeros(len(wanted) + 1, dtype=np.int64)
    column_of_place[others + 1] = np.arange(len(others)) + 1
    column = np.where(shown, column_of_place[shown_place], len(others) + 1)
    of_object = np.bincount(column.ravel(), minlength=len(others) + 2)[1:-1]
    iou, shift = np.zeros((len(masks), len(others))), np.zeros((len(masks), len(others)), dtype=np.int64)
    known = np.zeros(len(masks))
    frayed = (
        _edge_pixels(place, len(wanted) + 1)[masks + 1, None] > FRAYED * _edge_pixels(column, len(others) + 2)[1:-1]
    )
    for row, id in enumerate(masks):
        mask = (place == id + 1) & counts
        known[row] = (mask & shown).sum() / mask.sum()
        by_shift = _iou_by_shift(EdgeDistance.of(mask, reach), column, of_object, reach)
        iou[row], shift[row] = _best_shift(by_shift, movable=~frayed[row])
    return Comparison(wanted[masks], wanted[others], iou, shift, known)


def _iou_by_shift(
    edge: EdgeDistance,
    column: Ids,  # [H, W] 0 background, 1 to J the objects, J + 1 pixels that do not count
    of_object: Ids,  # [J] pixels of each object
    reach: int,
) -> NDArray[np.float64]:  # [2 * reach + 1, J], for shifts from -reach to reach
    """The IoU of the mask, moved by each shift, with each object."""
    width = len(of_object) + 2
    level = np.clip(edge.level, -reach - 1, reach) + reach + 1
    counted = np.bincount((level * width + column[edge.window]).ravel(), minlength=(2 * reach + 2) * width)
    # Summed from the deepest level outwards: what the mask moved by d holds of each object.
    inside = counted.reshape(-1, width)[::-1].cumsum(axis=0)[::-1][1:, :-1]
    shared, size = inside[:, 1:], inside.sum(axis=1, keepdims=True)
    return shared / np.maximum(size + of_object - shared, 1)


def _edge_pixels(
    values: Ids,  # [H, W] 0 to count - 1
    count: int,
) -> Ids:  # [count]
    """How many pixels of each value have a neighbour with another one, above, below, left or right."""
    at_edge = np.zeros(values.shape, dtype=bool)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differs = values[before] != values[after]
        at_edge[before] |= differs
        at_edge[after] |= differs
    return np.bincount(values[at_edge], minlength=count)


def _best_shift(
    iou: NDArray[np.float64],  # [2 * reach + 1, J]
    movable: NDArray[np.bool_],  # [J]
) -> tuple[NDArray[np.float64], Ids]:  # [J], [J]
    """The shift with the greatest IoU for each object, of equally good ones the smallest; 0 if it gains too little."""
    reach, objects = len(iou) // 2, np.arange(iou.shape[1])
    from_smallest = np.argsort(np.abs(np.arange(-reach, reach + 1)), kind="stable")
    best = from_smallest[iou[from_smallest].argmax(axis=0)]
    believed = 1.0 - iou[best, objects] <= WORTH_MOVING * (1.0 - iou[reach])
    best = np.where(believed & movable, best, reach)
    return iou[best, objects], best - reach


@dataclass(frozen=True)
class Verdict:
    """What is made of one mask."""

    mask: int
    """Its id in the label map."""

    object: int | None
    """The object that it is taken for; None: it says nothing."""

    shift: int = 0
    """Pixels by which its edge is moved inwards; below 0 outwards."""


def judge(
    comparison: Comparison,
    usual: Mapping[int, float],  # for each id the IoU that its masks usually have with their object
    decided: Collection[int],  # the ids that the other views give to any Gaussian
    reject_below: float,  # a share of what is usual
    rename: bool,
) -> list[Verdict]:
    """Whose each mask is: its own object's, another's, or nobody's."""
    matched = _match(comparison)
    verdicts = []
    for row, id in enumerate(comparison.masks.tolist()):
        at = matched.get(row)
        own = at is not None and comparison.objects[at] == id
        iou, shift = (0.0, 0) if at is None else (comparison.iou[row, at], int(comparison.shift[row, at]))
        nobody_knows = id not in decided or comparison.known[row] < LEAST_KNOWN
        if at is not None and own and iou >= reject_below * usual[id]:
            verdicts.append(Verdict(id, id, shift))
        elif at is not None and not own and rename and iou >= RENAME_FROM:
            verdicts.append(Verdict(id, int(comparison.objects[at]), shift))
        elif nobody_knows and comparison.iou[row].max(initial=0.0) < RENAME_FROM:
            verdicts.append(Verdict(id, id))
        else:
            verdicts.append(Verdict(id, None))
    return verdicts


def _match(comparison: Comparison) -> dict[int, int]:
    """Masks to objects, one to one, the best pairs first."""
    score = np.where(comparison.iou > 0, comparison.iou + OWN_NAME * comparison.own, 0.0)
    matched: dict[int, int] = {}
    free = set(range(len(comparison.objects)))
    for place in np.argsort(-score, axis=None, kind="stable"):
        row, at = divmod(int(place), score.shape[1])
        if score[row, at] > 0 and row not in matched and at in free:
            matched[row] = at
            free.remove(at)
    return matched


def corrected(
    labels: Ids,  # [H, W]
    counts: Mask,  # [H, W]
    consensus: Ids,  # [H, W]
    verdicts: Sequence[Verdict],
    objects: Collection[int],
    reach: int,
    blind_zones: bool,
) -> tuple[Ids, Mask]:  # the label map and the pixels that count
    """The view's label map with its masks renamed and moved, without the pixels of which it can no longer say anything.

    Where several masks claim a pixel the one it lies deepest in has it. Pixels are left out if they belonged to a mask
    that says nothing, if they show an object that has no mask here, and, next to a moved edge, where the mask could not
    have known: the thin parts that an eroded mask has lost, the gaps that a dilated one has filled.
    """
    moved = _moved_masks(labels, counts, verdicts, reach)
    is_background = moved == BACKGROUND
    said_by = {verdict.object for verdict in verdicts}
    silent = _among([verdict.mask for verdict in verdicts if verdict.object is None], labels)
    silent |= _among([id for id in objects if id not in said_by], consensus)
    silent &= is_background
    if blind_zones:
        for verdict in verdicts:
            if verdict.object is None or verdict.shift == 0:
                continue
            shown = consensus == verdict.object
            if verdict.shift < 0:
                silent |= beyond_opening(shown, -verdict.shift) & is_background
            else:
                silent |= gaps(shown, verdict.shift) & (moved == verdict.object)
    return moved, counts & ~silent


def _moved_masks(labels: Ids, counts: Mask, verdicts: Sequence[Verdict], reach: int) -> Ids:  # [H, W]
    """The label map of the masks that say something, where they are to be and with their new names."""
    moved = np.where(_among([verdict.mask for verdict in verdicts], labels), BACKGROUND, labels)
    speaking = [verdict for verdict in verdicts if verdict.object is not None]
    if not any(verdict.shift for verdict in speaking):
        for verdict in speaking:
            moved[labels == verdict.mask] = verdict.object
        return moved
    deepest = np.full(labels.shape, -np.inf, dtype=np.float32)
    for verdict in speaking:
        edge = EdgeDistance.of((labels == verdict.mask) & counts, reach)
        depth = edge.depth - verdict.shift
        claimed = (edge.level >= verdict.shift) & (depth > deepest[edge.window])
        moved[edge.window][claimed] = verdict.object
        deepest[edge.window][claimed] = depth[claimed]
    return moved


def _places(
    ids: Ids,  # [L] ascending
    labels: Ids,  # [H, W]
) -> Ids:  # [H, W]
    """1 + the place of each label among the ids, 0 if it is not there; without sorting the pixels."""
    if len(ids) == 0:
        return np.zeros_like(labels)
    place = np.searchsorted(ids, labels).clip(max=len(ids) - 1)
    return np.where(ids[place] == labels, place + 1, 0)


def _among(ids: Collection[int], labels: Ids) -> Mask:
    """Whether each label is one of the ids."""
    return _places(np.array(sorted(ids), dtype=np.int64), labels) > 0
