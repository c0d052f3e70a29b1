"""``splatseg export``: objects as .ply files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from splatseg_ns.cli.console import output, progress, say, table
from splatseg_ns.cli.inputs import SceneInputs, chosen_views
from splatseg_ns.cli.objects import object_ref
from splatseg_ns.edit.extract import (
    ExportedObject,
    export_objects,
    isolate_by_masks,
    isolate_by_votes,
    last_labelling,
    with_gamma,
)
from splatseg_ns.lift import BACKGROUND
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats
from splatseg_ns.segmentation import SceneObject, Segmentation
from splatseg_ns.segmentation.frames import Frame


@dataclass(kw_only=True)
class Export(SceneInputs):
    """Write objects as standard .ply files, all other Gaussians as remainder.ply, and the labels as labels.npz.

    An object loses what was hidden in it and shows only once it stands alone: its Gaussians vote again, drawn without
    the others, by the masks that it was made from, or by the votes that were kept if the masks are gone.
    """

    out: Path
    """The folder to write into."""

    objects: tuple[str, ...] = ()
    """Names or ids."""

    all: bool = False
    """All objects."""

    frame_of_files: Annotated[Literal["model", "world"], tyro.conf.arg(name="frame")] = "model"
    """model: as the splats are; world: the frame of the capture's cameras (needs --data)."""

    gamma: float | None = None
    """Decide by the votes again with this bias to the background; what was edited by hand stays."""

    revote: bool = True
    """Drop what does not belong to an object that stands alone."""

    def run(self) -> None:
        splats, document = self.load()
        chosen = self._chosen(document)
        rasterizer = self.rasterizer()
        if self.gamma is not None:
            document = with_gamma(document, self.gamma)
        capture, frame = None, None
        if self.data is not None or self.frame_of_files == "world":
            capture = self.capture()
            frame = self.frame(rasterizer, splats, capture)
        before = document.counts()
        if self.revote:
            document = self._isolated(rasterizer, splats, document, chosen, capture, frame)
        to_world = None
        if self.frame_of_files == "world" and frame is not None:
            to_world = torch.linalg.inv(frame.from_capture)
        written = export_objects(self.out, splats, document, chosen, to_world)
        _print(written, before)
        say(f"wrote {self.out}")

    def _chosen(self, document: Segmentation) -> list[SceneObject]:
        if self.all == bool(self.objects):
            raise ValueError("give either --objects with some names or ids, or --all")
        if self.all:
            return list(document.objects)
        found = {(entry := document.object(object_ref(document, word))).id: entry for word in self.objects}
        return list(found.values())

    def _isolated(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        document: Segmentation,
        chosen: list[SceneObject],
        capture: Capture | None,
        frame: Frame | None,
    ) -> Segmentation:
        ids = [entry.id for entry in chosen if bool(document.rows(entry.id).any())]
        if capture is None or frame is None:
            reason = "no --data"
        else:
            try:
                masks, views = masks_of(document, capture)
            except (ValueError, LookupError, OSError) as error:
                reason = str(error)
            else:
                say(f"re-vote: by the masks in {masks}")
                with progress("re-vote") as report:
                    return isolate_by_masks(rasterizer, splats, frame.move(views), document, ids, report)
        say(f"re-vote: by the votes that were kept, not by masks ({reason})")
        return isolate_by_votes(document, ids)


def masks_of(document: Segmentation, capture: Capture) -> tuple[Path, Capture]:
    """The masks that the document was made from, and the views that voted with their label maps."""
    made = last_labelling(document)
    if made is None or not {"masks", "views", "format"} <= made.keys():
        raise ValueError("the segmentation does not say from which masks it was made")
    masks = Path(made["masks"])
    folder = LabelFolder.open(masks, capture.names, LabelFolderConfig(**made["format"]))
    attached = folder.attach(capture)
    return masks, replace(attached, views=chosen_views(attached, made["views"]))


def _print(written: list[ExportedObject], before: dict[int, int]) -> None:
    rows = table("Files", "id", "name", "Gaussians", "dropped", "file")
    for entry in written:
        id = entry.object.id if entry.object is not None else BACKGROUND
        rows.add_row(
            str(id) if id else "",
            entry.object.name if entry.object is not None else "(remainder)",
            str(entry.count),
            str(before[id] - entry.count) if id else "",
            entry.path.name if entry.path is not None else "(empty, not written)",
        )
    output().print(rows)
