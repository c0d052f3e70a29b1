"""``splatseg remove``: the scene without some objects, as a run or a .ply."""

from __future__ import annotations

from dataclasses import dataclass

from splatseg_ns.cli.derive import Derive
from splatseg_ns.edit import name_of_objects, removal, rows_of_objects


@dataclass(kw_only=True)
class Remove(Derive):
    """Write the scene without some objects as a run that ns-viewer, ns-render, ns-export and ns-eval take.

    The Gaussians of the objects are gone from it; what they hid stays the way it is. The run that it is made from
    keeps everything. With --ply the scene is written as a .ply.
    """

    def run(self) -> None:
        splats, document = self.load()
        removed = self.chosen(document)
        target = self.check_target(f"without-{name_of_objects(removed)}")
        ids = [entry.id for entry in removed]
        others = [id for id in document.ids if id not in ids]
        document = removal(document, ids, self.scene.file)
        self.write(target, splats, document, ~rows_of_objects(document, ids), others)
