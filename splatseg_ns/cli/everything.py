"""``splatseg everything``: all objects of a scene, found without being pointed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from PIL import Image
from torch import Tensor

from splatseg_ns.cli.console import Stopwatch, output, progress, say, table
from splatseg_ns.cli.inputs import chosen_views
from splatseg_ns.cli.segmenting import SegmenterInputs
from splatseg_ns.edit.extract import chosen_solver
from splatseg_ns.lift import BACKGROUND, Evidence, LabelledViews, Solution, name_of
from splatseg_ns.masks import CachedSegmenter, Segmenter, default_color
from splatseg_ns.masks.everything import AutomaticMasks, PictureMasks, automatic_masks
from splatseg_ns.masks.segmenter import reading_threads
from splatseg_ns.scene import Camera, Splats, View, atomic_write
from splatseg_ns.segmentation import Provenance, SceneObject, Segmentation
from splatseg_ns.segmentation.associate import Associate, Association, MaskedView, Thing, associate
from splatseg_ns.segmentation.clicked_scene import LONGEST_SIDE
from splatseg_ns.segmentation.comparison import painted
from splatseg_ns.segmentation.view_choice import spread_out


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
        config = Associate(
            level=self.level,
            least_support=self.min_support,
            min_views=self.min_views,
            min_gaussians=self.min_gaussians,
        )
        if self.view_count < 0:
            raise ValueError(f"--view-count is a number of views, or 0 for all, got {self.view_count}")
        watch = Stopwatch()
        with watch.stage("read"):
            capture = self.capture()
            looked_at = replace(capture, views=chosen_views(capture, self.views))
            splats = self.splats()
            rasterizer = self.rasterizer()
            segmenter = self.segmenter_model()
        with watch.stage("frame"):
            frame = self.frame(rasterizer, splats, capture)
            candidates = frame.move(looked_at).views
            order = spread_out([view.camera for view in candidates])
            chosen = sorted(order[: self.view_count or len(candidates)])
            views = [_WorkingView.of(candidates[place]) for place in chosen]
        if len(views) < config.min_views:
            raise ValueError(
                f"{len(views)} views are looked at, but an object needs masks in {config.min_views}; give more with "
                "--views and --view-count, or lower --min-views"
            )
        with watch.stage("masks"):
            found = self._find_masks(segmenter, views)
        masked = [MaskedView(view.camera, masks) for view, masks in zip(views, found, strict=True)]
        with watch.stage("association"), progress("association") as report:
            association = associate(rasterizer, splats, masked, config, report)
        if not association.things:
            raise ValueError(
                f"none of {sum(map(len, found))} masks in {len(views)} views is stable: {association.unstable} things "
                f"have masks in too few views, {association.small} too few Gaussians; give more views with "
                "--view-count, or lower --min-views or --min-support"
            )
        labelled = LabelledViews(
            replace(view, labels=label_map) for view, label_map in zip(views, association.label_maps, strict=True)
        )
        with watch.stage("votes"), progress("votes") as report:
            ids = [BACKGROUND, *range(1, len(association.things) + 1)]
            solution = solver.solve(Evidence.of(rasterizer, splats, labelled, ids, progress=report))
        document, lost = self._document(splats, segmenter, views, found, association, solution)
        if self.pictures is not None:
            with watch.stage("pictures"):
                write_sheets(self.pictures, views, found, association)
        with watch.stage("save"):
            store = self.store()
            replaced = store.exists()
            store.save(document)
        _print_objects(document, association, solution, len(views))
        prompts = sum(masks.prompts for masks in found)
        say(
            f"{sum(map(len, found))} masks in {len(views)} views, {prompts} points asked; "
            f"dropped: {association.unstable} things that too few views agree on, {association.small + lost} with "
            "too few Gaussians"
        )
        say(f"cameras and splats meet in {frame.name} frame")
        say(f"seconds: {watch}")
        say(f"{'replaced' if replaced else 'saved'} {store.folder}")
        if self.pictures is not None:
            say(f"wrote {self.pictures}")

    def _find_masks(self, segmenter: CachedSegmenter, views: Sequence[_WorkingView]) -> list[PictureMasks]:
        """The masks of all views; the next pictures are read while one is asked about."""
        found = []
        config = replace(self.masks, into_parts=self.masks.into_parts or self.level == "part")
        with progress("masks") as report, segmenter.prefetch(view.view.image() for view in views):
            for done, view in enumerate(views, 1):
                # Masks come out in the size that the embedding is said to be of.
                size = {"width": view.camera.width, "height": view.camera.height}
                embedding = replace(segmenter.embed(view.view.image()), **size)
                with reading_threads():
                    found.append(automatic_masks(segmenter, embedding, config))
                report(done, len(views))
        return found

    def _document(
        self,
        splats: Splats,
        segmenter: Segmenter,
        views: Sequence[_WorkingView],
        found: Sequence[PictureMasks],
        association: Association,
        solution: Solution,
    ) -> tuple[Segmentation, int]:
        """The objects that have Gaussians enough, and how many have not."""
        solver, settled = name_of(solution.solver), asdict(solution.solver)  # pyright: ignore[reportArgumentType]
        labels = solution.labels.ids.clone()
        objects, lost = [], 0
        for id, thing in enumerate(association.things, 1):
            rows = labels == id
            if int(rows.sum()) < self.min_gaussians:
                labels[rows] = BACKGROUND
                lost += 1
                continue
            prompt = {"everything": segmenter.name, "level": self.level, "views": len(thing.masks)}
            objects.append(SceneObject.new(id, f"object_{id}", Provenance((prompt,), solver, settled)))
        data = self.scene.data
        document = Segmentation.of(splats, labels, objects, solution.votes).with_entry(
            "everything",
            segmenter=segmenter.name,
            views=[view.name for view in views],
            level=self.level,
            min_views=self.min_views,
            min_support=self.min_support,
            min_gaussians=self.min_gaussians,
            masks=asdict(self.masks),
            found=sum(map(len, found)),
        )
        # Export and removal look here for what decides by the votes.
        source = str(data.resolve()) if data else ""
        return document.with_entry("label", data=source, solver=solver, settled=settled), lost


@dataclass(frozen=True, eq=False)
class _WorkingView:
    """A view in the size that masks are made and counted in."""

    view: View
    camera: Camera
    labels: Tensor | None = None  # [H, W] int64

    @staticmethod
    def of(view: View) -> _WorkingView:
        return _WorkingView(view, view.camera.at_most(LONGEST_SIDE))

    @property
    def name(self) -> str:
        return self.view.name

    def label_map(self) -> Tensor | None:
        return self.labels

    def valid_mask(self) -> Tensor | None:
        valid = self.view.valid_mask()
        return None if valid is None else self._fitted(valid[None].float(), "nearest")[0] > 0

    def image(self) -> Tensor:  # [H, W, 3] uint8
        picture = self.view.image().permute(2, 0, 1).float()
        return self._fitted(picture, "area").round().byte().permute(1, 2, 0)

    def _fitted(self, channels: Tensor, mode: str) -> Tensor:  # [C, H, W]
        return torch.nn.functional.interpolate(channels[None], (self.camera.height, self.camera.width), mode=mode)[0]


def write_sheets(
    folder: Path, views: Sequence[_WorkingView], found: Sequence[PictureMasks], association: Association
) -> None:
    """For each view three pictures side by side: as it is, all masks, the objects; white where nothing is said."""
    colors = {id: default_color(id) for id in range(1, len(association.things) + 1)}
    for view, masks, label_map in zip(views, found, association.label_maps, strict=True):
        picture = view.image()
        objects = painted(picture, label_map, colors)
        objects[label_map < 0] = 255
        path = folder / f"{view.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            Image.fromarray(torch.cat([picture, outlined(picture, masks), objects], dim=1).numpy()).save(
                stream, format="png"
            )


def outlined(
    picture: Tensor,  # [H, W, 3] uint8
    masks: PictureMasks,
) -> Tensor:  # [H, W, 3] uint8
    """A picture with the masks over it, small ones over large ones."""
    for number in masks.areas.argsort(descending=True, stable=True).tolist():
        picture = painted(picture, masks.mask(number).int(), {1: default_color(number + 1)}, strength=0.4)
    return picture


def _print_objects(document: Segmentation, association: Association, solution: Solution, views: int) -> None:
    counts = document.counts()
    rows = table(f"Objects in {views} views", "id", "name", "Gaussians", "margin", "views", "of those that see it")
    for entry in document.objects:
        thing: Thing = association.things[entry.id - 1]
        margin = solution.labels.margin[document.rows(entry.id)]
        rows.add_row(
            str(entry.id),
            entry.name,
            str(counts[entry.id]),
            f"{float(margin.mean()):.3f}",
            str(len(thing.masks)),
            f"{100 * thing.support:.0f} %",
        )
    output().print(rows)
