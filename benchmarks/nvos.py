"""FlashSplat's own benchmark, NVOS: objects of LLFF scenes, judged in one view each: ``python -m benchmarks.nvos``.

**This has not been run on the real data**, which could not be had where it was written: it was tested on a small
folder of the same layout, as public readers of the data describe it. The protocol, for each of the eight tasks (Ren et
al. 2022, "Neural Volumetric Object Selection"):

1. One view of the scene, the reference, has scribbles on the object and on the rest. Clicks are sampled from them with
   a seed and written to a file (``--clicks``), so that everybody can know them: which clicks are taken moves results
   more than the method does. FlashSplat does not publish its own.
2. A segmenter makes masks of all views of these clicks. There is none in here yet: run one on the file, and put its
   label maps into a folder. A map may show other objects too; the task's is the one under the positive scribble. Give
   one such folder for each seed, and the table gives mean and spread over them.
3. The masks vote, one object against all the rest (``FlashSplat.members``), for each gamma that is asked for. The
   target view does not vote, even if it has a mask. The scripts of FlashSplat set a gamma for each scene; here every
   mean is over one gamma for all.
4. The object alone is drawn into the target view: its mask is where alpha > 0.1. IoU and the share of right pixels are
   taken at the size of the capture's pictures, the true mask brought to it, and averaged over the tasks.

Folders below ``--root``; the first three are the release as it is, unpacked here, in labels/llff or in llff::

    masks/TASK/TARGET_mask.png        the truth, called like the target's picture
    reference_image/TASK/REFERENCE.*  the reference's picture
    scribbles/TASK/pos_*.png, neg_*.png
    scenes/SCENE/                     the capture (COLMAP or transforms.json); TASK and SCENE_undistort do as well
    splats/SCENE.ply                  its splats, trained without the target view to be strict
    splats/SCENE.dataparser_transforms.json   only for splats that ns-export wrote in the dataparser's frame
    view_masks/TASK/VIEW.png          the segmenter's label maps
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.nvos_layout import PUBLISHED_TASKS, Task, clicks_as_json, find_tasks, read_drawn
from benchmarks.raster import Report
from splatseg_ns.lift import FlashSplat, accumulate_votes, render_object_mask
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.masks.resize import Size, fit_label_map
from splatseg_ns.raster import Rasterizer, rasterizer_for
from splatseg_ns.scene import (
    BACKGROUND,
    DEFAULT_PROFILE,
    PROFILES,
    Camera,
    Capture,
    Splats,
    View,
    atomic_write,
    error_line,
    match_names,
    read_ply,
    render_profile,
)
from splatseg_ns.segmentation.evaluation import MaskCount
from splatseg_ns.segmentation.frames import find_frame, read_dataparser_transforms

TAU = 0.1
"""Alpha above which a pixel belongs to the object, as published."""

PUBLISHED = "FlashSplat as published: 91.8 / 98.6 over the eight tasks, with clicks and gammas that it does not tell."


@dataclass(frozen=True)
class Score:
    """How good one object is in its target view; shares from 0 to 1."""

    task: str
    masks: str
    """The folder of the voting masks."""

    gamma: float
    views: int
    """That voted."""

    gaussians: int
    iou: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Judge:
    """A task with everything that does not depend on the voting masks."""

    task: Task
    splats: Splats
    capture: Capture
    """In the frame of the splats, without the target view."""

    camera: Camera
    """Of the target view."""

    truth: Tensor  # [H, W] bool
    counts: Tensor  # [H, W] bool, False: the picture is not to be used there

    @staticmethod
    def of(rasterizer: Rasterizer, task: Task, root: Path, profile: str) -> Judge:
        """Read a scene and find the frame of its splats."""
        capture = Capture.load(_scene_folder(root, task))
        ply = _splat_file(root, task)
        splats = read_ply(ply, profile=render_profile(profile)).to(rasterizer.device)
        target = view_called(capture, task.target, f"the target of {task.name}")
        moved = in_frame_of(rasterizer, splats, capture, ply)
        mask = read_drawn(task.target_mask).long()
        size = target.width, target.height
        truth = replace(target, label_source=partial(fit_label_map, mask, size, str(task.target_mask))).label_map()
        assert truth is not None
        valid = target.valid_mask()
        voters = tuple(view for view in moved if view.name != target.name)
        return Judge(
            task,
            splats,
            replace(moved, views=voters),
            moved.view(target.name).camera,
            truth > 0,
            torch.ones_like(truth, dtype=torch.bool) if valid is None else valid,
        )

    def scores(self, rasterizer: Rasterizer, masks: Path, solvers: Sequence[FlashSplat], tau: float) -> list[Score]:
        """Vote with the masks of one segmenter, and judge the object of each solver."""
        folder = open_masks(masks / self.task.name, self.capture)
        id = object_of_task(folder, self.capture, self.task)
        attached = folder.attach(self.capture)
        votes = accumulate_votes(rasterizer, self.splats, attached.views, [BACKGROUND, id])
        scores = []
        for solver in solvers:
            rows = solver.members(votes, id)
            drawn = render_object_mask(rasterizer, self.splats, self.camera, rows.to(self.splats.device), tau).cpu()
            count = MaskCount()
            count.add(drawn, self.truth, self.counts)
            assert count.iou is not None and count.accuracy is not None and not isinstance(solver.gamma, str)
            scores.append(
                Score(
                    self.task.name,
                    str(masks),
                    solver.gamma,
                    len(folder.sources),
                    int(rows.sum()),
                    count.iou,
                    count.accuracy,
                )
            )
        return scores


def open_masks(folder: Path, capture: Capture) -> LabelFolder:
    """The label maps of the views of a task."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no masks of the views, and no segmenter is in here that would make them of scribbles: sample "
            "clicks with --clicks FILE, run a segmenter on them, and put a label map of each view there"
        )
    return LabelFolder.open(folder, capture.names, LabelFolderConfig(layout="maps"))


