"""``splatseg remove``: the scene without some objects, as a run or a .ply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from splatseg_ns.cli.console import progress, say
from splatseg_ns.cli.derive import Derive, check_left
from splatseg_ns.cli.inpaint import InpaintOptions, fill_in, training_cameras, with_fill_entry
from splatseg_ns.cli.revote import Missing, placed_capture
from splatseg_ns.edit import NoHoleError, Take, Taken, name_of_objects, removal, taken_with
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats, chosen_views, error_line
from splatseg_ns.segmentation import Segmentation


@dataclass(kw_only=True)
class Remove(Derive):
    """Write the scene without some objects as a run that ns-viewer, ns-render, ns-export and ns-eval take.

    With the Gaussians of the objects go those that lean to them, that nobody has seen inside them, and that only they
    hid. What stood behind them shows as far as it was seen. The run that it is made from keeps everything. With --ply
    the scene is written as a .ply. With --inpaint what nobody has seen behind the objects is filled in.
    """

    gamma: float | Literal["auto"] = "auto"
    """How much goes with the objects: 0 what has most of its votes for them, -1 all that has any; auto takes a fifth
    of the votes for enough, and finds by the training views what would show for the first time."""

    grow: int = 0
    """Steps of neighbours around the objects that go too, for shadows and smears where they stood; a hole is left."""

    clean: bool = True
    """Take more than the Gaussians that are labelled as the objects."""

    inpaint: bool = False
    """Fill in what only the objects hid, as 'splatseg inpaint' does with a run that this command wrote without it."""

    fill: Annotated[InpaintOptions, tyro.conf.arg(name="")] = field(default_factory=InpaintOptions)

    def run(self) -> None:
        splats, document = self.load()
        removed = self.chosen(document)
        target = self.check_target(f"without-{name_of_objects(removed)}")
        ids = [entry.id for entry in removed]
        # Nobody should wait to be told of a wrong path.
        inpainter = self.fill.loaded(splats) if self.inpaint else None
        rasterizer = self.rasterizer()
        cameras = self._cameras(rasterizer, splats) if self.clean and self.gamma == "auto" else {}
        taken = self._taken(rasterizer, splats, document, ids, list(cameras.values()))
        say(f"taken: {taken.in_words()}")
        others = [id for id in document.ids if id not in ids]
        document, rows, new = removal(document, ids, self.scene.file), ~taken.rows, None
        check_left(rows)
        if inpainter is not None:
            cameras = cameras or training_cameras(self, rasterizer, splats)
            try:
                made = fill_in(rasterizer, splats, taken.rows, cameras, inpainter, self.fill)
            except NoHoleError as reason:
                say(f"nothing is filled in: {reason}")
            else:
                document = with_fill_entry(document, self.scene.file, self.fill)
                rows, new = made.stays, made.new
        self.write(target, splats, document, rows, others, added=new)

    def _taken(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        document: Segmentation,
        ids: Sequence[int],
        cameras: Sequence[Camera],
    ) -> Taken:
        if not self.clean:
            return taken_with(document, splats, ids, Take(gamma=1.0, grow=self.grow))
        config = Take(self.gamma, self.grow)
        with progress("looking behind") as report:
            return taken_with(document, splats, ids, config, rasterizer=rasterizer, cameras=cameras, progress=report)

    def _cameras(self, rasterizer: Rasterizer, splats: Splats) -> dict[str, Camera]:
        """That the splats were trained by, in their frame; none, and it says so, if they cannot be had."""
        placed = placed_capture(self, rasterizer, splats)
        if isinstance(placed, Missing):
            say(f"what only the objects hid stays, for that takes the training views ({error_line(placed.reason)})")
            return {}
        capture = placed.frame.move(placed.capture)
        return {view.name: view.camera for view in chosen_views(capture, ["train"])}
