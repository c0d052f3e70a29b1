"""Parts of objects: a layer beside the objects of a document, and a document itself.

A Gaussian has a label in each of the two layers. So parts are shown, renamed, exported and taken out as objects are,
and the objects stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from splatseg_ns.lift import BACKGROUND
from splatseg_ns.masks import LabelName
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation.document import Segmentation
from splatseg_ns.segmentation.scene_object import Provenance, SceneObject, unique_name
from splatseg_ns.segmentation.store import SegmentationStore
from splatseg_ns.segmentation.transfer import Transferred


def parts_of_classes(
    splats: Splats,
    objects: Segmentation | None,
    transferred: Transferred,
    classes: Mapping[int, LabelName],
    provenance: Provenance,
    least: int = 1,
) -> Segmentation:
    """The layer of parts: each class on each object is one, and each class on what is in no object.

    Parts of fewer than ``least`` Gaussians are left out, and so are votes for them: what they had goes to its second
    choice. The votes come along, each for the part that its class is on its Gaussian's object, and decide the labels.
    """
    classed = transferred.labels.ids
    owners = torch.zeros_like(classed) if objects is None else objects.labels.clamp_min(BACKGROUND)
    parts: list[SceneObject] = []
    votes = transferred.votes
    voted_classes, voted_owners = votes.ids[votes.columns.long()], owners[votes.rows]
    voted = voted_classes.where(voted_classes == BACKGROUND, -1)
    pairs, counts = torch.stack([owners, classed], dim=1)[classed > BACKGROUND].unique(dim=0, return_counts=True)
    for owner, class_id in pairs[counts >= least].tolist():
        kind = classes[class_id]
        name = kind.name if objects is None or owner == BACKGROUND else f"{objects.object(owner).name} {kind.name}"
        name = unique_name(name, {part.name for part in parts})
        part = SceneObject(len(parts) + 1, name, kind.color, provenance=provenance, kind=kind.name)
        parts.append(part)
        voted = torch.where((voted_owners == owner) & (voted_classes == class_id), part.id, voted)
    with_parts = torch.isin(voted_owners, pairs[counts >= least][:, 0])
    kept = votes.relabelled(voted, silent=(voted < BACKGROUND) & with_parts)
    return Segmentation.of(splats, transferred.solver.decide(kept).ids, parts, kept)


def parts_of_splats(
    store: SegmentationStore,
    splats: Splats,
    tell: Callable[[str], object],
) -> Segmentation | None:
    """The layer of parts beside a document, if there is one and it is of these splats; tells why it stays behind."""
    if not store.parts.exists():
        return None
    try:
        return store.parts.load(splats)
    except ValueError as error:
        tell(f"the parts do not come along: {error}")
        return None


def owners_of(parts: Segmentation, objects: Segmentation) -> dict[int, SceneObject | None]:
    """The object that has most of each part's Gaussians, by the part's id; none if most are in no object.

    Found anew each time, so that it holds after objects have been edited or labelled again.
    """
    return {part.id: _owner_of(parts.rows(part.id), objects) for part in parts.objects}


def _owner_of(
    rows: Tensor,  # [N] bool
    objects: Segmentation,
) -> SceneObject | None:
    if not bool(rows.any()):
        return None
    owner = int(objects.labels[rows].clamp_min(BACKGROUND).bincount().argmax())
    return None if owner == BACKGROUND else objects.object(owner)


def kinds_of(parts: Segmentation) -> dict[str, list[int]]:
    """The ids of the parts of each kind."""
    found: dict[str, list[int]] = {}
    for part in parts.objects:
        found.setdefault(part.kind or part.name, []).append(part.id)
    return found
