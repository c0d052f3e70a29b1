"""Seconds to label a room, of more Gaussians than a capture with true label maps has, with clean masks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.conditions import TrainingView
from benchmarks.raster import Report
from benchmarks.rooms import ROOM, make_room, room_cameras
from splatseg_ns.lift import Evidence, Solver
from splatseg_ns.raster import Rasterizer
from splatseg_ns.raster.cpu import CpuRasterizer
from splatseg_ns.scene import Splats


@dataclass(frozen=True)
class RoomSize:
    """How large the job is."""

    gaussians: int = 300_000
    views: int = 48
    width: int = 512
    height: int = 384
    objects: int = 10


def room_views(rasterizer: Rasterizer, room: Splats, size: RoomSize) -> list[TrainingView]:
    """Views with clean masks. The room is divided among random points; what is nearest to the first is background."""
    random = torch.Generator().manual_seed(3)
    centers = torch.rand(size.objects + 1, 3, generator=random) * torch.from_numpy(ROOM).float()
    labels = torch.cdist(room.means, centers).argmin(dim=1)
    one_hot = (labels[:, None] == torch.arange(size.objects + 1)).float()
    return [
        TrainingView(camera, rasterizer.render(room, camera, features=one_hot).colors.argmax(dim=-1), None)
        for camera in room_cameras(size.views, size.width, size.height)
    ]


def measure_room(
    solvers: Mapping[str, Solver], size: RoomSize, rounds: int, threads: int, say: Callable[[str], None]
) -> dict[str, float]:
    """The median seconds of each solver from label maps in memory to labels."""
    engine, room = CpuRasterizer(threads=threads), make_room(size.gaussians)
    views = room_views(engine, room, size)
    taken: dict[str, list[float]] = {name: [] for name in solvers}
    for number in range(rounds):
        for name, solver in solvers.items():
            begin = time.perf_counter()
            solver.solve(Evidence.of(engine, room, views, range(size.objects + 1)))
            taken[name].append(time.perf_counter() - begin)
        say(f"room: round {number + 1} of {rounds}")
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def report_room(report: Report, seconds: Mapping[str, float], size: RoomSize, threads: int) -> None:
    """One line per solver."""
    report.say(
        f"A room of {size.gaussians:,} Gaussians, {size.views} views of {size.width}x{size.height} with clean masks of "
        f"{size.objects} objects, {threads} threads:"
    )
    report.say()
    rows: Sequence[list[str]] = [[name, f"{taken:.2f}"] for name, taken in seconds.items()]
    report.table(["solver", "seconds"], rows)
