"""Tables and the plot of what ``benchmarks.lift`` found."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.accuracy import Score
from benchmarks.lift_accuracy import ConditionRun
from benchmarks.lift_cost import COST_CONDITIONS, Cost
from benchmarks.lift_descent import EQUAL_WITHIN, DescentComparison
from benchmarks.raster import Report

LEAST_GAP = 0.0005
"""Between argmax and the oracle; of a smaller one no share is told."""

Runs = Mapping[str, Sequence[ConditionRun]]
"""The seeds of every condition, by its name."""


def report_accuracy(report: Report, runs: Runs) -> None:
    """One table for each figure, and the way from argmax to the oracle."""
    figures: dict[str, Callable[[Score], float]] = {
        "IoU": lambda score: score.iou,
        "IoU of the worst object": lambda score: score.worst,
        "Boundary IoU": lambda score: score.boundary_iou,
    }
    solvers = list(next(iter(runs.values()))[0].scores)
    for title, figure in figures.items():
        report.say(f"{title} in held-out views, in %, mean ± spread (standard deviation) of the seeds:")
        report.say()
        rows = [
            [name, *(_mean_and_spread([figure(run.scores[name]) for run in runs[of]]) for of in runs)]
            for name in solvers
        ]
        report.table(["", *runs], rows)
    _report_oracle(report, runs, solvers)


def _report_oracle(report: Report, runs: Runs, solvers: Sequence[str]) -> None:
    """How much of what wrong views cost is won back."""
    argmax: dict[str, list[float]] = {}
    oracle: dict[str, list[float]] = {}
    for name, of_seeds in runs.items():
        scores = [run.oracle.iou for run in of_seeds if run.oracle is not None]
        if scores:
            oracle[name] = scores
            argmax[name] = [run.argmax.iou for run in of_seeds if run.oracle is not None]
    if not oracle:
        return
    report.say("IoU of argmax and of the oracle that leaves out exactly the wrong views, in %, then for each solver")
    report.say(f"the share of the way from the one to the other (none where that is under {100 * LEAST_GAP:g} points):")
    report.say()
    rows = [["argmax", *(_mean_and_spread(scores) for scores in argmax.values())]]
    rows.append(["oracle", *(_mean_and_spread(scores) for scores in oracle.values())])
    for solver in solvers:
        cells = []
        for name in oracle:
            start, end = statistics.mean(argmax[name]), statistics.mean(oracle[name])
            reached = statistics.mean(run.scores[solver].iou for run in runs[name] if run.oracle is not None)
            cells.append(f"{100 * (reached - start) / (end - start):.0f} %" if end - start >= LEAST_GAP else "")
        rows.append([solver, *cells])
    report.table(["", *oracle], rows)


def report_costs(report: Report, costs: Mapping[str, Cost], views: int, threads: int) -> None:
    """Seconds and memory of every solver."""
    report.say(f"Counting and solving, {views} views, {threads} threads; memory above splats and label maps:")
    report.say()
    names = [condition.name for condition in COST_CONDITIONS]
    rows = [
        [solver, *(f"{cost.seconds[name]:.2f}" for name in names), f"{cost.peak_bytes / 1e6:.0f}"]
        for solver, cost in costs.items()
    ]
    report.table(["", *(f"{name}, s" for name in names), f"peak ({names[-1]}), MB"], rows)


def report_descent(report: Report, found: DescentComparison) -> None:
    """Where descents get, and the ratio of times at equal IoU."""
    report.say("Gradient descent against the closed form, clean masks; a step takes one view:")
    report.say()
    rows = [
        [f"closed form, {point.steps} views", "", f"{100 * point.iou:.2f}", f"{point.seconds:.2f}", ""]
        for point in found.closed
    ]
    closed = found.closed[-1]
    for run in found.runs:
        best = f"{100 * run.best.iou:.2f} ({run.best.steps} steps, {run.best.seconds:.1f} s)"
        reached = run.first_at(closed.iou)
        if reached is None:
            rows.append([run.config.name, "never", best, "", ""])
        else:
            ratio = f"{reached.seconds / closed.seconds:.1f} x"
            rows.append([run.config.name, str(reached.steps), best, f"{reached.seconds:.2f}", ratio])
    report.table(["", "steps to equal IoU", "best IoU, %", "seconds (to equal IoU)", "ratio to the closed form"], rows)
    for run in found.tuned():
        reached = run.first_at(closed.iou)
        report.say(
            f"- {run.config.name} (the best of its rates): comes within {100 * EQUAL_WITHIN:g} points of the closed "
            + ("form never." if reached is None else f"form in {reached.seconds / closed.seconds:.1f} times its time.")
        )
    report.say()


def draw_plot(path: Path, runs: Runs, descent: DescentComparison | None) -> None:
    """IoU by condition and solver, and by seconds for descents; what was not measured is left out."""
    panels = bool(runs) + (descent is not None)
    if panels == 0:
        return
    figure = Figure(figsize=(8.0 * panels, 6.5), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if runs:
        _draw_conditions(axes.pop(0), runs)
    if descent is not None:
        _draw_descent(axes.pop(0), descent)
    figure.savefig(path, dpi=110)


def _draw_conditions(axes: Axes, runs: Runs) -> None:
    names = list(runs)
    solvers = list(runs[names[0]][0].scores)
    for number, solver in enumerate(solvers):
        scores = [[100 * run.scores[solver].iou for run in runs[name]] for name in names]
        means = [statistics.mean(values) for values in scores]
        spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in scores]
        # A little below one another, so that equal ones can be told apart.
        heights = [row + 0.7 * ((number + 0.5) / len(solvers) - 0.5) for row in range(len(names))]
        color = colormaps["tab20"](number % 20)
        axes.errorbar(means, heights, xerr=spreads, fmt="o", markersize=4, color=color, label=solver)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("IoU in held-out views, %")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)


def _draw_descent(axes: Axes, found: DescentComparison) -> None:
    for number, run in enumerate(found.runs):
        style = "-" if run.config.loss == "softmax" else "--"
        seconds, ious = [point.seconds for point in run.curve], [100 * point.iou for point in run.curve]
        axes.plot(seconds, ious, style, marker=".", color=colormaps["tab20"](number % 20), label=run.config.name)
    seconds, ious = [point.seconds for point in found.closed], [100 * point.iou for point in found.closed]
    axes.plot(seconds, ious, "k-s", label=f"closed form, {', '.join(str(point.steps) for point in found.closed)} views")
    axes.axhline(ious[-1], color="black", linewidth=0.5)
    axes.set_xscale("log")
    axes.set_xlabel("seconds")
    axes.set_ylabel("IoU in held-out views, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _mean_and_spread(shares: Sequence[float]) -> str:
    """In per cent; one seed has no spread."""
    mean = f"{100 * statistics.mean(shares):.2f}"
    return f"{mean} ± {100 * statistics.stdev(shares):.2f}" if len(shares) > 1 else mean
