"""``splatseg label``: masks of views become objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from splatseg_ns.cli.console import Stopwatch, output, progress, say, table
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.cli.scenes import segmentation_beside
from splatseg_ns.edit.extract import chosen_solver
from splatseg_ns.lift import (
    Evidence,
    LabelledViews,
    Labels,
    Ranks,
    Refine,
    Refined,
    Solution,
    Solver,
    refine,
)
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.scene import Capture, Splats, View, chosen_views, write_ply
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from splatseg_ns.segmentation.frames import DATAPARSER_FILE
from splatseg_ns.segmentation.labelling import MaskStatistics, labelled_document


@dataclass(kw_only=True)
class Label(SceneInputs):
    """Turn the masks of views into objects, and save them beside the splats.

    Over several processes: torchrun --nproc-per-node 4 -m splatseg_ns.cli label ...
    """

    masks: Path
    """A folder of label maps (PNG, NPY, NPZ) called like the views, a folder per object, or COCO json."""

    solver: Literal["robust", "flashsplat", "gradient"] = "robust"
    """What decides by the votes."""

    gamma: float | Literal["auto"] | None = None
    """Bias to the background, -1 to 1; auto takes what predicts held-out masks best. By default the solver's: 0."""

    views: tuple[str, ...] = ("train",)
    """The views that vote: train, all, or names. Held-out views never vote unless they are named."""

    refine: Path | None = None
    """A .ply to write: a copy of the splats, fitted to pictures and (accurate!) masks, with its own segmentation."""

    refine_steps: int = Refine.steps
    """How many steps the copy is fitted for."""

    refine_weight: float = Refine.label_weight
    """What the masks count beside the pictures there: more makes better objects and worse pictures."""

    format: Annotated[LabelFolderConfig, tyro.conf.arg(name="")] = field(default_factory=LabelFolderConfig)

    def run(self) -> None:
        solver = chosen_solver(self.solver, self.gamma, "--gamma")
        self._check_refine()
        with process_group(self) as (device, ranks):
            replace(self, device=device)._run_as(ranks, solver)

    def _run_as(self, ranks: Ranks, solver: Solver) -> None:
        quiet = ranks.rank > 0
        watch = Stopwatch()
        with watch.stage("read"):
            capture = self.capture()
            folder = LabelFolder.open(self.masks, capture.names, self.format)
            capture = folder.attach(capture)
            voting = chosen_views(capture, self.views)
            if not any(view.label_source for view in voting):
                raise ValueError(
                    f"{self.masks}: none of the {len(voting)} views that vote ({' '.join(self.views)}) has a label "
                    f"map, but {len(folder.sources)} other views have; choose with --views"
                )
            splats = self.splats()
            rasterizer = self.rasterizer()
        with watch.stage("frame"):
            frame = self.frame(rasterizer, splats, capture)
            views = LabelledViews(frame.move(replace(capture, views=voting)))
        with watch.stage("masks"), progress("masks", quiet) as report:
            statistics = MaskStatistics.of(views, report)
        if not statistics.pixels:
            raise ValueError(
                f"{self.masks}: none of the label maps of the {len(voting)} views holds an object, only background "
                "(0); are these the right files?"
            )
        with watch.stage("votes"), progress("votes", quiet) as report:
            ids = statistics.ids
            solution = solver.solve(Evidence.of(rasterizer, splats, views, ids, ranks=ranks, progress=report))
        if quiet:
            return
        document = self._document(splats, folder, statistics, solution)
        with watch.stage("save"):
            store = self.store()
            replaced = store.exists()
            store.save(document)
        _print_objects(document, statistics, solution.labels)
        if (right := solution.corrections) is not None:
            say(
                f"{right.masks} masks, put right by what other views say: {right.moved} with edges moved, "
                f"{right.renamed} renamed, {right.left_out} left out"
            )
        for entry in document.objects:
            if not bool(document.rows(entry.id).any()):
                say(f"{entry.name} (id {entry.id}): no Gaussian belongs to it; kept as an empty object")
        say(f"cameras and splats meet in {frame.name} frame")
        say(f"seconds: {watch}")
        say(f"{'replaced' if replaced else 'saved'} {store.folder}")
        if self.refine is not None:
            fitted, held_out = (
                frame.move(replace(capture, views=part)).views for part in _fitted_and_held_out(capture, voting)
            )
            with watch.stage("refine"), progress("refine") as report:
                refined = refine(
                    rasterizer,
                    splats,
                    fitted,
                    ids,
                    self._refine_config(),
                    solver=solution.solver,
                    labels=solution.labels,
                    held_out=held_out,
                    progress=report,
                )
            document = self._document(refined.splats, folder, statistics, refined.solution)
            self._save_refined(self.refine, document, refined)
            say(f"refined in {watch.seconds['refine']:.2f} s")

    def _refine_config(self) -> Refine:
        return Refine(steps=self.refine_steps, label_weight=self.refine_weight)

    def _check_refine(self) -> None:
        """Find out before anything is done whether the refined splats can be made and written."""
        if self.refine is None:
            return
        self._refine_config()
        if self.refine.suffix.lower() != ".ply":
            raise ValueError(f"{self.refine}: refined splats are written as a .ply; give --refine such a name")
        if self.ply is not None and self.refine.resolve() == self.ply.resolve():
            raise ValueError(f"{self.refine}: --refine would replace the splats of --ply; give it another name")
        if self._refined_store().folder.resolve() == self.store().folder.resolve():
            raise ValueError(
                f"{self._refined_store().folder}: the segmentations of the splats and of --refine would be the same "
                "folder; give --refine or --segmentation another name"
            )
        if not self.refine.absolute().parent.is_dir():
            raise FileNotFoundError(f"{self.refine.parent}: no such folder; make it, or give --refine another name")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError("--refine runs in one process; leave torchrun away, or label without --refine")

    def _refined_store(self) -> SegmentationStore:
        assert self.refine is not None
        return SegmentationStore(segmentation_beside(self.refine))

    def _save_refined(self, path: Path, document: Segmentation, refined: Refined) -> None:
        """Write the changed splats and their document, and say what they cost."""
        quality = {"before": asdict(refined.before), "after": asdict(refined.after)}
        store = self._refined_store()
        write_ply(path, refined.splats)
        store.save(
            document.with_entry(
                "refine", splats=str(self.scene.file.resolve()), **asdict(self._refine_config()), psnr=quality
            )
        )
        changes = [
            f"{before:.2f} -> {after:.2f} dB in the views {name}"
            for name, before, after in (
                ("fitted to", refined.before.fitted, refined.after.fitted),
                ("held out", refined.before.held_out, refined.after.held_out),
            )
            if before is not None and after is not None
        ]
        say(f"PSNR of the refined splats: {', '.join(changes)}")
        say(f"saved {path}, splats changed for pictures and masks, and their own segmentation {store.folder}")
        if self.load_config is not None and (transforms := self.scene.file.with_name(DATAPARSER_FILE)).is_file():
            say(f"they are where the run's are: give --dataparser-transforms {transforms} with them")

    def _document(
        self, splats: Splats, folder: LabelFolder, statistics: MaskStatistics, solution: Solution
    ) -> Segmentation:
        return labelled_document(
            splats,
            folder,
            statistics,
            solution,
            masks=self.masks,
            format=self.format,
            data=self.scene.data,
            views=self.views,
        )


