"""``splatseg click``: clicks in a view become an object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from splatseg_ns.cli.click_sheet import save_click_sheet
from splatseg_ns.cli.console import Stopwatch, output, progress, say, table
from splatseg_ns.cli.segmenting import SegmenterInputs
from splatseg_ns.scene import Capture, chosen_views
from splatseg_ns.scene.matching import no_view
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.clicked_scene import ClickedScene
from splatseg_ns.segmentation.clicking import earlier_prompts, known_before, owner_of_most, with_found
from splatseg_ns.segmentation.prompts import Level, ObjectPrompts, ViewPrompts, read_prompts
from splatseg_ns.segmentation.propagate import FoundObject, Propagate, find_object
from splatseg_ns.segmentation.scene_object import free_name

_Pixel = tuple[float, float]


@dataclass(kw_only=True)
class Click(SegmenterInputs):
    """Make an object of what is clicked at in one view, and save it beside the splats.

    A segmenter is asked about the click in several views, and what it says there is put together in 3D. Clicks for an
    object that clicks have made before are added to those: --point where something is missing, --not where there is
    too much. Several objects at once come from a file: {"objects": [{"name": "mug", "views": [{"view": "frame_00001",
    "points": [[310, 140]], "negative": [[5, 5]], "box": [250, 90, 380, 200]}]}]}
    """

    view: str | None = None
    """The view in which --point, --not and --box are, by its name."""

    point: Annotated[tuple[_Pixel, ...], tyro.conf.UseAppendAction] = ()
    """A pixel on the object, X Y from the top left of the undistorted picture; may be repeated."""

    negative: Annotated[tuple[_Pixel, ...], tyro.conf.arg(name="not"), tyro.conf.UseAppendAction] = ()
    """A pixel off the object; may be repeated."""

    box: tuple[float, float, float, float] | None = None
    """A box around the object: left top right bottom."""

    name: str | None = None
    """What the object is called; object_1 and so on by default."""

    level: Level | None = None
    """How much is meant: auto (or object) takes what views agree on best; part less than that, group more."""

    fresh: bool = False
    """Forget the earlier clicks of the object of this name."""

    prompts: Path | None = None
    """Instead: a JSON file with the clicks for any number of objects."""

    views: tuple[str, ...] = ("train",)
    """The views that clicks are carried to: train, all, or names."""

    pictures: Path | None = None
    """A folder for a sheet of each object: all masks that were found, those that count and those that do not."""

    carry: Annotated[Propagate, tyro.conf.arg(name="carry")] = field(default_factory=Propagate)

    def run(self) -> None:
        watch = Stopwatch()
        with watch.stage("read"):
            capture = self.capture()
            document = self._document_before()
            wanted = self._wanted(document)
            clicked_in = {entry.view for prompts in wanted for entry in prompts.views if entry.camera is None}
            check_views(capture, clicked_in)
            splats = self.splats(document)
            if document is None:
                document = Segmentation.of(splats)
            document.check_splats(splats)
            rasterizer = self.rasterizer()
        with watch.stage("frame"):
            moved = self.frame(rasterizer, splats, capture).move(capture)
            carried_to = chosen_views(moved, self.views)
        with watch.stage("segmenter"):
            segmenter = self.segmenter_model()
        scene = ClickedScene(rasterizer, splats, carried_to, segmenter)
        for name in clicked_in:
            scene.add(moved.view(name))
        found = []
        for prompts in wanted:
            with watch.stage(prompts.name), progress(prompts.name) as report:
                before = None if self.fresh else known_before(document, prompts.name, splats.device)
                found.append(find_object(scene, prompts, self.carry, report, before))
        document = with_found(document, found, segmenter.name, self.carry)
        with watch.stage("save"):
            store = self.store()
            store.save(document)
        shown = [entry for entry in found if self.pictures is not None and entry.masks]
        for entry in shown:
            assert self.pictures is not None
            save_click_sheet(self.pictures, scene, document.object(entry.prompts.name), entry)
        _print_found(document, found)
        for entry in found:
            if (owner := owner_of_most(document, entry)) is not None:
                say(
                    f"{entry.prompts.name}: most of it belongs to {owner} already; for another outline delete that one "
                    "with 'splatseg objects' and click again"
                )
        say(f"seconds: {watch}")
        say(f"saved {store.folder}")
        if shown:
            say(f"wrote {self.pictures}")

    def _document_before(self) -> Segmentation | None:
        store = self.store()
        return store.load() if store.exists() else None

    def _wanted(self, document: Segmentation | None) -> list[ObjectPrompts]:
        """What is to be found, with the clicks that were made before."""
        single = (self.view, self.name, self.box, *self.point, *self.negative)
        if self.prompts is None:
            return [self._single(document)]
        if any(value is not None for value in single):
            raise ValueError("--prompts has the clicks of all objects; leave --view, --point and the like out")
        wanted = read_prompts(self.prompts)
        if self.level is not None:
            wanted = [replace(entry, level=self.level) for entry in wanted]
        return [self._after_earlier(entry, document) for entry in wanted]

    def _single(self, document: Segmentation | None) -> ObjectPrompts:
        if self.view is None:
            raise ValueError("which view is clicked in? give --view and --point X Y, or --prompts FILE")
        name = self.name or free_name(() if document is None else document.names)
        earlier = self._earlier(name, document)
        level = self.level or (earlier.level if earlier is not None else "auto")
        clicks = ViewPrompts(self.view, self.point, self.negative, self.box)
        return (ObjectPrompts(name, ()) if earlier is None else earlier).with_clicks(clicks).checked(level)

    def _after_earlier(self, prompts: ObjectPrompts, document: Segmentation | None) -> ObjectPrompts:
        if (earlier := self._earlier(prompts.name, document)) is None:
            return prompts.checked(prompts.level)
        for clicks in prompts.views:
            earlier = earlier.with_clicks(clicks)
        return earlier.checked(prompts.level)

    def _earlier(self, name: str, document: Segmentation | None) -> ObjectPrompts | None:
        # Also if they are forgotten: what was not made by clicks is not replaced.
        earlier = None if document is None else earlier_prompts(document, name)
        return None if self.fresh else earlier


def _print_found(document: Segmentation, found: Sequence[FoundObject]) -> None:
    counts = document.counts()
    rows = table("Objects", "id", "name", "Gaussians", "views", "rejected", "agreement", "could also be")
    for entry in found:
        made = document.object(entry.prompts.name)
        accepted = sum(used.accepted for used in entry.masks)
        others = ", ".join(str(meaning.gaussians) for meaning in entry.meanings[1:])
        rows.add_row(
            str(made.id),
            made.name,
            str(counts[made.id]),
            str(accepted),
            str(len(entry.masks) - accepted),
            f"{100 * entry.agreement:.0f} %",
            f"{others} Gaussians" if others else "-",
        )
    output().print(rows)


def check_views(capture: Capture, names: Iterable[str]) -> None:
    """Stop if the capture has no view of a name, and show those that are like it."""
    for name in names:
        if name not in capture.names:
            raise LookupError(f"{capture.folder}: {no_view(name, capture.names)}")
