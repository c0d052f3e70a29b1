"""Objects from clicks, against the truth of held-out views: ``python -m benchmarks.clicks``.

Each object is clicked in the first training view that shows more than 1,500 of its pixels (else in the one that shows
most): first at its deepest pixel, moved at random within 0.3 of the depth there; then, as often as is asked for, at the
deepest pixel of the largest error of what is shown in that view. After each click the object is found anew by all
clicks so far, and its masks in the held-out views are compared with the truth.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.raster import Report, processor
from splatseg_ns.masks.embedding_cache import CachedSegmenter
from splatseg_ns.masks.segmenters import segmenter_named
from splatseg_ns.raster import Rasterizer, one_torch_thread, rasterizer_for
from splatseg_ns.scene import Capture, Splats, View, read_ply
from splatseg_ns.segmentation.clicked_scene import ClickedScene
from splatseg_ns.segmentation.prompts import Level, ObjectPrompts, ViewPrompts
from splatseg_ns.segmentation.propagate import Propagate, find_object

ENOUGH_PIXELS = 1500
JITTER = 0.3
LEAST_SHOWN = 0.0005
"""A view judges an object if the truth shows this share of its pixels of it."""

LEVELS: tuple[Level, ...] = ("part", "object", "group")

VARIANTS = {
    "as it is": Propagate(),
    "no self-prompting": Propagate(self_prompts=False),
    "no consensus over the three masks": Propagate(consensus=False),
    "no rejection": Propagate(least_agreement=0.0),
    "no occlusion test": Propagate(occlusion=False),
    "projected clicks alone, as FlashSplat": Propagate(
        self_prompts=False, consensus=False, least_agreement=0.0, occlusion=False, best_fitting=False
    ),
}


@dataclass(frozen=True)
class Round:
    """What one more click gave."""

    object_id: int
    seed: int
    clicks: int
    iou: float
    views: int
    seconds: float


@dataclass(frozen=True, eq=False)
class ClickCase:
    """A scene with the truth of its views."""

    scene: ClickedScene
    rasterizer: Rasterizer
    splats: Splats
    training: list[View]
    held_out: list[View]
    truth: dict[str, Tensor]  # [H, W] of each view

    @staticmethod
    def load(data: Path, ply: Path) -> ClickCase:
        """Everything of a capture with true label maps, in the frame of its splats."""
        capture, splats, rasterizer = Capture.load(data), read_ply(ply), rasterizer_for(torch.device("cpu"))
        training, held_out = list(capture.with_split("train")), list(capture.with_split("val", "test"))
        truth = {view.name: labels for view in capture if (labels := view.label_map()) is not None}
        scene = ClickedScene(rasterizer, splats, training, CachedSegmenter(segmenter_named("mobile-sam")))
        return ClickCase(scene, rasterizer, splats, training, held_out, truth)

    @property
    def objects(self) -> list[int]:
        ids = torch.cat([labels.flatten().unique() for labels in self.truth.values()]).unique()
        return ids[ids > 0].tolist()

    def first_view(self, id: int) -> View:
        """Where the object is clicked."""
        for view in self.training:
            if int((self.truth[view.name] == id).sum()) > ENOUGH_PIXELS:
                return view
        return max(self.training, key=lambda view: int((self.truth[view.name] == id).sum()))

    def shown(self, rows: Tensor, view: View) -> Tensor:  # [H, W] bool
        """The object's mask in a view."""
        features = rows.float()[:, None]
        return self.rasterizer.render(self.splats, view.camera, features=features).colors[..., 0].cpu() > 0.5

    def held_out_iou(self, rows: Tensor, id: int) -> float:
        """The mean over the held-out views that show the object."""
        found = []
        for view in self.held_out:
            truth = self.truth[view.name] == id
            if float(truth.float().mean()) >= LEAST_SHOWN:
                shown = self.shown(rows, view)
                found.append(float((truth & shown).sum()) / float((truth | shown).sum()))
        return sum(found) / len(found)


def deepest(
    inside: Tensor,  # [H, W] bool
) -> tuple[float, float, float]:
    """The pixel farthest from the mask's border, and how far it is."""
    padded = np.pad(inside.numpy().astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column) + 0.5, float(row) + 0.5, float(depth[row, column])


def first_click(case: ClickCase, id: int, seed: int) -> ObjectPrompts:
    """The click that begins an object."""
    view = case.first_view(id)
    x, y, depth = deepest(case.truth[view.name] == id)
    chance = np.random.default_rng([seed, id])
    angle, reach = chance.uniform(0.0, 2.0 * np.pi), JITTER * depth * np.sqrt(chance.uniform())
    moved = (float(x + reach * np.cos(angle)), float(y + reach * np.sin(angle)))
    return ObjectPrompts(f"object {id}", (ViewPrompts(view.name, (moved,)),))


