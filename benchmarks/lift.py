"""Accuracy, seconds and memory of the solvers on a capture with true label maps: ``python -m benchmarks.lift``.

The training views' label maps are made dirty in several ways (``benchmarks.conditions``), every solver labels the
splats by them, and the masks that its labels give in the held-out views are compared with the truth.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.conditions import CONDITIONS, QUICK_CONDITIONS, Condition
from benchmarks.entrants import SOLVERS
from benchmarks.lift_accuracy import ConditionRun, run_conditions
from benchmarks.lift_case import CaptureFiles, load_case
from benchmarks.lift_cost import measure_costs
from benchmarks.lift_descent import CHECKPOINTS, LEARNING_RATES, QUICK_CHECKPOINTS, compare_with_descent
from benchmarks.lift_report import draw_plot, report_accuracy, report_costs, report_descent
from benchmarks.lift_room import RoomSize, measure_room, report_room
from benchmarks.raster import Report, processor
from splatseg_ns.lift import Solver

PARTS = ("accuracy", "cost", "room", "descent")

TABLE_NAME = "lift.md"
PLOT_NAME = "lift.png"


def say(line: str) -> None:
    """Tell how far we are."""
    print(line, file=sys.stderr, flush=True)


def measure_accuracy(
    files: CaptureFiles, conditions: Sequence[Condition], solvers: Mapping[str, Solver], seeds: int, workers: int
) -> dict[str, list[ConditionRun]]:
    """The runs of each condition that the capture can show, in the order of the conditions and of their seeds."""
    found: dict[str, list[ConditionRun]] = {condition.name: [] for condition in conditions}
    for run in run_conditions(files, conditions, solvers, seeds, workers):
        found[run.condition].append(run)
        best = max(run.scores, key=lambda name: run.scores[name].iou)
        say(
            f"{run.condition}, seed {run.seed}: argmax {100 * run.argmax.iou:.2f}, "
            f"best {100 * run.scores[best].iou:.2f} ({best}), {run.seconds:.0f} s"
        )
    return {name: sorted(runs, key=lambda run: run.seed) for name, runs in found.items() if runs}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a capture with label maps of training and held-out views")
    parser.add_argument("--ply", type=Path, help="its splats; without both, the bundled capture is taken")
    parser.add_argument("--out", type=Path, help=f"folder for {TABLE_NAME} and {PLOT_NAME}")
    parser.add_argument("--quick", action="store_true", help="few conditions and seeds, one round, few steps")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the benchmark")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS), metavar="NAME")
    names = [condition.name for condition in CONDITIONS]
    # argparse fills in help texts by %.
    listed = "; ".join(names).replace("%", "%%")
    parser.add_argument("--conditions", nargs="+", choices=names, metavar="NAME", help=f"some of: {listed}")
    parser.add_argument("--seeds", type=int, help="how often dirt is drawn (5; quick: 2)")
    parser.add_argument("--rounds", type=int, help="repetitions where time is taken (3; quick: 1)")
    parser.add_argument("--threads", type=int, default=2, help="of the engine where time is taken")
    parser.add_argument("--workers", type=int, default=_cores(), help="processes where it is not")
    given = parser.parse_args(arguments)
    if (given.data is None) != (given.ply is None):
        parser.error("--data and --ply go together")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = _arguments(arguments)
    # Where torch shares short steps out, its threads spin and take the cores from the engine's.
    torch.set_num_threads(1)
    begin = time.perf_counter()
    files = CaptureFiles(given.data, given.ply)
    case = load_case(files)
    solvers = {name: SOLVERS[name] for name in given.solvers}
    seeds = given.seeds or (2 if given.quick else 5)
    rounds = given.rounds or (1 if given.quick else 3)
    chosen = QUICK_CONDITIONS if given.quick else CONDITIONS
    if given.conditions:
        chosen = [condition for condition in CONDITIONS if condition.name in given.conditions]

    report = Report()
    size = f"{case.held_out[0].camera.width}x{case.held_out[0].camera.height}"
    report.say(
        f"{files.name}: {len(case.splats):,} Gaussians, {len(case.objects)} objects, {len(case.training)} training "
        f"and {len(case.held_out)} held-out views of {size}. {datetime.date.today()}, {processor()}, "
        f"torch {torch.__version__}."
    )
    report.say()
    runs: dict[str, list[ConditionRun]] = {}
    descent = None
    if "accuracy" in given.only:
        runs = measure_accuracy(files, chosen, solvers, seeds, given.workers)
        report_accuracy(report, runs)
    if "cost" in given.only:
        costs = measure_costs(files, solvers, rounds, given.threads, say)
        report_costs(report, costs, len(case.training), given.threads)
    if "room" in given.only:
        room = RoomSize(gaussians=20_000, views=6) if given.quick else RoomSize()
        report_room(report, measure_room(solvers, room, rounds, given.threads, say), room, given.threads)
    if "descent" in given.only:
        rates, checkpoints = (LEARNING_RATES[1:3], QUICK_CHECKPOINTS) if given.quick else (LEARNING_RATES, CHECKPOINTS)
        descent = compare_with_descent(files, rates, checkpoints, rounds, given.threads, say)
        report_descent(report, descent)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / TABLE_NAME).write_text("\n".join(report.lines).rstrip() + "\n")
        draw_plot(given.out / PLOT_NAME, runs, descent)
    say(f"done in {time.perf_counter() - begin:.0f} s")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
