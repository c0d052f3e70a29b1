"""How good the labels of every solver are under every condition."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache

import torch

from benchmarks.accuracy import HeldOutViews, Score
from benchmarks.conditions import Condition, TrainingView
from benchmarks.entrants import ARGMAX
from benchmarks.lift_case import CaptureFiles, load_case
from benchmarks.remembering import RememberingRasterizer
from splatseg_ns.lift import Evidence, Solver
from splatseg_ns.raster.cpu import CpuRasterizer


@dataclass(frozen=True)
class ConditionRun:
    """What all solvers made of the same masks."""

    condition: str
    seed: int
    scores: dict[str, Score]
    """By the name of the solver."""

    argmax: Score
    oracle: Score | None
    """Argmax of the views that are not wrong, where some are."""

    seconds: float
    """For all of it."""


def run_conditions(
    files: CaptureFiles,
    conditions: Sequence[Condition],
    solvers: Mapping[str, Solver],
    seeds: int,
    workers: int,
) -> Iterator[ConditionRun]:
    """All seeds of all conditions that the capture can show, as they are done; the longest ones come first."""
    available = len(load_case(files).training)
    fitting = sorted((entry for entry in conditions if entry.fits(available)), key=lambda entry: -(entry.views or 1e9))
    jobs = [(entry, seed) for entry in fitting for seed in entry.seeds(available, seeds)]
    if workers == 1:
        for condition, seed in jobs:
            yield run_condition(files, condition, seed, solvers)
        return
    # Forks would take locks of torch's and the engine's threads along, held by nobody.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(run_condition, files, condition, seed, dict(solvers)) for condition, seed in jobs]
        for done in as_completed(waiting):
            yield done.result()


def run_condition(files: CaptureFiles, condition: Condition, seed: int, solvers: Mapping[str, Solver]) -> ConditionRun:
    """Make the masks, solve, and judge; on one thread, since there is one process for each."""
    torch.set_num_threads(1)
    begin = time.perf_counter()
    case, bench = load_case(files), _bench(files)
    views = condition.make(case.training, case.objects, seed)
    scores = {name: bench.score(solver, views) for name, solver in solvers.items()}
    argmax = bench.score(ARGMAX, views)
    right = [view for view in views if not view.wrong]
    oracle = bench.score(ARGMAX, right) if len(right) < len(views) else None
    return ConditionRun(condition.name, seed, scores, argmax, oracle, time.perf_counter() - begin)


@dataclass(frozen=True, eq=False)
class _Bench:
    """What one process keeps from condition to condition."""

    files: CaptureFiles
    rasterizer: RememberingRasterizer
    held_out: HeldOutViews

    def score(self, solver: Solver, views: Sequence[TrainingView]) -> Score:
        case = load_case(self.files)
        return self.held_out.score(solver.solve(Evidence.of(self.rasterizer, case.splats, views, case.ids)).labels)


@lru_cache(maxsize=1)
def _bench(files: CaptureFiles) -> _Bench:
    case, engine = load_case(files), CpuRasterizer(threads=1)
    held_out = HeldOutViews(engine, case.splats, case.held_out, case.objects)
    return _Bench(files, RememberingRasterizer(engine, case.splats), held_out)
