"""Objects that are to stand alone vote again, by the masks that they were made from if these can still be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from splatseg_ns.edit.extract import isolate_by_masks, isolate_by_votes, last_labelling
from splatseg_ns.lift import Progress
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats, View, chosen_views, error_line
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.clicking import CLICKS

MaskedViews = Callable[[], tuple[Path, Iterable[View]]]
"""Finds the masks and, in the frame of the splats, the views that they belong to; raises if they cannot be had."""


def isolate(
    rasterizer: Rasterizer,
    splats: Splats,
    document: Segmentation,
    objects: Sequence[int],
    masks: MaskedViews,
    progress: Progress | None = None,
) -> tuple[Segmentation, list[str]]:
    """The document without what its objects should not take along, and in words by what that was decided."""
    ids = [id for id in objects if bool(document.rows(id).any())]
    try:
        folder, views = masks()
    except (ValueError, LookupError, OSError) as error:
        reason = f"by the votes that were kept, not by masks ({error_line(error)})"
        return isolate_by_votes(document, ids), [reason]
    decided_by = []
    clicked = [id for id in ids if document.object(id).provenance.solver == CLICKS]
    if clicked:
        decided_by.append(f"by the votes that were kept of {len(clicked)} objects made by clicks")
        document = isolate_by_votes(document, clicked)
    masked = [id for id in ids if id not in clicked]
    if masked:
        decided_by.append(f"by the masks in {folder}")
        document = isolate_by_masks(rasterizer, splats, views, document, masked, progress)
    return document, decided_by


def masks_of(document: Segmentation, capture: Capture) -> tuple[Path, Capture]:
    """The masks that the document was made from, and the views that voted with their label maps."""
    made = last_labelling(document)
    if made is None or not {"masks", "views", "format"} <= made.keys():
        raise ValueError("the segmentation does not say from which masks it was made")
    masks = Path(made["masks"])
    folder = LabelFolder.open(masks, capture.names, LabelFolderConfig(**made["format"]))
    attached = folder.attach(capture)
    return masks, replace(attached, views=chosen_views(attached, made["views"]))
