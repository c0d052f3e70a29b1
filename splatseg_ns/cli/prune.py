"""``splatseg prune``: the scene without the Gaussians that its pictures can do without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from torch import Tensor

from splatseg_ns.cli.console import output, progress, say, table
from splatseg_ns.cli.derive import NewScene
from splatseg_ns.lift import (
    Pictures,
    PruneRule,
    Quality,
    RemovalOrder,
    contribution,
    frames_per_second,
    largest_difference,
    mean_psnr,
    smallest_within,
)
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats, View, atomic_write
from splatseg_ns.segmentation import Segmentation

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Of the Gaussians, measured by ``--sweep``."""

HELD_OUT_EVERY = 8
"""Of the views of a capture that holds none out, as 3DGS and Nerfstudio do with COLMAP's."""


@dataclass(frozen=True)
class SplitViews:
    """The views that Gaussians are judged by, and those that only measure."""

    training: Sequence[View]
    held_out: Sequence[View]

    @staticmethod
    def of(capture: Capture, needed: bool) -> SplitViews:
        """As the capture splits them; if it holds none out, and some are needed, every eighth."""
        training = capture.with_split("train").views
        held_out = capture.with_split("test").views or capture.with_split("val").views
        if not training:
            raise ValueError(f"{capture.folder}: no view is for train; Gaussians are judged by training views")
        if held_out:
            return SplitViews(training, held_out)
        none = f"{capture.folder}: no view is held out"
        if not needed:
            say(f"{none}, so only training views are measured; train with a test split to have others")
            return SplitViews(training, ())
        if len(training) == 1:
            raise ValueError(f"{none}, and of a single view none can be; give a capture with more views")
        taken = training[::HELD_OUT_EVERY]
        say(
            f"{none}, so every {HELD_OUT_EVERY}th training view, {len(taken)} of {len(training)}, is now; splats that "
            "were trained on them lose more elsewhere: train with a test split to know it"
        )
        return SplitViews([view for place, view in enumerate(training) if place % HELD_OUT_EVERY], taken)


@dataclass(frozen=True)
class Measurement:
    """What splats are like in both kinds of views."""

    count: int
    megabytes: float
    """Of their parameters, as a checkpoint or a .ply has them."""

    training: Quality
    held_out: Quality


@dataclass(frozen=True)
class Bench:
    """Measures splats."""

    rasterizer: Rasterizer
    training: Pictures
    held_out: Pictures

    def psnr(self, splats: Splats, pictures: Pictures) -> float:
        """In some views, of which there are any."""
        found = mean_psnr(self.rasterizer, splats, pictures)
        if found is None:
            raise ValueError("the masks of the capture leave no pixel of these views to compare; see its mask_path")
        return found

    def measure(self, splats: Splats) -> Measurement:
        """Size, and likeness to both kinds of pictures."""
        return Measurement(
            len(splats),
            sum(tensor.nbytes for tensor in splats.tensors().values()) / 1e6,
            Quality.of(self.rasterizer, splats, self.training),
            Quality.of(self.rasterizer, splats, self.held_out),
        )

    def rates(self, *scenes: Splats) -> list[float]:
        """Frames per second of each."""
        return frames_per_second(self.rasterizer, scenes, self.held_out.cameras or self.training.cameras)


