"""``splatseg everything``: all objects of a scene, found without being pointed at."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torch import Tensor

from splatseg_ns.cli.console import Stopwatch, output, say, table
from splatseg_ns.cli.segmenting import SegmenterInputs
from splatseg_ns.cli.sheets import write_sheet
from splatseg_ns.edit.extract import chosen_solver
from splatseg_ns.masks import default_color
from splatseg_ns.masks.everything import AutomaticMasks, PictureMasks
from splatseg_ns.scene import chosen_views
from splatseg_ns.segmentation.associate import Associate
from splatseg_ns.segmentation.comparison import painted
from splatseg_ns.segmentation.everything import (
    FindEverything,
    FoundEverything,
    NothingStableError,
    TooFewViewsError,
    find_everything,
)


@dataclass(kw_only=True)
class Everything(SegmenterInputs):
    """Find all objects of a scene by themselves, and save them beside the splats.

    A segmenter looks for masks in some views. Masks that the same Gaussians vote for become one object; where views
    disagree about what is one object and what is two, most of them decide. Objects are called object_1 and so on, the
    largest first; 'splatseg objects' renames, deletes and merges them. Things like walls and tables are objects too.
    """

    views: tuple[str, ...] = ("train",)
    """The views to choose from: train, all, or names."""

    view_count: int = 16
    """How many of them are looked at, spread over the cameras; 0 for all."""

    level: Literal["object", "part"] = "object"
    """Of things within things: whole objects, or their parts."""

    min_views: int = Associate.min_views
    """Objects that fewer views have a mask of are dropped."""

    min_support: float = Associate.least_support
    """And those of which a smaller share of the views that see them has a mask."""

    min_gaussians: int = Associate.min_gaussians
    """And those with fewer Gaussians."""

    solver: Literal["robust", "flashsplat", "gradient"] = "robust"
    """What decides by the votes."""

    gamma: float | Literal["auto"] | None = None
    """Bias to the background, -1 to 1; auto takes what predicts held-out masks best. By default the solver's: 0."""

    pictures: Path | None = None
    """A folder for a sheet of each view: picture, all masks, the masks that were used."""

    masks: Annotated[AutomaticMasks, tyro.conf.arg(name="masks")] = field(default_factory=AutomaticMasks)

    def run(self) -> None:
        solver = chosen_solver(self.solver, self.gamma, "--gamma")
        if self.view_count < 0:
            raise ValueError(f"--view-count is a number of views, or 0 for all, got {self.view_count}")
        config = FindEverything(
            view_count=self.view_count or None,
            masks=self.masks,
            associate=Associate(
                level=self.level,
                least_support=self.min_support,
                min_views=self.min_views,
                min_gaussians=self.min_gaussians,
            ),
        )
        watch = Stopwatch()
        with watch.stage("read"):
            capture = self.capture()
            looked_at = replace(capture, views=chosen_views(capture, self.views))
            splats = self.splats()
            rasterizer = self.rasterizer()
            segmenter = self.segmenter_model()
        with watch.stage("frame"):
            frame = self.frame(rasterizer, splats, capture)
            views = frame.move(looked_at).views
        try:
            with watch.stages() as report:
                found = find_everything(
                    rasterizer, splats, views, segmenter, solver, config, data=self.scene.data, progress=report
                )
        except TooFewViewsError as error:
            raise ValueError(f"{error}; give more with --views and --view-count, or lower --min-views") from error
        except NothingStableError as error:
            raise ValueError(
                f"{error}; give more views with --view-count, or lower --min-views or --min-support"
            ) from error
        if self.pictures is not None:
            with watch.stage("pictures"):
                write_sheets(self.pictures, found)
        with watch.stage("save"):
            store = self.store()
            replaced = store.exists()
            store.save(found.document)
        _print_objects(found)
        prompts = sum(masks.prompts for masks in found.masks)
        say(
            f"{sum(map(len, found.masks))} masks in {len(found.views)} views, {prompts} points asked; "
            f"dropped: {found.unstable} things that too few views agree on, {found.small} with too few Gaussians"
        )
        say(f"cameras and splats meet in {frame.name} frame")
        say(f"seconds: {watch}")
        say(f"{'replaced' if replaced else 'saved'} {store.folder}")
        if self.pictures is not None:
            say(f"wrote {self.pictures}")


def write_sheets(folder: Path, found: FoundEverything) -> None:
    """For each view three pictures side by side: as it is, all masks, the objects; white where nothing is said."""
    colors = {id: default_color(id) for id in range(1, len(found.association.things) + 1)}
    for view, masks, label_map in zip(found.views, found.masks, found.association.label_maps, strict=True):
        picture = view.image()
        objects = painted(picture, label_map, colors)
        objects[label_map < 0] = 255
        write_sheet(folder, view.name, [picture, outlined(picture, masks), objects])


def outlined(
    picture: Tensor,  # [H, W, 3] uint8
    masks: PictureMasks,
) -> Tensor:  # [H, W, 3] uint8
    """A picture with the masks over it, small ones over large ones."""
    for number in masks.areas.argsort(descending=True, stable=True).tolist():
        picture = painted(picture, masks.mask(number).int(), {1: default_color(number + 1)}, strength=0.4)
    return picture


def _print_objects(found: FoundEverything) -> None:
    counts = found.document.counts()
    rows = table(
        f"Objects in {len(found.views)} views", "id", "name", "Gaussians", "margin", "views", "of those that see it"
    )
    for entry in found.document.objects:
        thing = found.thing(entry.id)
        margin = found.solution.labels.margin[found.document.rows(entry.id)]
        rows.add_row(
            str(entry.id),
            entry.name,
            str(counts[entry.id]),
            f"{float(margin.mean()):.3f}",
            str(len(thing.masks)),
            f"{100 * thing.support:.0f} %",
        )
    output().print(rows)
