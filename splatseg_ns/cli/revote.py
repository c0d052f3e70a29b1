"""Objects that are to stand alone vote again, by the masks that they were made from if these can still be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from splatseg_ns.cli.console import progress, say
from splatseg_ns.cli.entry import error_line
from splatseg_ns.cli.inputs import SceneInputs, chosen_views
from splatseg_ns.edit.extract import isolate_by_masks, isolate_by_votes, last_labelling
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.clicking import CLICKS
from splatseg_ns.segmentation.frames import Frame


class Placed(NamedTuple):
    """A capture, and the way from its frame to that of the splats."""

    capture: Capture
    frame: Frame

    def needed(self) -> Placed:
        """It is there."""
        return self


@dataclass(frozen=True)
class Missing:
    """No capture, which matters only to what needs one."""

    reason: Exception

    def needed(self) -> Placed:
        """It is not there."""
        raise self.reason


def placed_capture(inputs: SceneInputs, rasterizer: Rasterizer, splats: Splats) -> Placed | Missing:
    """The capture and where it is, or why there is none; one that was named has to be there."""
    try:
        capture = inputs.capture()
    except (ValueError, LookupError, OSError) as error:
        if inputs.data is not None:
            raise
        return Missing(error)
    return Placed(capture, inputs.frame(rasterizer, splats, capture))


def isolated(
    rasterizer: Rasterizer,
    splats: Splats,
    document: Segmentation,
    objects: Sequence[int],
    placed: Placed | Missing,
) -> Segmentation:
    """The document without what its objects should not take along; says by what it was decided."""
    ids = [id for id in objects if bool(document.rows(id).any())]
    try:
        capture, frame = placed.needed()
        masks, views = masks_of(document, capture)
    except (ValueError, LookupError, OSError) as error:
        say(f"re-vote: by the votes that were kept, not by masks ({error_line(error)})")
        return isolate_by_votes(document, ids)
    clicked = [id for id in ids if document.object(id).provenance.solver == CLICKS]
    if clicked:
        say(f"re-vote: by the votes that were kept of {len(clicked)} objects made by clicks")
        document = isolate_by_votes(document, clicked)
    masked = [id for id in ids if id not in clicked]
    if not masked:
        return document
    say(f"re-vote: by the masks in {masks}")
    with progress("re-vote") as report:
        return isolate_by_masks(rasterizer, splats, frame.move(views), document, masked, report)


def masks_of(document: Segmentation, capture: Capture) -> tuple[Path, Capture]:
    """The masks that the document was made from, and the views that voted with their label maps."""
    made = last_labelling(document)
    if made is None or not {"masks", "views", "format"} <= made.keys():
        raise ValueError("the segmentation does not say from which masks it was made")
    masks = Path(made["masks"])
    folder = LabelFolder.open(masks, capture.names, LabelFolderConfig(**made["format"]))
    attached = folder.attach(capture)
    return masks, replace(attached, views=chosen_views(attached, made["views"]))
