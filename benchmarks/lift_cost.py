"""Seconds and memory of counting and solving.

The peak memory of a solver is measured in a process of its own: ``python -m benchmarks.lift_cost --solver robust``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.conditions import CONDITIONS, TrainingView
from benchmarks.entrants import ARGMAX, SOLVERS
from benchmarks.lift_case import CaptureFiles, LiftCase, load_case
from benchmarks.memory import peak, reset_peak
from splatseg_ns.lift import Evidence, Solver
from splatseg_ns.raster import Rasterizer
from splatseg_ns.raster.cpu import CpuRasterizer

COST_CONDITIONS = tuple(condition for condition in CONDITIONS if condition.name in ("clean", "e/d"))
"""Clean masks may be settled sooner than dirty ones; the peak is that of the last."""


@dataclass(frozen=True)
class Cost:
    """Of one solver."""

    seconds: dict[str, float]
    """The median over rounds by the condition."""

    peak_bytes: int
    """Above splats and label maps."""


def measure_costs(
    files: CaptureFiles,
    solvers: Mapping[str, Solver],
    rounds: int,
    threads: int,
    say: Callable[[str], None],
) -> dict[str, Cost]:
    """One round of every solver, then the next, so that all meet the same disturbances; then their memory."""
    case, engine = load_case(files), CpuRasterizer(threads=threads)
    solve_once(engine, case, ARGMAX, [TrainingView.of(view) for view in case.training])
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in solvers}
    for condition in COST_CONDITIONS:
        views = condition.make(case.training, case.objects, seed=0)
        for number in range(rounds):
            for name, solver in solvers.items():
                samples[name].setdefault(condition.name, []).append(solve_once(engine, case, solver, views))
            say(f"seconds, {condition.name}: round {number + 1} of {rounds}")
    costs = {}
    for name, by_condition in samples.items():
        say(f"memory: {name}")
        medians = {condition: statistics.median(taken) for condition, taken in by_condition.items()}
        costs[name] = Cost(medians, peak_above_inputs(files, name, threads))
    return costs


def solve_once(engine: Rasterizer, case: LiftCase, solver: Solver, views: Sequence[TrainingView]) -> float:
    """The seconds from label maps in memory to labels."""
    evidence = Evidence.of(engine, case.splats, views, case.ids)
    begin = time.perf_counter()
    solver.solve(evidence)
    return time.perf_counter() - begin


def peak_above_inputs(files: CaptureFiles, solver: str, threads: int) -> int:
    """Bytes that a solver takes at most under the last condition, beyond the splats and label maps it is given."""
    command = [sys.executable, "-m", "benchmarks.lift_cost", *files.arguments]
    command += ["--solver", solver, "--threads", str(threads)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(answer.stdout.split()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--ply", type=Path)
    parser.add_argument("--solver", choices=SOLVERS, required=True)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)

    case, engine = load_case(CaptureFiles(given.data, given.ply)), CpuRasterizer(threads=given.threads)
    solver = SOLVERS[given.solver]
    condition = COST_CONDITIONS[-1]
    views = condition.make(case.training, case.objects, seed=0)
    # A few Gaussians first, so that what is only loaded once does not count.
    few = torch.arange(len(case.splats)) < 100
    solver.solve(Evidence.of(engine, case.splats.subset(few), views[:2], case.ids))
    evidence = Evidence.of(engine, case.splats, views, case.ids)
    before = reset_peak()
    solver.solve(evidence)
    print(peak() - before)


if __name__ == "__main__":
    main()
