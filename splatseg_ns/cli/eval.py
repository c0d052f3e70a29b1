"""``splatseg eval``: objects judged by the masks of held-out views."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from splatseg_ns.cli.console import output, percent, progress, say, table
from splatseg_ns.cli.eval_parts import alone_or_why, asked_rows, judge_parts, part_scores_json, print_part_scores
from splatseg_ns.cli.layers import LayerInputs
from splatseg_ns.cli.masks import hard_labels, mask_shares
from splatseg_ns.cli.objects import chosen_objects
from splatseg_ns.cli.sheets import write_sheet
from splatseg_ns.edit.alone import isolate, masks_of
from splatseg_ns.edit.extract import NoVotesError
from splatseg_ns.lift import LabelledViews
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats, View, chosen_views
from splatseg_ns.segmentation import SceneObject, Segmentation
from splatseg_ns.segmentation.comparison import differences, painted
from splatseg_ns.segmentation.evaluation import (
    SCORES,
    Evaluation,
    JudgedView,
    Panoptic,
    draw_objects,
    evaluate,
    panoptic_quality,
)
from splatseg_ns.segmentation.frames import Frame
from splatseg_ns.segmentation.transfer_recipe import recipe_of


@dataclass(kw_only=True)
class Eval(LayerInputs):
    """Judge the objects by the masks of views that did not vote.

    IoU, pixel accuracy and boundary IoU (2 % of the diagonal) of the masks that the objects have in the views, and the
    IoU of the silhouettes of objects that are extracted and drawn alone. Each IoU of an object is the mean over the
    views in which the truth shows it on at least 0.05 % of the picture; what is drawn in other views does not count
    there. Pooled IoU and accuracy are over the pixels of all views together. An object that no true one is matched
    with has the IoU 0, or none where it is not drawn either. Means are over the objects that have the score.

    With --parts: recall and IoU of each kind of part, as the parts have it and as each view alone has it, by the
    examples of the transfer. Both are means over the views that show the kind, then over the kinds. Where parts were
    looked for in some objects only, pixels of other things do not count.
    """

    masks: Path
    """The truth: a folder of label maps called like the views, a folder per object, or COCO json."""

    split: Literal["test", "val", "train", "all"] = "test"
    """Which views are judged."""

    objects: tuple[str, ...] = ()
    """Names or ids; all by default."""

    soft: bool = False
    """Judge the soft masks, drawn from the votes, instead of those of the labels."""

    panoptic: bool = False
    """Also the panoptic quality: ours are matched with true objects by an IoU above one half, whatever their names."""

    json: bool = False
    """Print one JSON object; scores from 0 to 1."""

    examples: Path | None = None
    """With --parts: the examples of the transfer, if they have been moved."""

    pictures: Path | None = None
    """A folder for sheets of each view: picture, truth, ours, difference."""

    format: Annotated[LabelFolderConfig, tyro.conf.arg(name="")] = field(default_factory=LabelFolderConfig)

    def run(self) -> None:
        self._check_options()
        splats, document = self.load()
        chosen = chosen_objects(document, self.objects) or list(document.objects)
        if not chosen:
            raise ValueError(f"{self.store().folder}: the segmentation has no objects to judge")
        rasterizer = self.rasterizer()
        capture = self.capture()
        folder = LabelFolder.open(self.masks, capture.names, self.format)
        attached = folder.attach(capture)
        views = chosen_views(attached, [self.split])
        if not any(view.label_source for view in views):
            raise ValueError(f"{self.masks}: none of the {len(views)} views of --split {self.split} has a label map")
        frame = self.frame(rasterizer, splats, capture)
        moved = frame.move(replace(attached, views=views)).views
        if self.parts:
            self._judge_parts(rasterizer, splats, moved, document, folder)
            return
        labelled = LabelledViews(moved)
        shares = mask_shares(document) if self.soft else hard_labels(document)
        with progress("masks") as report:
            judged = draw_objects(rasterizer, splats, labelled, shares, document.ids, report)
        alone = self._alone(rasterizer, splats, document, chosen, capture, frame)
        truth_names = {id: entry.name for id, entry in folder.names.items()}
        with progress("scores") as report:
            result = evaluate(rasterizer, splats, labelled, judged, chosen, alone, truth_names, report)
        if self.pictures is not None:
            write_sheets(self.pictures, moved, judged, chosen, result)
        panoptic = panoptic_quality(judged, [entry.id for entry in chosen]) if self.panoptic else None
        if self.json:
            content = result.as_json()
            print(json.dumps(content if panoptic is None else {**content, "panoptic": panoptic.as_json()}, indent=1))
            return
        _print_scores(result)
        if panoptic is not None:
            _print_panoptic(panoptic)
        if self.pictures is not None:
            say(f"wrote {self.pictures}")

    def _check_options(self) -> None:
        if self.examples is not None and not self.parts:
            raise ValueError("--examples is about parts; give --parts with it, or leave it out")
        if self.parts and (self.objects or self.panoptic):
            raise ValueError("--parts judges all kinds of parts; leave --objects and --panoptic out")

    def _judge_parts(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        views: Sequence[View],
        parts: Segmentation,
        folder: LabelFolder,
    ) -> None:
        recipe, device = recipe_of(parts, self.examples), self.torch_device()
        within = asked_rows(recipe, self.objects_beside(splats), device)
        alone, why = alone_or_why(recipe, device)
        judged = [view for view in views if view.label_source]
        shares = mask_shares(parts) if self.soft else hard_labels(parts)
        together, apart = judge_parts(
            rasterizer, splats, judged, parts, shares, folder.names, within, alone, self.pictures
        )
        if self.json:
            print(part_scores_json(together, apart, len(judged), why))
            return
        print_part_scores(together, apart, len(judged))
        if within is not None:
            say(f"parts were looked for in {', '.join(recipe.objects if recipe else ())}; other pixels do not count")
        if left := [name.name for name in folder.names.values() if name.name not in together.names]:
            say(f"not judged, because neither parts nor examples know of them: {', '.join(left)}")
        if why:
            say(why)
        if self.pictures is not None:
            say(f"wrote {self.pictures}")

    def _alone(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        document: Segmentation,
        chosen: Sequence[SceneObject],
        capture: Capture,
        frame: Frame,
    ) -> Tensor:  # [N] int64
        """The labels that ``splatseg export`` would write."""

        def masks() -> tuple[Path, Iterable[View]]:
            folder, views = masks_of(document, capture)
            return folder, frame.move(views)

        try:
            with progress("re-vote") as report:
                alone, _ = isolate(rasterizer, splats, document, [entry.id for entry in chosen], masks, report)
        except NoVotesError:
            return document.labels
        return alone.labels


def write_sheets(
    folder: Path,
    views: Sequence[View],
    judged: Sequence[JudgedView],
    objects: Sequence[SceneObject],
    result: Evaluation,
) -> None:
    """For each view four pictures side by side: as it is, truth, ours, difference."""
    colors = {entry.id: entry.color for entry in objects}
    truth_ids = {score.id: score.truth_id for score in result.objects if score.truth_id is not None}
    truth_colors = {truth_id: colors[id] for id, truth_id in truth_ids.items()}
    for entry in judged:
        view = views[entry.position]
        picture = view.image()
        wrong = torch.zeros_like(entry.counts)
        for id in colors:
            true = entry.truth == truth_ids[id] if id in truth_ids else torch.zeros_like(entry.counts)
            wrong |= (entry.drawn == id) != true
        parts = [
            picture,
            painted(picture, entry.truth, truth_colors),
            painted(picture, entry.drawn, colors),
            differences(picture, wrong & entry.counts),
        ]
        write_sheet(folder, view.name, parts)


def _print_scores(result: Evaluation) -> None:
    rows = table(
        f"Objects in {result.views} views",
        *("id", "name", "truth", "IoU", "pooled IoU", "accuracy", "boundary IoU", "silhouette > .5", "> .1"),
    )
    for entry in result.objects:
        truth = f"{entry.truth_name} (by {entry.matched_by})" if entry.truth_id is not None else "none"
        rows.add_row(str(entry.id), entry.name, truth, *(percent(getattr(entry, score)) for score in SCORES))
    rows.add_section()
    rows.add_row("", "mean", "", *(percent(result.mean(score)) for score in SCORES))
    output().print(rows)


def _print_panoptic(panoptic: Panoptic) -> None:
    say(
        f"panoptic quality {percent(panoptic.quality)} = segmentation {percent(panoptic.segmentation_quality)} x "
        f"recognition {percent(panoptic.recognition_quality)}: {len(panoptic.matched)} found, {len(panoptic.missed)} "
        f"missed, {len(panoptic.extra)} too many; {len(panoptic.beyond)} lie on the truth's background and do not "
        f"count (with them {percent(panoptic.strict_quality)})"
    )