def corrected(case: ClickCase, id: int, prompts: ObjectPrompts, rows: Tensor) -> ObjectPrompts:
    """One more click, where most is wrong; none if nothing is."""
    view = case.first_view(id)
    truth, shown = case.truth[view.name] == id, case.shown(rows, view)
    missing, too_much = deepest(truth & ~shown), deepest(shown & ~truth)
    if max(missing[2], too_much[2]) == 0.0:
        return prompts
    if missing[2] >= too_much[2]:
        return prompts.with_clicks(ViewPrompts(view.name, (missing[:2],)))
    return prompts.with_clicks(ViewPrompts(view.name, (), (too_much[:2],)))


def click_objects(case: ClickCase, config: Propagate, seeds: int, clicks: int) -> list[Round]:
    """All rounds of the protocol."""
    rounds = []
    for seed in range(seeds):
        for id in case.objects:
            prompts, known = first_click(case, id, seed), None
            for count in range(1, clicks + 1):
                begin = time.perf_counter()
                try:
                    found = find_object(case.scene, prompts, config, before=known)
                except ValueError as error:
                    print(f"object {id}, seed {seed}, {count} clicks: {error}", file=sys.stderr)
                    rows, views = torch.zeros(len(case.splats), dtype=torch.bool), 0
                else:
                    known = found.known
                    rows, views = known.rows, sum(used.accepted for used in found.masks)
                seconds = time.perf_counter() - begin
                rounds.append(Round(id, seed, count, case.held_out_iou(rows, id), views, seconds))
                print(f"{rounds[-1]}", file=sys.stderr, flush=True)
                if count < clicks:
                    prompts = corrected(case, id, prompts, rows)
    return rounds


def best_levels(case: ClickCase, seeds: int) -> list[float]:
    """The best held-out IoU that one click reaches at any level, object by object and seed by seed."""
    best = []
    for seed in range(seeds):
        for id in case.objects:
            found = []
            for level in LEVELS:
                try:
                    rows = find_object(case.scene, replace(first_click(case, id, seed), level=level)).known.rows
                except ValueError:
                    continue
                found.append(case.held_out_iou(rows, id))
            best.append(max(found, default=0.0))
            print(f"object {id}, seed {seed}: levels {[round(iou, 3) for iou in found]}", file=sys.stderr, flush=True)
    return best


def report_rounds(report: Report, rounds: Sequence[Round]) -> None:
    """A row for each number of clicks, and one for each object."""
    counts = sorted({entry.clicks for entry in rounds})
    rows = []
    for count in counts:
        chosen = [entry for entry in rounds if entry.clicks == count]
        seeds = sorted({entry.seed for entry in chosen})
        means = [np.mean([entry.iou for entry in chosen if entry.seed == seed]) for seed in seeds]
        ious = np.array([entry.iou for entry in chosen])
        rows.append(
            [
                str(count),
                f"{ious.mean():.3f} +- {np.std(means):.3f}",
                f"{100 * np.mean(ious >= 0.9):.0f} %",
                f"{np.mean([entry.views for entry in chosen]):.1f}",
                f"{chosen[0].seconds:.1f}",
                f"{np.median([entry.seconds for entry in chosen]):.1f}",
            ]
        )
    report.table(["clicks", "IoU, sd over seeds", "IoU >= .9", "views", "s, first object", "s, median"], rows)
    of_objects = [
        [str(id), *(f"{_mean_iou(rounds, id, count):.3f}" for count in counts)]
        for id in sorted({entry.object_id for entry in rounds})
    ]
    report.table(["object", *(f"{count} clicks" for count in counts)], of_objects)


def _mean_iou(rounds: Sequence[Round], id: int, clicks: int) -> float:
    return float(np.mean([entry.iou for entry in rounds if (entry.object_id, entry.clicks) == (id, clicks)]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a capture with label maps of all views")
    parser.add_argument("--ply", type=Path, required=True, help="its splats")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clicks", type=int, default=4)
    parser.add_argument("--only", choices=("clicks", "levels", "ablation"), nargs="*", help="some of the tables")
    options = parser.parse_args(arguments)
    parts = options.only or ("clicks", "levels", "ablation")
    report = Report()
    report.say(f"{datetime.date.today()}, {processor()}, {options.data.name}, {options.seeds} seeds")
    with one_torch_thread(), torch.no_grad():
        case = ClickCase.load(options.data, options.ply)
        if "clicks" in parts:
            report_rounds(report, click_objects(case, Propagate(), options.seeds, options.clicks))
        if "levels" in parts:
            report.say(f"best of the levels after 1 click: {np.mean(best_levels(case, options.seeds)):.3f}")
        if "ablation" in parts:
            rows = [
                [name, f"{np.mean([entry.iou for entry in click_objects(case, config, options.seeds, 1)]):.3f}"]
                for name, config in VARIANTS.items()
            ]
            report.table(["one click", "IoU"], rows)


if __name__ == "__main__":
    main()
