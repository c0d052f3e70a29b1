"""What happens to a run when its training ends: the masks of its pictures make objects of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from splatseg_ns.lift import Evidence, LabelledViews, Solver
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.labelling import MaskStatistics, labelled_document

VOTERS = "train"
"""The split whose masks vote."""

StageReport = Callable[[str, int, int], None]
"""Told the stage, how much of it is done and how much there is."""

_FORMAT = LabelFolderConfig()


def check_masks(run: Run, masks: Path) -> None:
    """Raise what ``label_run`` would raise because of the masks; the run needs no checkpoint yet."""
    with _bars() as report:
        _read_masks(run.capture(corrected=False), masks, report)


def label_run(run: Run, rasterizer: Rasterizer, masks: Path, solver: Solver) -> Segmentation:
    """Make objects of the masks of the training pictures, and save them beside config.yml.

    The same as ``splatseg label --load-config`` does: the splats are those of the checkpoint, the cameras as they were
    corrected in training.
    """
    with _bars() as report:
        document = label_splats(run.splats().to(rasterizer.device), run, rasterizer, masks, solver, report)
    run.store.save(document)
    return document


def label_splats(
    splats: Splats, run: Run, rasterizer: Rasterizer, masks: Path, solver: Solver, report: StageReport
) -> Segmentation:
    """The objects that the masks of a run's training pictures make of its splats; nothing is saved."""
    folder, views, statistics = _read_masks(run.capture(), masks, report)
    evidence = Evidence.of(rasterizer, splats, views, statistics.ids, progress=partial(report, "votes"))
    return labelled_document(
        splats,
        folder,
        statistics,
        solver.solve(evidence),
        masks=masks,
        format=_FORMAT,
        data=run.data,
        views=[VOTERS],
    )


def _read_masks(
    capture: Capture, masks: Path, report: StageReport
) -> tuple[LabelFolder, LabelledViews, MaskStatistics]:
    """The label maps of the training pictures, which fit them and show some object."""
    folder = LabelFolder.open(masks, capture.names, _FORMAT)
    voting = folder.attach(capture).with_split(VOTERS).views
    if not any(view.label_source for view in voting):
        raise ValueError(f"{masks}: none of the {len(voting)} training pictures has a label map there")
    views = LabelledViews(voting)
    statistics = MaskStatistics.of(views, partial(report, "masks"))
    if not statistics.pixels:
        raise ValueError(f"{masks}: the label maps of the training pictures hold no object, only background (0)")
    return folder, views, statistics


@contextmanager
def _bars() -> Iterator[StageReport]:
    """A bar on the console for each stage."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
