"""Label the bundled capture, judge the objects on held-out views, and write them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from splatseg_ns.demo.bundle import FOLDER, MASKS, bundled_capture, bundled_splats
from splatseg_ns.demo.sheet import draw_sheet, save_sheet
from splatseg_ns.edit import export_objects, isolate_by_masks
from splatseg_ns.lift import DEFAULT_SOLVER, Evidence, LabelledViews, Labels, solver_named
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.raster import Rasterizer, one_torch_thread, rasterizer_for
from splatseg_ns.scene import Capture, Splats
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from splatseg_ns.segmentation.evaluation import SCORES, Evaluation, draw_objects, evaluate
from splatseg_ns.segmentation.labelling import MaskStatistics, labelled_document

SHEET_NAME = "demo.png"
OBJECT_FOLDER = "objects"
DOCUMENT_FOLDER = "splats.segmentation"

_PIPE_WIDTH = 120


@dataclass
class DemoResult:
    """What the demo found out; its files are in the folder that it was given."""

    document: Segmentation
    evaluation: Evaluation
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage."""


@one_torch_thread()
def run_demo(out: str | Path) -> DemoResult:
    """Write objects, segmentation and contact sheet into a folder, and print a table."""
    out = Path(out)
    seconds: dict[str, float] = {}
    with _stage(seconds, "read"):
        capture, splats, rasterizer = bundled_capture(), bundled_splats(), rasterizer_for("cpu")
        folder = LabelFolder.open(MASKS, capture.names)
    with _stage(seconds, "label"):
        training = capture.with_split("train")
        document = label_by_masks(rasterizer, splats, training, folder)
    with _stage(seconds, "isolate"):
        isolated = isolate_by_masks(rasterizer, splats, training, document, document.ids)
    with _stage(seconds, "judge"):
        held_out = LabelledViews(capture.with_split("test", "val"))
        shares = Labels(document.labels, torch.zeros(len(document), dtype=torch.float64))
        judged = draw_objects(rasterizer, splats, held_out, shares, document.ids)
        names = {id: entry.name for id, entry in folder.names.items()}
        evaluation = evaluate(rasterizer, splats, held_out, judged, document.objects, isolated.labels, names)
    with _stage(seconds, "write"):
        export_objects(out / OBJECT_FOLDER, splats, isolated, isolated.objects)
        SegmentationStore(out / DOCUMENT_FOLDER).save(document)
    with _stage(seconds, "draw"):
        views = capture.with_split("test", "val").views
        save_sheet(out / SHEET_NAME, draw_sheet(rasterizer, splats, views, judged, isolated, evaluation))
    result = DemoResult(document, evaluation, seconds)
    _print(result, isolated, len(training), out)
    return result


def label_by_masks(rasterizer: Rasterizer, splats: Splats, training: Capture, folder: LabelFolder) -> Segmentation:
    """The document that ``splatseg label`` makes of the training views' masks."""
    views = LabelledViews(folder.attach(training))
    statistics = MaskStatistics.of(views)
    solution = solver_named(DEFAULT_SOLVER).solve(Evidence.of(rasterizer, splats, views, statistics.ids))
    return labelled_document(
        splats, folder, statistics, solution, masks=MASKS, format=LabelFolderConfig(), data=FOLDER, views=["train"]
    )


@contextmanager
def _stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin


def _print(result: DemoResult, isolated: Segmentation, training: int, out: Path) -> None:
    evaluation = result.evaluation
    title = f"Masks of {training} views became objects; scores in {evaluation.views} held-out views, in %"
    rows = Table(title=title, title_justify="left")
    rows.add_column("object", no_wrap=True)
    for column in ("Gaussians", "exported", "IoU", "pooled IoU", "accuracy", "boundary IoU", "silhouette > .5", "> .1"):
        rows.add_column(column, justify="right")
    before, after = result.document.counts(), isolated.counts()
    for entry in evaluation.objects:
        scores = (_percent(getattr(entry, score)) for score in SCORES)
        rows.add_row(entry.name, str(before[entry.id]), str(after[entry.id]), *scores)
    rows.add_section()
    rows.add_row("mean", "", "", *(_percent(evaluation.mean(score)) for score in SCORES))
    # Where nobody looks nothing is to be cut off.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    console.print(rows)
    lines = {
        "seconds": ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result.seconds.items()),
        "picture": out / SHEET_NAME,
        "objects": out / OBJECT_FOLDER,
        "segmentation": out / DOCUMENT_FOLDER,
    }
    for what, line in lines.items():
        console.print(f"{what + ':':<14}{line}", markup=False, soft_wrap=True)


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.2f}"
