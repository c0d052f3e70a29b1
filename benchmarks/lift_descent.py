"""The closed form against gradient descent: held-out IoU by seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from benchmarks.accuracy import HeldOutViews
from benchmarks.conditions import Condition
from benchmarks.entrants import ARGMAX
from benchmarks.gradient_descent import CurvePoint, DescentConfig, GradientDescent, Loss, follow
from benchmarks.lift_case import CaptureFiles, load_case
from splatseg_ns.lift import Evidence
from splatseg_ns.raster.cpu import CpuRasterizer

EQUAL_WITHIN = 0.001
"""A descent is as good as the closed form when its IoU is at most this below."""

LEARNING_RATES = (0.03, 0.1, 0.3, 1.0)

CHECKPOINTS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Steps after which labels are judged; a step takes one view."""

QUICK_CHECKPOINTS = (4, 8, 16)

FEWER_VIEWS = (4, 8, 16)
"""The closed form can stop early too."""


@dataclass(frozen=True)
class DescentRun:
    """How the IoU of one way to descend grows."""

    config: DescentConfig
    curve: list[CurvePoint]

    def first_at(self, iou: float) -> CurvePoint | None:
        """The first checkpoint that is as good; None if there is none."""
        return next((point for point in self.curve if point.iou >= iou - EQUAL_WITHIN), None)

    @property
    def best(self) -> CurvePoint:
        return max(self.curve, key=lambda point: point.iou)


@dataclass(frozen=True)
class DescentComparison:
    """Both on clean masks; ``steps`` of the closed form are the views that it took."""

    closed: list[CurvePoint]
    """With few views first; the last took all."""

    runs: list[DescentRun]

    def tuned(self) -> list[DescentRun]:
        """For each loss the rate that is first as good as the closed form, else the one that gets nearest.

        It is chosen by what the held-out views say, to the favour of the descent.
        """

        def seconds_needed(run: DescentRun) -> tuple[float, float]:
            reached = run.first_at(self.closed[-1].iou)
            return (float("inf") if reached is None else reached.seconds, -run.best.iou)

        by_loss = {loss: [run for run in self.runs if run.config.loss == loss] for loss in get_args(Loss)}
        return [min(runs, key=seconds_needed) for runs in by_loss.values() if runs]


def compare_with_descent(
    files: CaptureFiles,
    rates: Sequence[float],
    checkpoints: Sequence[int],
    rounds: int,
    threads: int,
    say: Callable[[str], None],
) -> DescentComparison:
    """The closed form and every loss with every learning rate, on the same engine."""
    case, engine = load_case(files), CpuRasterizer(threads=threads)
    held_out = HeldOutViews(engine, case.splats, case.held_out, case.objects)
    counts = [count for count in FEWER_VIEWS if count < len(case.training)] + [len(case.training)]
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    ious: dict[int, float] = {}

    def solve() -> None:
        for count in counts:
            views = Condition("", count).make(case.training, case.objects, seed=0)
            evidence = Evidence.of(engine, case.splats, views, case.ids)
            begin = time.perf_counter()
            labels = ARGMAX.solve(evidence).labels
            seconds[count].append(time.perf_counter() - begin)
            ious[count] = held_out.score(labels).iou

    for _ in range(rounds):
        solve()
    runs = []
    for config in (DescentConfig(loss, rate) for loss in get_args(Loss) for rate in rates):
        descent = GradientDescent(engine, case.splats, case.ids, config)
        run = DescentRun(config, list(follow(descent, case.training, checkpoints, lambda x: held_out.score(x).iou)))
        runs.append(run)
        say(f"descent, {config.name}: IoU {100 * run.best.iou:.2f} after {run.best.seconds:.1f} s")
        # Between the descents, so that both meet the same disturbances.
        solve()
    closed = [CurvePoint(count, statistics.median(seconds[count]), ious[count]) for count in counts]
    return DescentComparison(closed, runs)