def object_of_task(folder: LabelFolder, capture: Capture, task: Task) -> int:
    """The object of the label maps that is asked for: the only one, else what most of the positive scribble hits."""
    ids = list(folder.view_counts())
    if len(ids) == 1:
        return ids[0]
    reference = view_called(capture, task.reference, f"the reference of {task.name}")
    if reference.name not in folder.sources:
        raise ValueError(
            f"{folder.path}: holds {len(ids)} objects, and no map of the scribbled view {reference.name} that tells "
            "which one is meant; add that map"
        )
    size: Size = reference.width, reference.height
    scribble = fit_label_map(read_drawn(task.positive), size, str(task.positive))
    hit = folder.read(reference.name, size)[scribble]
    objects = hit[hit > BACKGROUND]
    if len(objects) == 0:
        raise ValueError(
            f"{folder.path}: the map of {reference.name} has no object under {task.positive}; segment again"
        )
    return int(objects.mode().values)


def view_called(capture: Capture, stem: str, what: str) -> View:
    """The view of a picture that the annotations name."""
    found = match_names(capture.names, {stem: stem})
    if len(found) != 1:
        raise ValueError(
            f"{capture.folder}: no view is called {stem}, {what}; the views are called "
            f"{', '.join(capture.names[:3])}, ...: take a capture with the original names of the pictures"
        )
    return capture.view(next(iter(found)))


