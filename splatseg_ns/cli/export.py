"""``splatseg export``: objects as .ply files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from splatseg_ns.cli.console import output, say, table
from splatseg_ns.cli.layers import LayerInputs
from splatseg_ns.cli.objects import chosen_objects
from splatseg_ns.cli.revote import isolated, placed_capture
from splatseg_ns.edit.extract import ExportedObject, export_objects, with_gamma
from splatseg_ns.lift import BACKGROUND
from splatseg_ns.segmentation import SceneObject, Segmentation


@dataclass(kw_only=True)
class Export(LayerInputs):
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
    """model: as the splats are; world: the frame of the capture's cameras (a .ply needs --data)."""

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
        before = document.counts()
        to_world = None
        if self.revote or self.frame_of_files == "world":
            placed = placed_capture(self, rasterizer, splats)
            if self.revote:
                document = isolated(rasterizer, splats, document, [entry.id for entry in chosen], placed)
            if self.frame_of_files == "world":
                to_world = self.to_world(placed.needed().frame)
        written = export_objects(self.out, splats, document, chosen, to_world)
        _print(written, before)
        say(f"wrote {self.out}")

    def _chosen(self, document: Segmentation) -> list[SceneObject]:
        if self.all == bool(self.objects):
            raise ValueError("give either --objects with some names or ids, or --all")
        if self.all:
            return list(document.objects)
        return chosen_objects(document, self.objects)


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