@dataclass(kw_only=True)
class Prune(NewScene):
    """Write the scene without the Gaussians that its pictures can do without, as a run or a .ply.

    By default all that no training view shows goes, which changes none of these pictures; held-out views may change.
    With --keep or --max-drop more goes. Objects, labels and votes of the Gaussians that stay are kept. Says size,
    likeness to the pictures and speed before and after.
    """

    keep: float | None = None
    """The share of the Gaussians that is left, above 0 and at most 1."""

    max_drop: str | None = None
    """How many dB of PSNR the held-out views may lose, as measured: 0.1 or 0.1dB. As much goes as that allows."""

    rule: PruneRule = "error"
    """What goes first: error, what changes the pictures least; gradient, what gives least to them, as published."""

    sweep: Path | None = None
    """A .png to plot both rules in, PSNR against the share that is left; then no run is written."""

    def run(self) -> None:
        max_drop = self._check_options()
        labelled = self.segmentation is not None or self.store().exists()
        splats, document = self.load() if labelled else (self.splats(), None)
        if self.keep is not None and _count(self.keep, splats) < 1:
            raise ValueError(f"--keep {self.keep:g} leaves none of {len(splats)} Gaussians; give a larger share")
        target = self.check_target("pruned") if self.sweep is None else self._check_plot(self.sweep)
        rasterizer, capture = self.rasterizer(), self.capture()
        split = SplitViews.of(capture, needed=self.keep is not None or max_drop is not None or self.sweep is not None)
        frame = self.frame(rasterizer, splats, capture)
        training, held_out = (
            Pictures(frame.move(replace(capture, views=tuple(views))).views)
            for views in (split.training, split.held_out)
        )
        bench = Bench(rasterizer, training, held_out)
        if self.sweep is not None:
            self._sweep(bench, splats, target)
            return
        before = bench.measure(splats)
        rows = self._rows(bench, splats, max_drop)
        left = splats.subset(rows)
        after = bench.measure(left)
        _print_measurements(before, after, bench.rates(splats, left))
        if self.keep is None and max_drop is None:
            difference = largest_difference(rasterizer, splats, left, training.cameras)
            say(f"no pixel of a training view changes by more than {difference:.5f} (1 is black against white)")
        self._write_left(target, splats, document, rows.cpu())

    def _check_options(self) -> float | None:
        """What was asked for makes sense; the dB that may be lost, if that was said."""
        if self.keep is not None and self.max_drop is not None:
            raise ValueError("--keep and --max-drop both say how much goes; give one of them")
        if self.keep is not None and not 0.0 < self.keep <= 1.0:
            raise ValueError(f"--keep is the share that is left, above 0 and at most 1, got {self.keep:g}")
        given = {"keep": self.keep, "max-drop": self.max_drop, "out": self.out}
        for name in [name for name, value in given.items() if value is not None and self.sweep is not None]:
            raise ValueError(f"--sweep writes a plot and no run, so --{name} has no meaning; leave one of them out")
        if self.max_drop is None:
            return None
        try:
            decibels = float(self.max_drop.strip().lower().removesuffix("db"))
        except ValueError:
            decibels = math.nan
        if not (math.isfinite(decibels) and decibels >= 0.0):
            raise ValueError(f"--max-drop is a number of dB, 0 or more, as 0.1 or 0.1dB, got {self.max_drop!r}")
        return decibels

    def _check_plot(self, path: Path) -> Path:
        if path.suffix.lower() != ".png":
            raise ValueError(f"{path}: the plot is a .png; give --sweep such a name")
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path.parent}: no such folder; make it, or give --sweep another name")
        return path

    def _rows(self, bench: Bench, splats: Splats, max_drop: float | None) -> Tensor:  # [N] bool
        """Which Gaussians stay."""
        cameras = bench.training.cameras
        with progress("views") as report:
            if self.keep is None and max_drop is None:
                rows = contribution(bench.rasterizer, splats, cameras, report) > 0.0
                if not bool(rows.any()):
                    raise ValueError("no training view shows any Gaussian; are these the splats of this capture?")
                return rows
            order = RemovalOrder(bench.rasterizer, splats, cameras, self.rule, progress=report)
            if self.keep is not None:
                return order.kept(_count(self.keep, splats))
            assert max_drop is not None
            least = bench.psnr(splats, bench.held_out) - max_drop
            return smallest_within(order, lambda rows: bench.psnr(splats.subset(rows), bench.held_out), least)

    def _sweep(self, bench: Bench, splats: Splats, target: Path) -> None:
        """Plot and print what both rules cost at each share."""

        def psnrs(part: Splats) -> tuple[float, float]:
            return bench.psnr(part, bench.training), bench.psnr(part, bench.held_out)

        curves: dict[PruneRule, Curve] = {}
        for rule in ("gradient", "error"):
            with progress(rule) as report:
                order = RemovalOrder(bench.rasterizer, splats, bench.training.cameras, rule, progress=report)
                parts = (splats.subset(order.kept(_count(share, splats))) for share in SHARES)
                curves[rule] = [psnrs(part) for part in chain([splats], parts)]
        columns = [f"{rule}, {views}" for rule in curves for views in ("training", "held out")]
        rows = table("PSNR in dB", "Gaussians", "left", *columns)
        for place, share in enumerate((1.0, *SHARES)):
            points = [f"{psnr:.2f}" for curve in curves.values() for psnr in curve[place]]
            rows.add_row(str(_count(share, splats)), f"{share:.0%}", *points)
        output().print(rows)
        plot_sweep(target, curves)
        say(f"wrote {target}")

    def _write_left(
        self,
        target: Path,
        splats: Splats,
        document: Segmentation | None,
        rows: Tensor,  # [N] bool
    ) -> None:
        """Write the Gaussians that stay, with their segmentation if there is one."""
        if document is None:
            self.write(target, splats, None, rows)
            return
        source = str(self.scene.file.resolve())
        asked = {"rule": self.rule, "keep": self.keep, "max_drop": self.max_drop}
        self.write(target, splats, document.with_entry("prune", source=source, **asked), rows, document.ids)
        for entry in document.objects:
            had = document.rows(entry.id)
            if bool(had.any()) and not bool((had & rows).any()):
                say(f"{entry.name} (id {entry.id}): none of its Gaussians is left; kept as an empty object")


