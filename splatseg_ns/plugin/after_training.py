"""What happens to a run when its training ends: the masks of its pictures make objects of it."""

from __future__ import annotations

from pathlib import Path

from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from splatseg_ns.lift import Evidence, LabelledViews, Solver
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import Rasterizer
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.labelling import MaskStatistics, labelled_document

VOTERS = "train"
"""The split whose masks vote."""


def label_run(run: Run, rasterizer: Rasterizer, masks: Path, solver: Solver) -> Segmentation:
    """Make objects of the masks of the training pictures, and save them beside config.yml.

    The same as ``splatseg label --load-config`` does: the splats are those of the checkpoint, the cameras as they were
    corrected in training.
    """
    capture = run.capture()
    format = LabelFolderConfig()
    folder = LabelFolder.open(masks, capture.names, format)
    voting = folder.attach(capture).with_split(VOTERS).views
    if not any(view.label_source for view in voting):
        raise ValueError(f"{masks}: none of the {len(voting)} training pictures has a label map there")
    splats = run.splats().to(rasterizer.device)
    views = LabelledViews(voting)
    statistics = MaskStatistics.of(views)
    if not statistics.pixels:
        raise ValueError(f"{masks}: the label maps of the training pictures hold no object, only background (0)")
    with _progress() as bar:
        task = bar.add_task("votes")
        solution = solver.solve(
            Evidence.of(
                rasterizer,
                splats,
                views,
                statistics.ids,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        )
    document = labelled_document(
        splats, folder, statistics, solution, masks=masks, format=format, data=run.data, views=[VOTERS]
    )
    run.store.save(document)
    return document


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=CONSOLE, transient=True)
