"""Some Gaussians of a scene as a scene of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from splatseg_ns.lift import BACKGROUND, UNSEEN
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.document import fingerprint_of
from splatseg_ns.segmentation.operations import set_visible


def rows_of_objects(document: Segmentation, objects: Sequence[int]) -> Tensor:  # [N] bool
    """The Gaussians of any of these objects."""
    return torch.isin(document.labels, torch.tensor(list(objects), dtype=torch.int64))


def extraction(document: Segmentation, objects: Sequence[int], source: Path) -> Segmentation:
    """The document of a scene of these objects alone; ``source`` is what they are taken from."""
    # They are what the new scene is for, hidden or not in the old one.
    shown = set_visible(document, list(objects), True)
    return shown.with_entry("extract", source=str(source.resolve()), objects=list(objects))


def removal(document: Segmentation, objects: Sequence[int], source: Path) -> Segmentation:
    """The document of a scene without these objects; ``source`` is what they are taken from."""
    return document.with_entry("remove", source=str(source.resolve()), objects=list(objects))


def part_of(
    document: Segmentation,
    splats: Splats,
    rows: Tensor,  # [N] bool
    objects: Sequence[int],
) -> tuple[Splats, Segmentation]:
    """The chosen Gaussians, and the document that belongs to them: of these objects, with the votes that are kept."""
    part = splats.subset(rows.to(splats.device))
    votes = document.votes()
    labels = document.labels[rows]
    kept = replace(
        document,
        objects=tuple(document.object(id) for id in objects),
        labels=labels.where(torch.isin(labels, torch.tensor([UNSEEN, *objects])), BACKGROUND),
        fingerprint=fingerprint_of(part.means),
        votes_source=None,
    )
    return part, kept.with_votes(None if votes is None else votes.of_rows(rows.nonzero().flatten()))
