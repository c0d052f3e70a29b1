"""What happens to a run when its training ends: the masks of its pictures make objects of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from splatseg_ns.lift import Evidence, LabelledViews, Solver
from splatseg_ns.lift import Progress as Report
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.labelling import MaskStatistics, labelled_document

VOTERS = "train"
"""The split whose masks vote."""

_FORMAT = LabelFolderConfig()


def check_masks(run: Run, masks: Path) -> None:
    """Raise what ``label_run`` would raise because of the masks; the run needs no checkpoint yet."""
    _read_masks(run.capture(corrected=False), masks)


def label_run(run: Run, rasterizer: Rasterizer, masks: Path, solver: Solver) -> Segmentation:
    """Make objects of the masks of the training pictures, and save them beside config.yml.

    The same as ``splatseg label --load-config`` does: the splats are those of the checkpoint, the cameras as they were
    corrected in training.
    """
    folder, views, statistics = _read_masks(run.capture(), masks)
    splats = run.splats().to(rasterizer.device)
    with _progress("votes") as report:
        solution = solver.solve(Evidence.of(rasterizer, splats, views, statistics.ids, progress=report))
    document = labelled_document(
        splats, folder, statistics, solution, masks=masks, format=_FORMAT, data=run.data, views=[VOTERS]
    )
    run.store.save(document)
    return document


def _read_masks(capture: Capture, masks: Path) -> tuple[LabelFolder, LabelledViews, MaskStatistics]:
    """The label maps of the training pictures, which fit them and show some object."""
    folder = LabelFolder.open(masks, capture.names, _FORMAT)
    voting = folder.attach(capture).with_split(VOTERS).views
    if not any(view.label_source for view in voting):
        raise ValueError(f"{masks}: none of the {len(voting)} training pictures has a label map there")
    views = LabelledViews(voting)
    with _progress("masks") as report:
        statistics = MaskStatistics.of(views, report)
    if not statistics.pixels:
        raise ValueError(f"{masks}: the label maps of the training pictures hold no object, only background (0)")
    return folder, views, statistics


@contextmanager
def _progress(what: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
