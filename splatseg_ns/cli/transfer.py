"""``splatseg transfer``: parts, such as handles and blades, found by a few annotated pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from splatseg_ns.cli.console import Stopwatch, output, progress, say, table
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.cli.masks import hard_labels
from splatseg_ns.cli.objects import chosen_objects
from splatseg_ns.cli.sheets import write_sheet
from splatseg_ns.edit import rows_of_objects
from splatseg_ns.lift import name_of, render_label_map
from splatseg_ns.masks import Color, LabelFolderConfig, LabelName
from splatseg_ns.masks.examples import Examples
from splatseg_ns.masks.memory_bank import Knn
from splatseg_ns.masks.upsample import Upsampling
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats, View, chosen_views
from splatseg_ns.segmentation import Provenance, SceneObject, Segmentation
from splatseg_ns.segmentation.comparison import painted
from splatseg_ns.segmentation.parts import owners_of, parts_of_classes
from splatseg_ns.segmentation.transfer import (
    Classifier,
    NothingKnownError,
    Transferred,
    Voting,
    shown_of,
    transfer,
)
from splatseg_ns.segmentation.transfer import Transfer as TransferConfig
from splatseg_ns.segmentation.transfer_recipe import TRANSFER, FeatureConfig, TransferRecipe


@dataclass(kw_only=True)
class Transfer(SceneInputs):
    """Find parts of objects by a few annotated pictures, of this scene or of other things of the kind.

    Each patch of each view is compared with all patches of the examples; the most similar ones say which class it is
    of, and all views vote. Each class on each object becomes a part, in a layer beside the objects: 'splatseg objects
    --parts' lists them, and --parts also goes with masks, export, extract, remove and eval.
    """

    examples: Path
    """A folder of pictures, annotated with labelme, or with label maps called like them in its folder labels."""

    objects: tuple[str, ...] = ()
    """Look for parts of these objects only, by names or ids; by default in the whole scene."""

    views: tuple[str, ...] = ("train",)
    """The views that vote: train, all, or names."""

    background: bool | None = None
    """Whether what the examples leave out is an answer, too; by default it is, but not inside chosen --objects."""

    gamma: float = TransferConfig.gamma
    """Bias to what is of no class, -1 to 1: below 0 parts gain doubtful Gaussians."""

    min_gaussians: int = 20
    """Parts with fewer Gaussians are left out."""

    voting: Voting = TransferConfig.voting
    """shares: each class votes with its share of a pixel; labels: the likeliest votes; robust: put right first."""

    upsampling: Upsampling = TransferConfig.upsampling
    """From patches to pixels: guided by the edges of the picture, bilinear, or nearest."""

    pictures: Path | None = None
    """A folder for a sheet of each view: picture, what it alone says, what all views together say."""

    features: Annotated[FeatureConfig, tyro.conf.arg(name="")] = field(default_factory=FeatureConfig)
    knn: Annotated[Knn, tyro.conf.arg(name="")] = field(default_factory=Knn)
    format: Annotated[LabelFolderConfig, tyro.conf.arg(name="")] = field(default_factory=LabelFolderConfig)

    def run(self) -> None:
        config = TransferConfig(self.knn, self.upsampling, self.voting, self.gamma)
        watch = Stopwatch()
        with watch.stage("read"):
            splats, objects = self.load() if self.store().exists() or self.objects else (self.splats(), None)
            chosen = [] if objects is None else chosen_objects(objects, self.objects)
            within = None if objects is None or not chosen else _rows_of(objects, chosen).to(splats.device)
            recipe = TransferRecipe(
                self.examples,
                tuple(entry.name for entry in chosen),
                self.background,
                self.features,
                config,
                self.format,
            )
            rasterizer = self.rasterizer()
            capture = self.capture()
            voting = chosen_views(capture, self.views)
        with watch.stage("examples"), progress("examples") as report:
            classifier, examples = recipe.classifier(self.torch_device(), report)
        with watch.stage("frame"):
            views = self.frame(rasterizer, splats, capture).move(replace(capture, views=voting)).views
        with watch.stage("views"), progress("views") as report:
            try:
                found = transfer(rasterizer, splats, views, classifier, within, report)
            except NothingKnownError as error:
                raise ValueError(
                    f"{error}; lower --least-similarity ({self.knn.least_similarity}), or give other examples"
                ) from error
        parts = self._document(splats, objects, found, examples, recipe)
        store = self.store().parts
        replaced = store.exists()
        if not parts.objects:
            raise ValueError(
                f"{self.examples}: too few Gaussians are of its classes ({_class_names(classifier, examples)}), so "
                f"nothing is saved; lower --gamma ({self.gamma})" + ("" if chosen else ", or name --objects")
            )
        with watch.stage("save"):
            store.save(parts)
        _print_parts(parts, objects, found)
        pictures = f"{len(examples)} picture{'s' if len(examples) > 1 else ''}"
        say(f"{len(classifier.bank)} patches of {pictures}: {_patch_counts(classifier, examples)}")
        if self.pictures is not None:
            with watch.stage("pictures"):
                _write_sheets(self.pictures, rasterizer, splats, views, classifier, within, parts, examples)
            say(f"wrote {self.pictures}")
        say(f"seconds: {watch}")
        say(f"{'replaced' if replaced else 'saved'} {store.folder}")

    def _document(
        self,
        splats: Splats,
        objects: Segmentation | None,
        found: Transferred,
        examples: Examples,
        recipe: TransferRecipe,
    ) -> Segmentation:
        """The layer of parts, which can be decided again by another gamma, and says how it was made."""
        source = ({"examples": str(self.examples.resolve()), "features": self.features.features},)
        solver, settled = name_of(found.solver), vars(found.solver)
        classes = {id: examples.name(id) for id in found.votes.ids.tolist()}
        made = Provenance(source, solver, settled)
        parts = parts_of_classes(splats, objects, found, classes, made, self.min_gaussians)
        noted = parts.with_entry(TRANSFER, **recipe.as_json(), views=list(self.views))
        return noted.with_entry("label", solver=solver, settled=settled)


def _rows_of(objects: Segmentation, chosen: Sequence[SceneObject]) -> Tensor:  # [N] bool
    rows = rows_of_objects(objects, [entry.id for entry in chosen])
    if not bool(rows.any()):
        raise ValueError(f"{', '.join(entry.name for entry in chosen)}: has no Gaussians to find parts of")
    return rows


def _print_parts(parts: Segmentation, objects: Segmentation | None, found: Transferred) -> None:
    counts = parts.counts()
    owners = {} if objects is None else owners_of(parts, objects)
    rows = table("Parts", "id", "name", "object", "Gaussians", "margin")
    for part in parts.objects:
        owner = owners.get(part.id)
        margin = float(found.labels.margin[parts.rows(part.id)].mean())
        rows.add_row(str(part.id), part.name, owner.name if owner else "-", str(counts[part.id]), f"{margin:.3f}")
    output().print(rows)


def _class_names(classifier: Classifier, examples: Examples) -> str:
    return ", ".join(examples.name(id).name for id in classifier.bank.classes)


def _patch_counts(classifier: Classifier, examples: Examples) -> str:
    names = {0: LabelName(0, "none of them", (0, 0, 0))}
    return ", ".join(
        f"{(names.get(id) or examples.name(id)).name} {count:.0f}"
        for id, count in classifier.bank.patches().items()
        if id or count
    )


def _write_sheets(
    folder: Path,
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[View],
    classifier: Classifier,
    within: Tensor | None,
    parts: Segmentation,
    examples: Examples,
) -> None:
    """For each view three pictures side by side: as it is, its own classes, the parts of the scene."""
    class_colors = {id: examples.name(id).color for id in classifier.bank.classes}
    part_colors: Mapping[int, Color] = {part.id: part.color for part in parts.objects}
    decided = hard_labels(parts)
    for view in views:
        picture = view.image()
        alone = classifier.answer(picture, shown_of(rasterizer, splats, view.camera, within))
        together = render_label_map(rasterizer, splats, view.camera, decided, torch.tensor(parts.ids)).cpu()
        sheet = [picture, painted(picture, alone, class_colors), painted(picture, together, part_colors)]
        write_sheet(folder, view.name, sheet)