def means(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """For each gamma the means over the tasks, and over folders of masks; their spread if there are several folders."""
    rows = []
    for gamma in dict.fromkeys(score.gamma for score in scores):
        row: dict[str, Any] = {"gamma": gamma}
        for name, key in (("miou", "iou"), ("macc", "accuracy")):
            by_folder: dict[str, list[float]] = {}
            for score in scores:
                if score.gamma == gamma:
                    by_folder.setdefault(score.masks, []).append(getattr(score, key))
            of_folders = [statistics.fmean(values) for values in by_folder.values()]
            row[name] = statistics.fmean(of_folders)
            row[f"{name}_deviation"] = statistics.stdev(of_folders) if len(of_folders) > 1 else None
        rows.append(row)
    return rows


def report_scores(report: Report, scores: Sequence[Score], norm: str, tau: float) -> None:
    """A table of all tasks for each folder of masks, and the means."""
    gammas = list(dict.fromkeys(score.gamma for score in scores))
    report.say(f"NVOS, IoU / accuracy in % of the mask alpha > {tau:g}, FlashSplat one-vs-rest, {norm} norm:")
    report.say()
    for masks in dict.fromkeys(score.masks for score in scores):
        rows: dict[str, list[str]] = {}
        for score in (score for score in scores if score.masks == masks):
            rows.setdefault(score.task, [score.task, str(score.views)]).append(_percent(score.iou, score.accuracy))
        report.say(f"Masks of {masks}:")
        report.say()
        report.table(["task", "views", *(f"gamma {gamma:g}" for gamma in gammas)], list(rows.values()))
    tasks = list(dict.fromkeys(score.task for score in scores))
    header = ["gamma", "mIoU / mAcc", *(["deviation over folders"] if means(scores)[0]["miou_deviation"] else [])]
    table = []
    for row in means(scores):
        spread = [_percent(row["miou_deviation"], row["macc_deviation"])] if len(header) > 2 else []
        table.append([f"{row['gamma']:g}", _percent(row["miou"], row["macc"]), *spread])
    report.table(header, table)
    if set(tasks) != set(PUBLISHED_TASKS):
        known = len(set(tasks) & set(PUBLISHED_TASKS))
        report.say(f"{known} of the {len(PUBLISHED_TASKS)} published tasks: not to be compared with published means.")
    report.say(PUBLISHED)


def run(arguments: argparse.Namespace) -> None:
    """Write clicks if asked to, else judge all tasks."""
    tasks = find_tasks(arguments.root, arguments.tasks)
    if arguments.clicks is not None:
        clicks = clicks_as_json(tasks, arguments.count, arguments.seed)
        _write_json(arguments.clicks, clicks)
        print(
            f"{arguments.count} + {arguments.count} clicks of {len(tasks)} tasks, seed {arguments.seed}: "
            f"{arguments.clicks}"
        )
        return
    if not 0.0 <= arguments.tau < 1.0:
        raise ValueError(f"--tau is a number from 0 to below 1, got {arguments.tau}")
    solvers = [FlashSplat(gamma, arguments.norm) for gamma in arguments.gammas]
    rasterizer = rasterizer_for(arguments.device)
    scores = []
    for task in tasks:
        judge = Judge.of(rasterizer, task, arguments.root, arguments.profile)
        for masks in arguments.view_masks or [arguments.root / "view_masks"]:
            scores += judge.scores(rasterizer, masks, solvers, arguments.tau)
    report_scores(Report(), scores, arguments.norm, arguments.tau)
    result = {
        "tau": arguments.tau,
        "norm": arguments.norm,
        "profile": arguments.profile,
        "tasks": [task.name for task in tasks],
        "means": means(scores),
        "scores": [asdict(score) for score in scores],
    }
    print(f"\n```json\n{json.dumps(result, indent=1)}\n```")
    if arguments.out is not None:
        _write_json(arguments.out, result)


def main(words: Sequence[str] | None = None) -> int:
    """0 only if everything was judged."""
    arguments = _arguments(words)
    try:
        run(arguments)
    except (ValueError, LookupError, OSError, RuntimeError) as error:
        print(f"benchmarks.nvos: {error_line(error)}", file=sys.stderr)
        return 1
    return 0


def in_frame_of(rasterizer: Rasterizer, splats: Splats, capture: Capture, ply: Path) -> Capture:
    """The capture with its cameras in the frame of the splats of a file."""
    transforms = ply.with_name(f"{ply.stem}.dataparser_transforms.json")
    dataparser = read_dataparser_transforms(transforms) if transforms.is_file() else None
    try:
        return find_frame(rasterizer, splats, capture, dataparser).frame.move(capture)
    except ValueError as error:
        raise ValueError(f"{ply}: {error} (here that is {transforms.name} beside it)") from error


def _scene_folder(root: Path, task: Task) -> Path:
    return _existing([root / "scenes" / name for name in task.scene_names], f"capture of {task.name}")


def _splat_file(root: Path, task: Task) -> Path:
    return _existing([root / "splats" / f"{name}.ply" for name in task.scene_names], f"splats of {task.name}")


def _existing(candidates: Sequence[Path], what: str) -> Path:
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        names = ", ".join(path.name for path in candidates)
        raise FileNotFoundError(f"{candidates[0].parent}: holds no {what}; looked for {names}")
    return found


def _percent(iou: float, accuracy: float) -> str:
    return f"{100 * iou:.1f} / {100 * accuracy:.1f}"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as stream:
        stream.write(json.dumps(content, indent=1).encode())


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nvos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder with everything, see above")
    parser.add_argument("--tasks", nargs="+", default=[], help="some tasks; all that are there by default")
    parser.add_argument(
        "--view-masks", type=Path, nargs="+", help="folders like view_masks, one for each seed of clicks"
    )
    parser.add_argument("--gammas", type=float, nargs="+", default=[-0.4, 0.0, 0.4], help="biases to the background")
    parser.add_argument("--norm", choices=("l1", "l2"), default="l1", help="as the paper has it, or as its code")
    parser.add_argument("--tau", type=float, default=TAU, help="alpha above which a pixel belongs to the object")
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default=DEFAULT_PROFILE.name, help="what trained the splats"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="a file for the JSON object alone")
    parser.add_argument("--clicks", type=Path, help="write clicks to this file instead of judging anything")
    parser.add_argument("--count", type=int, default=5, help="clicks on the object, and as many on the rest")
    parser.add_argument("--seed", type=int, default=0, help="of the clicks")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
