"""``splatseg extract``: objects as a run, or a .ply, of their own."""

from __future__ import annotations

from dataclasses import dataclass

from splatseg_ns.cli.derive import Derive
from splatseg_ns.cli.revote import isolated, placed_capture
from splatseg_ns.edit import extraction, name_of_objects, rows_of_objects


@dataclass(kw_only=True)
class Extract(Derive):
    """Write objects, and nothing else of the scene, as a run that ns-viewer, ns-render, ns-export and ns-eval take.

    As with 'splatseg export' objects lose what was hidden in them and shows only once they stand alone. The run that
    they are taken from stays as it is. With --ply the objects are written as a .ply.
    """

    revote: bool = True
    """Drop what does not belong to an object that stands alone."""

    def run(self) -> None:
        splats, document = self.load()
        chosen = self.chosen(document)
        target = self.check_target(name_of_objects(chosen))
        ids = [entry.id for entry in chosen]
        if self.revote:
            rasterizer = self.rasterizer()
            placed = placed_capture(self, rasterizer, splats)
            document = isolated(rasterizer, splats, document, ids, placed)
        document = extraction(document, ids, self.scene.file)
        self.write(target, splats, document, rows_of_objects(document, ids), ids)