Curve = list[tuple[float, float]]
"""PSNR in training and in held-out views, at all Gaussians and at each of ``SHARES``."""


def plot_sweep(path: Path, curves: dict[PruneRule, Curve]) -> None:
    """PSNR against the share that is left, training views on the left and held-out ones on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    for place, (axes, views) in enumerate(
        zip(figure.subplots(1, 2, sharey=True), ("training views", "held-out views"), strict=True)
    ):
        for (rule, curve), style in zip(curves.items(), ("o--", "s-"), strict=True):
            shares = [100.0 * share for share in (1.0, *SHARES)]
            axes.plot(shares, [point[place] for point in curve], style, label=rule)
        axes.set(title=views, xlabel="Gaussians left, %", xlim=(104.0, 100.0 * SHARES[-1] - 4.0))
        axes.grid(alpha=0.3)
        axes.legend()
        if place == 0:
            axes.set_ylabel("PSNR, dB")
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=110)


def _count(share: float, splats: Splats) -> int:
    """How many Gaussians a share is."""
    return round(share * len(splats))


def _print_measurements(before: Measurement, after: Measurement, rates: Sequence[float]) -> None:
    """Both in a row each, and by how much they differ."""
    columns = ("PSNR training", "SSIM", "PSNR held out", "SSIM", "frames per second")
    rows = table("Pruned", "Gaussians", "", "MB", *columns)
    for name, found, rate in zip(("before", "after"), (before, after), rates, strict=True):
        cells = [
            _number(value, digits)
            for quality in (found.training, found.held_out)
            for value, digits in ((quality.psnr, 2), (quality.ssim, 4))
        ]
        rows.add_row(str(found.count), name, f"{found.megabytes:.2f}", *cells, f"{rate:.1f}")
    changes = []
    for old, new in ((before.training, after.training), (before.held_out, after.held_out)):
        changes += [_number(new.psnr, 3, old.psnr), _number(new.ssim, 4, old.ssim)]
    share = f"{after.count / before.count:.1%}"
    rows.add_row(share, "change", share, *changes, f"x {rates[1] / rates[0]:.2f}")
    output().print(rows)


def _number(value: float | None, digits: int, less: float | None = None) -> str:
    """A figure, or by how much it has grown; none is a dash."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if less is None else f"{value - less:+.{digits}f}"
