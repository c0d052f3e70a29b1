"""What can be done to the objects of a document: functions that give a new one.

Labels stay a partition: what an object gains its former owner loses, and what it loses falls to the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.lift.labels import BACKGROUND
from splatseg_ns.masks import Color
from splatseg_ns.segmentation.document import ObjectRef, Segmentation
from splatseg_ns.segmentation.neighbours import Neighbourhood
from splatseg_ns.segmentation.scene_object import Provenance, SceneObject

Selection = Tensor | np.ndarray | ObjectRef
"""Gaussians: an [N] bool mask, or those of an object."""


def create(
    document: Segmentation, name: str, selection: Selection | None = None, provenance: Provenance | None = None
) -> Segmentation:
    """A new object of these Gaussians, empty by default."""
    entry = SceneObject.new(document.next_id, name, provenance)
    created = document.with_objects(entry)
    return created if selection is None else add(created, entry.id, selection)


def add(document: Segmentation, target: ObjectRef, selection: Selection) -> Segmentation:
    """The Gaussians become the object's; an object they are taken from stays, even if it has none left."""
    rows = rows_of(document, selection)
    return replace(document, labels=document.labels.masked_fill(rows, document.object(target).id))


def subtract(document: Segmentation, target: ObjectRef, selection: Selection) -> Segmentation:
    """The object loses these Gaussians."""
    return _keep(document, target, ~rows_of(document, selection))


def intersect(document: Segmentation, target: ObjectRef, selection: Selection) -> Segmentation:
    """The object loses all others than these Gaussians."""
    return _keep(document, target, rows_of(document, selection))


def rename(document: Segmentation, target: ObjectRef, name: str) -> Segmentation:
    """Call the object by another name, which no other has."""
    return document.with_objects(replace(document.object(target), name=name))


def recolor(document: Segmentation, target: ObjectRef, color: Color) -> Segmentation:
    """Show the object in another colour."""
    return document.with_objects(replace(document.object(target), color=color))


def set_visible(document: Segmentation, targets: Sequence[ObjectRef], visible: bool) -> Segmentation:
    """Show or hide objects; 0 stands for the background."""
    changed = [replace(document.object(target), visible=visible) for target in targets if target != BACKGROUND]
    background = visible if BACKGROUND in targets else document.background_visible
    return replace(document.with_objects(*changed), background_visible=background)


def show_only(document: Segmentation, targets: Sequence[ObjectRef]) -> Segmentation:
    """Show these objects and hide all else; 0 stands for the background."""
    return set_visible(set_visible(document, [BACKGROUND, *document.ids], False), targets, True)


def invert_visible(document: Segmentation) -> Segmentation:
    """Show the objects that are hidden and hide the others; the background stays as it is."""
    return document.with_objects(*(replace(entry, visible=not entry.visible) for entry in document.objects))


def delete(document: Segmentation, targets: Sequence[ObjectRef]) -> Segmentation:
    """Forget objects; their Gaussians fall to the background."""
    return _absorb(document, {document.object(target).id for target in targets}, BACKGROUND)


def merge(document: Segmentation, target: ObjectRef, others: Sequence[ObjectRef]) -> Segmentation:
    """All Gaussians of the others become the object's, and the others are forgotten."""
    kept = document.object(target)
    absorbed = {document.object(other).id for other in others}
    if kept.id in absorbed:
        raise ValueError(f"object {kept.name!r} cannot be merged with itself")
    return _absorb(document, absorbed, kept.id)


def grow(
    document: Segmentation,
    target: ObjectRef,
    neighbourhood: Neighbourhood,
    steps: int = 1,
    from_objects: bool = False,
) -> Segmentation:
    """The object gains the nearest neighbours of its Gaussians, ``steps`` times.

    It takes from the background and from what was never seen; from other objects only if told so.
    """
    entry = document.object(target)
    if steps < 1:
        raise ValueError(f"an object grows by at least one step, got {steps}")
    rows = document.rows(entry.id)
    allowed = torch.ones_like(rows) if from_objects else document.labels <= BACKGROUND
    for _ in range(steps):
        rows = rows | (neighbourhood.grown(rows) & allowed)
    return add(document, entry.id, rows)


def shrink(document: Segmentation, target: ObjectRef, neighbourhood: Neighbourhood, steps: int = 1) -> Segmentation:
    """The object loses its Gaussians that have neighbours outside it, ``steps`` times."""
    if steps < 1:
        raise ValueError(f"an object shrinks by at least one step, got {steps}")
    rows = document.rows(target)
    for _ in range(steps):
        rows = neighbourhood.shrunk(rows)
    return intersect(document, target, rows)


def largest_component(document: Segmentation, target: ObjectRef, neighbourhood: Neighbourhood) -> Segmentation:
    """The object loses what does not hang together with its largest part."""
    return intersect(document, target, neighbourhood.largest_component(document.rows(target)))


def rows_of(document: Segmentation, selection: Selection) -> Tensor:  # [N] bool
    """The mask of the selected Gaussians."""
    if isinstance(selection, int | str):
        return document.rows(selection)
    rows = torch.as_tensor(selection)
    if rows.dtype != torch.bool or tuple(rows.shape) != (len(document),):
        raise ValueError(
            f"a selection is an object or an [{len(document)}] mask of bools, got {rows.dtype} {list(rows.shape)}"
        )
    return rows.to(document.labels.device)


def _keep(document: Segmentation, target: ObjectRef, rows: Tensor) -> Segmentation:
    lost = document.rows(target) & ~rows
    return replace(document, labels=document.labels.masked_fill(lost, BACKGROUND))


def _absorb(document: Segmentation, absorbed: set[int], by: int) -> Segmentation:
    lost = torch.isin(document.labels, torch.tensor(sorted(absorbed), device=document.labels.device))
    objects = tuple(entry for entry in document.objects if entry.id not in absorbed)
    return replace(document, objects=objects, labels=document.labels.masked_fill(lost, by))
