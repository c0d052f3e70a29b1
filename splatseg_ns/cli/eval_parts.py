"""``splatseg eval --parts``: kinds of parts judged by the maps of held-out views, beside what each view alone says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from splatseg_ns.cli.console import output, percent, progress, say, table
from splatseg_ns.cli.sheets import write_sheet
from splatseg_ns.edit import rows_of_objects
from splatseg_ns.lift import LabelledViews, Shares, render_label_map
from splatseg_ns.masks import LabelName
from splatseg_ns.masks.examples import Examples
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import BACKGROUND, Splats, View, error_line
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.comparison import painted
from splatseg_ns.segmentation.part_scores import ClassScores, ClassTally
from splatseg_ns.segmentation.parts import kinds_of
from splatseg_ns.segmentation.transfer import SHOWN, Classifier, shown_of
from splatseg_ns.segmentation.transfer_recipe import TransferRecipe


@dataclass(frozen=True, eq=False)
class Alone:
    """What each view alone says about its pixels."""

    classifier: Classifier
    examples: Examples

    def class_names(self) -> dict[int, str]:
        """Of the examples, by their ids."""
        return {id: self.examples.name(id).name for id in self.classifier.bank.classes}


def judge_parts(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[View],  # with true maps, in the frame of the splats
    parts: Segmentation,
    shares: Shares,
    truth_names: Mapping[int, LabelName],
    within: Tensor | None,  # [N] bool, the Gaussians of the objects in which parts were looked for
    alone: Alone | None,
    pictures: Path | None = None,
) -> tuple[ClassScores, ClassScores | None]:
    """The scores of the parts, and those of each view alone. Kinds and classes are compared by their names.

    Where parts were looked for in some objects only, pixels of other things do not count.
    """
    classes = classes_to_judge(parts, truth_names, alone)
    truth_ids = {name: id for id, name in classes.items()}
    of_parts = {part.id: truth_ids.get(part.kind or part.name, BACKGROUND) for part in parts.objects}
    of_examples = {}
    if alone is not None:
        of_examples = {id: truth_ids.get(name, BACKGROUND) for id, name in alone.class_names().items()}
    colors = {id: entry.color for id, entry in truth_names.items()}
    together, apart = ClassTally(classes), ClassTally(classes)
    labelled = LabelledViews(views)
    with progress("views") as report:
        for position, view in enumerate(views):
            for true in labelled.read([position]):
                counts = torch.ones_like(true.labels, dtype=torch.bool) if true.pixel_mask is None else true.pixel_mask
                if (objects := shown_of(rasterizer, splats, view.camera, within)) is not None:
                    counts = counts & (objects > SHOWN)
                drawn = render_label_map(rasterizer, splats, view.camera, shares, torch.tensor(parts.ids)).cpu()
                answers = [mapped(drawn, of_parts)]
                together.add(answers[0], true.labels, counts)
                if alone is not None:
                    answers.insert(0, mapped(alone.classifier.answer(view.image(), objects), of_examples))
                    apart.add(answers[0], true.labels, counts)
                if pictures is not None:
                    picture = view.image()
                    maps = (painted(picture, labels, colors) for labels in (true.labels, *answers))
                    write_sheet(pictures, view.name, [picture, *maps])
            report(position + 1, len(views))
    return together.scores(), None if alone is None else apart.scores()


def classes_to_judge(
    parts: Segmentation,
    truth_names: Mapping[int, LabelName],
    alone: Alone | None,
) -> dict[int, str]:
    """The classes of the true maps that the parts, or the examples, know of."""
    known = {*kinds_of(parts), *(alone.class_names() if alone is not None else {}).values()}
    classes = {id: entry.name for id, entry in truth_names.items() if entry.name in known}
    if not classes:
        names = ", ".join(entry.name for entry in truth_names.values())
        raise ValueError(
            f"no kind of part ({', '.join(sorted(known))}) is among the names of the true maps ({names or 'none'}); "
            "give them the same names in a labels.json"
        )
    if len(set(classes.values())) < len(classes):
        twice = next(name for name in classes.values() if list(classes.values()).count(name) > 1)
        raise ValueError(f"two ids of the true maps are called {twice!r}; give each class one id")
    return classes


def mapped(
    labels: Tensor,  # [H, W] integer
    ids: Mapping[int, int],
) -> Tensor:  # [H, W] int64
    """Other ids for labels, and 0 for those that have none."""
    found = torch.zeros_like(labels, dtype=torch.int64)
    for before, after in ids.items():
        found[labels == before] = after
    return found


def asked_rows(
    recipe: TransferRecipe | None,
    objects: Segmentation | None,
    device: torch.device,
) -> Tensor | None:  # [N] bool
    """The Gaussians of the objects in which parts were looked for; None if that was the whole scene."""
    if recipe is None or not recipe.objects:
        return None
    if objects is None:
        raise ValueError(
            f"parts were looked for in {', '.join(recipe.objects)}, and the objects are not there any more"
        )
    try:
        ids = [objects.object(name).id for name in recipe.objects]
    except LookupError as error:
        raise ValueError(
            f"parts were looked for in {', '.join(recipe.objects)}: {error}; find them again with 'splatseg transfer'"
        ) from error
    return rows_of_objects(objects, ids).to(device)


def alone_or_why(
    recipe: TransferRecipe | None,
    device: torch.device,
) -> tuple[Alone | None, str]:
    """What each view alone says, or the reason why that is not known."""
    if recipe is None:
        return None, "the parts were not found by examples, so there is nothing that each view alone says"
    try:
        return Alone(*recipe.classifier(device)), ""
    except (ValueError, LookupError, OSError, ImportError) as error:
        return None, f"what each view alone says cannot be had: {error_line(error)}"


def print_part_scores(together: ClassScores, alone: ClassScores | None, views: int) -> None:
    """A row for each class, and the means."""
    columns = ("2D recall", "2D IoU") if alone is not None else ()
    rows = table(f"Kinds of parts in {views} views", "views", "class", *columns, "3D recall", "3D IoU")
    for place, entry in enumerate(together.classes):
        beside = [] if alone is None else [alone.classes[place].recall, alone.classes[place].iou]
        rows.add_row(str(entry.views), entry.name, *map(percent, [*beside, entry.recall, entry.iou]))
    rows.add_section()
    beside = [] if alone is None else [alone.recall, alone.iou]
    rows.add_row("", "mean", *map(percent, [*beside, together.recall, together.iou]))
    output().print(rows)
    if alone is not None:
        say("2D: each view alone; 3D: the parts, by the votes of all views")


def part_scores_json(together: ClassScores, alone: ClassScores | None, views: int, why: str) -> str:
    """One JSON object; scores from 0 to 1; ``why`` there are none of each view alone."""
    content = {"views": views, **together.as_json(), "alone": {"missing": why} if alone is None else alone.as_json()}
    return json.dumps(content, indent=1)
