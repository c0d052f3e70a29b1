"""What pruning costs: ``python -m benchmarks.prune --ply SPLATS --data CAPTURE``, or ``--load-config RUN``.

Both rules at several sizes, in training and in held-out views; what goes without loss, by the votes and by gradients as
published; and what a bound on the held-out loss allows.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.raster import Report, processor
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.cli.prune import Bench, Measurement, SplitViews
from splatseg_ns.lift import Pictures, PruneRule, RemovalOrder, contribution, largest_difference, smallest_within
from splatseg_ns.raster import Rasterizer, one_torch_thread
from splatseg_ns.scene import Camera, Splats

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)

RULES: tuple[PruneRule, ...] = ("gradient", "error")

TARGET_OF_LOSS = 0.5
"""What the ``error`` rule may lose of what the ``gradient`` rule loses in held-out views."""

LEAST_LOSS = 0.02
"""In dB; where the published rule loses less, a quotient says nothing."""

HEADER = ["", "Gaussians", "MB", "PSNR training", "SSIM", "PSNR held out", "SSIM", "frames per second"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, help="config.yml of a run")
    parser.add_argument("--ply", type=Path, help="or splats in a file")
    parser.add_argument("--data", type=Path, help="the capture")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the Gaussians, falling")
    parser.add_argument("--max-drop", type=float, nargs="*", default=[0.1], help="dB that held-out views may lose")
    given = parser.parse_args(arguments)
    report = Report()
    inputs = SceneInputs(load_config=given.load_config, ply=given.ply, data=given.data, device="cpu")
    with one_torch_thread():
        splats, bench = opened(inputs)
        held_out = len(bench.held_out)
        report.say(
            f"{datetime.date.today()}, {processor()}, {len(splats)} Gaussians, {len(bench.training)} training views, "
            f"{held_out} held-out views, load {os.getloadavg()[0]:.1f} at the start"
        )
        report.say()
        whole = bench.measure(splats)
        report_lossless(report, bench, splats, whole)
        orders: dict[PruneRule, RemovalOrder] = {
            rule: RemovalOrder(bench.rasterizer, splats, bench.training.cameras, rule) for rule in RULES
        }
        report_sizes(report, bench, splats, whole, orders, given.shares)
        for drop in given.max_drop:
            report_bound(report, bench, splats, whole, orders, drop)


def opened(inputs: SceneInputs) -> tuple[Splats, Bench]:
    """The splats, and what measures them."""
    rasterizer, splats, capture = inputs.rasterizer(), inputs.splats(), inputs.capture()
    frame = inputs.frame(rasterizer, splats, capture)
    split = SplitViews.of(capture, needed=True)
    training, held_out = (
        Pictures(frame.move(replace(capture, views=tuple(views))).views) for views in (split.training, split.held_out)
    )
    return splats, Bench(rasterizer, training, held_out)


def report_lossless(report: Report, bench: Bench, splats: Splats, whole: Measurement) -> None:
    """What goes because no training view shows it, or no gradient reaches it."""
    cameras = bench.training.cameras
    reached = gradient_reaches(bench.rasterizer, splats, cameras)
    shown = contribution(bench.rasterizer, splats, cameras) > 0.0
    parts = {"votes above 0": shown, "gradient above 0": reached}
    report_table(report, bench, splats, whole, {name: splats.subset(kept) for name, kept in parts.items()})
    for name, kept in parts.items():
        difference = largest_difference(bench.rasterizer, splats, splats.subset(kept), cameras)
        what = f"{name}: {1.0 - float(kept.double().mean()):.2%} go, largest change of a training pixel"
        if kept is shown:
            report.target(what, 255.0 * difference, 0.5, " of 255")
        else:
            report.say(f"- {what}: {255.0 * difference:.2f} of 255")
    report.say()


def gradient_reaches(rasterizer: Rasterizer, splats: Splats, cameras: Sequence[Camera]) -> Tensor:  # [N] bool
    """The published rule, word for word: the gradient of the mean picture by the constant colour is not zero."""
    found = torch.zeros(len(splats), dtype=torch.bool, device=splats.device)
    for camera in cameras:
        constant = splats.sh[:, :1].detach().clone().requires_grad_()
        colored = replace(splats, sh=torch.cat([constant, splats.sh[:, 1:]], dim=1))
        (gradient,) = torch.autograd.grad(rasterizer.render(colored, camera).colors.mean(), constant)
        found |= gradient[:, 0].norm(dim=1) > 0.0
    return found


def report_sizes(
    report: Report,
    bench: Bench,
    splats: Splats,
    whole: Measurement,
    orders: dict[PruneRule, RemovalOrder],
    shares: Sequence[float],
) -> None:
    """Both rules at equal sizes."""
    parts: dict[str, Splats] = {}
    seconds = dict.fromkeys(orders, 0.0)
    for share in shares:
        for rule, order in orders.items():
            begin = time.perf_counter()
            kept = order.kept(round(share * len(splats)))
            seconds[rule] += time.perf_counter() - begin
            parts[f"{share:.0%}, {rule}"] = splats.subset(kept)
    found = report_table(report, bench, splats, whole, parts)
    report.say(
        "Seconds to choose for all sizes: " + ", ".join(f"{rule} {spent:.1f}" for rule, spent in seconds.items())
    )
    report.say()
    for share in shares:
        published, ours = (held_out_loss(found[f"{share:.0%}, {rule}"], whole) for rule in RULES)
        what = f"{share:.0%} left, held out: gradient loses {published:.3f} dB, error {ours:.3f} dB"
        if published >= LEAST_LOSS:
            report.target(f"{what}, a share of", ours / published, TARGET_OF_LOSS, "")
        else:
            report.say(f"- {what}")
    report.say()


def report_bound(
    report: Report,
    bench: Bench,
    splats: Splats,
    whole: Measurement,
    orders: dict[PruneRule, RemovalOrder],
    drop: float,
) -> None:
    """How few Gaussians keep the bound."""
    parts: dict[str, Splats] = {}
    least = bench.psnr(splats, bench.held_out) - drop
    for rule, order in orders.items():
        kept = smallest_within(order, lambda kept: bench.psnr(splats.subset(kept), bench.held_out), least)
        parts[f"{float(kept.double().mean()):.1%}, {rule}"] = splats.subset(kept)
    found = report_table(report, bench, splats, whole, parts)
    for name, measured in found.items():
        report.target(f"--max-drop {drop:g}, {name}: held-out loss", held_out_loss(measured, whole), drop, " dB")
    report.say()


def report_table(
    report: Report, bench: Bench, splats: Splats, whole: Measurement, parts: dict[str, Splats]
) -> dict[str, Measurement]:
    """A row for all splats, and one for each of these parts of them; what was measured of the parts."""
    found = {name: bench.measure(part) for name, part in parts.items()}
    rates = bench.rates(splats, *parts.values())
    rows = [
        row(name, measured, rate) for (name, measured), rate in zip({"all": whole, **found}.items(), rates, strict=True)
    ]
    report.table(HEADER, rows)
    return found


def held_out_loss(found: Measurement, whole: Measurement) -> float:
    """In dB."""
    assert found.held_out.psnr is not None and whole.held_out.psnr is not None
    return whole.held_out.psnr - found.held_out.psnr


def row(name: str, found: Measurement, rate: float) -> list[str]:
    """Of a table."""
    qualities = [
        f"{value:.{digits}f}" if value is not None else "-"
        for quality in (found.training, found.held_out)
        for value, digits in ((quality.psnr, 2), (quality.ssim, 4))
    ]
    return [name, str(found.count), f"{found.megabytes:.2f}", *qualities, f"{rate:.1f}"]


if __name__ == "__main__":
    main()