@contextmanager
def process_group(inputs: SceneInputs) -> Iterator[tuple[str, Ranks]]:
    """The device and the place of this process among those that torchrun has started, or alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield inputs.device, Ranks.current()
        return
    import torch.distributed as dist

    device = inputs.torch_device()
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield str(device), Ranks.current()
    finally:
        dist.destroy_process_group()


def _fitted_and_held_out(capture: Capture, voting: Sequence[View]) -> tuple[tuple[View, ...], tuple[View, ...]]:
    """The views that splats are refined by, and the others.

    All training views count with their pictures, but the masks of those alone that vote.
    """
    names = {view.name for view in voting}
    fitted = tuple(
        view if view.name in names else replace(view, label_source=None)
        for view in capture
        if view.name in names or view.split == "train"
    )
    return fitted, tuple(view for view in capture if view.name not in names and view.split != "train")


def _print_objects(document: Segmentation, statistics: MaskStatistics, labels: Labels) -> None:
    counts = document.counts()
    rows = table("Objects", "id", "name", "Gaussians", "pixels", "margin", "views")
    for entry in document.objects:
        margin = labels.margin[labels.rows(entry.id)]
        rows.add_row(
            str(entry.id),
            entry.name,
            str(counts[entry.id]),
            f"{100 * statistics.pixels[entry.id] / statistics.total:.2f} %",
            f"{float(margin.mean()):.3f}" if len(margin) else "-",
            str(statistics.views[entry.id]),
        )
    output().print(rows)
