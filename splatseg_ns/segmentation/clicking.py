"""From clicks to a document: objects that were found become its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from splatseg_ns.lift import BACKGROUND, UNSEEN, FlashSplat, Votes, name_of
from splatseg_ns.segmentation.document import Segmentation
from splatseg_ns.segmentation.partial import PartialObject
from splatseg_ns.segmentation.prompts import ObjectPrompts, prompts_from_json
from splatseg_ns.segmentation.propagate import FoundObject, Propagate
from splatseg_ns.segmentation.scene_object import Provenance, SceneObject

CLICKS = "clicks"
"""The solver that objects made by clicks name."""

LABELLED = "label"
"""The step in a history that says what decides by the votes."""


def earlier_prompts(document: Segmentation, name: str) -> ObjectPrompts | None:
    """The clicks by which an object of this name was made, if there is one."""
    if name not in document.names:
        return None
    entry = document.object(name)
    if entry.provenance.solver != CLICKS:
        raise ValueError(
            f"there is an object {name!r} that was not made by clicks; choose another name, or delete or rename that "
            "one with 'splatseg objects'"
        )
    # It may have had another name then.
    return replace(prompts_from_json(entry.provenance.prompts[0]), name=name)


def known_before(document: Segmentation, name: str, device: torch.device) -> PartialObject | None:
    """What earlier clicks have told about an object of this name, if there is one."""
    if name not in document.names:
        return None
    entry, votes = document.object(name), document.votes()
    if votes is None:
        share = document.rows(entry.id).float()
        return PartialObject(share.to(device), torch.ones_like(share).to(device))
    seen = votes.seen.float()
    share = votes.shares_of([entry.id])[:, 0].float()
    return PartialObject((share * seen).to(device), seen.to(device))


def with_found(document: Segmentation, found: Sequence[FoundObject], segmenter: str, config: Propagate) -> Segmentation:
    """The document with these objects, in place of those of the same names.

    Where an object meets others, each Gaussian belongs to the one with the largest share of it. What earlier objects of
    the same names had besides falls to the background.
    """
    for entry in found:
        document = _with_one(document, entry, Provenance((entry.prompts.as_json(),), CLICKS, asdict(config)))
    steps: dict[str, Any] = {"objects": [entry.prompts.name for entry in found], "segmenter": segmenter}
    document = document.with_entry("click", **steps, **asdict(config))
    if document.votes() is None or any(entry.operation == LABELLED for entry in document.history):
        return document
    # What decides by the votes is looked for here.
    return document.with_entry(LABELLED, solver=name_of(FlashSplat()), settled=asdict(FlashSplat()))


def owner_of_most(document: Segmentation, found: FoundObject) -> str | None:
    """The other object that has more than half of what was found, if there is one."""
    rows = found.known.rows.cpu()
    others = {entry.name: int((document.rows(entry.id) & rows).sum()) for entry in document.objects}
    others.pop(found.prompts.name, None)
    owner = max(others, key=others.__getitem__, default=None)
    return owner if owner is not None and 2 * others[owner] > int(rows.sum()) else None


def _with_one(document: Segmentation, found: FoundObject, made: Provenance) -> Segmentation:
    name = found.prompts.name
    before = document.object(name) if name in document.names else None
    entry = SceneObject.new(document.next_id, name, made) if before is None else replace(before, provenance=made)
    labels = document.labels.clone()
    labels[labels == entry.id] = BACKGROUND
    share, seen = found.known.share.cpu().double(), found.known.seen.cpu().double()
    labels[(labels == UNSEEN) & (seen > 0)] = BACKGROUND
    votes = document.votes()
    changed = document.with_objects(entry)
    if votes is None and document.objects:
        # Nothing is known of how clear the others are, so that no solver could decide between all of them again.
        labels[found.known.rows.cpu()] = entry.id
        return replace(changed, labels=labels)
    if votes is None:
        votes = Votes.zero(len(document), [BACKGROUND])
    votes = votes.with_share(entry.id, share, seen)
    # Votes still know objects that were deleted.
    of_objects = votes.with_only([BACKGROUND, *changed.ids])
    labels[FlashSplat().decide(of_objects).ids == entry.id] = entry.id
    return replace(changed, labels=labels).with_votes(votes)
