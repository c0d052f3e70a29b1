"""Speed and memory of the engines, side by side in one run: ``python -m benchmarks.raster``."""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.cases import VOTES, Contestant, Scene, Stages, contestants
from benchmarks.memory import peak_above_inputs
from benchmarks.prototype import ISA_FLAGS, compile_prototype
from benchmarks.rooms import make_room, room_cameras
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.scene.ply import read_ply

JOBS = ("forward", *VOTES.values(), "backward")

SHARED_STAGES = ("project", "sort", "bin")
"""What every job begins with."""

TARGET_PROTOTYPE = 1.1
TARGET_TILE_TORCH = 40.0
TARGET_BACKWARD = 2.0
TARGET_GIGABYTES = 1.0


@dataclass(frozen=True)
class Sample:
    """One round of one job."""

    wall: float
    cpu: float
    stages: Stages

    @property
    def told(self) -> float:
        """Seconds in the stages that the engine told of, or of the whole call if it told of none."""
        return sum(self.stages.values()) if self.stages else self.wall


Samples = dict[tuple[str, str], list[Sample]]
"""By the title of the contestant and the name of the job; sample i of everybody is of round i."""


class Report:
    """Prints lines, and keeps them for a file."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.say("| " + " | ".join(header) + " |")
        self.say("|---" + "|---:" * (len(header) - 1) + "|")
        for row in rows:
            self.say("| " + " | ".join(row) + " |")
        self.say()

    def target(self, what: str, value: float, limit: float, unit: str, *, at_least: bool = False) -> None:
        """One line that says whether a target was reached."""
        reached = value >= limit if at_least else value <= limit
        sign = ">=" if at_least else "<="
        self.say(f"- {'PASS' if reached else 'FAIL'}: {what}: {value:.2f}{unit} ({sign} {limit:g}{unit})")


def measure(entrants: Sequence[Contestant], rounds: int) -> Samples:
    """Every job in turns: one round of everybody, then the next, so that all meet the same disturbances."""
    samples: Samples = {}
    for job in JOBS:
        able = [entrant for entrant in entrants if job in entrant.jobs]
        for number in range(-1, rounds):
            for entrant in able:
                if number >= entrant.most_rounds:
                    continue
                sample = _run(entrant, job)
                if number >= 0:
                    samples.setdefault((entrant.title, job), []).append(sample)
    return samples


def _run(entrant: Contestant, job: str) -> Sample:
    torch.set_num_threads(max(entrant.threads, 1))
    wall, cpu = time.perf_counter(), time.process_time()
    stages = entrant.jobs[job]()
    return Sample(time.perf_counter() - wall, time.process_time() - cpu, stages)


def report_scene(report: Report, scene: Scene, entrants: Sequence[Contestant], samples: Samples) -> None:
    """The tables and targets of one scene."""
    report.say(f"## {scene.name}")
    report.say()
    titles = [entrant.title for entrant in entrants]
    report.say("Whole calls, wall ms (CPU ms); backward is the gradient alone, after a forward that is not counted:")
    report.say()
    report.table(["", *JOBS], [[title, *(_call_cell(samples, title, job) for job in JOBS)] for title in titles])
    report.say("Stages, ms, as far as they are told:")
    report.say()
    _stage_table(report, titles, samples)
    _report_prototype(report, titles, samples)
    yardstick = next(entrant.title for entrant in entrants if entrant.name == "per-tile torch")
    fastest = _fastest(entrants, samples)
    for job in ("forward", *VOTES.values()):
        ratio = _ratio(samples, yardstick, fastest, job)
        report.target(f"{fastest} against {yardstick}, {job}", ratio, TARGET_TILE_TORCH, " x", at_least=True)
    for entrant in entrants:
        if (entrant.title, "backward") in samples:
            parts = [sample.stages for sample in samples[entrant.title, "backward"]]
            ratio = statistics.median(part["backward call"] / part["forward call"] for part in parts)
            report.target(f"{entrant.title}: backward / forward", ratio, TARGET_BACKWARD, "")
    report.say()


def _report_prototype(report: Report, titles: Sequence[str], samples: Samples) -> None:
    """Project, bin and votes of the CPU engine against the prototype of the same instruction set and threads."""
    rivals = {title: title.replace("CPU", "prototype").replace(" uncut", "") for title in titles}
    rivals = {title: rival for title, rival in rivals.items() if rival != title and (rival, VOTES[66]) in samples}
    if not rivals:
        return
    report.say("Project + bin + votes against the prototype, told stages (CPU seconds of the whole calls):")
    report.say()
    stages, cells = {}, {}
    for title, rival in rivals.items():
        rounds = {job: list(zip(samples[title, job], samples[rival, job], strict=False)) for job in VOTES.values()}
        stages[title] = [statistics.median(a.told / b.told for a, b in pairs) for pairs in rounds.values()]
        cpu = [statistics.median(a.cpu / b.cpu for a, b in pairs) for pairs in rounds.values()]
        cells[title] = [f"{wall:.2f} ({of_cpu:.2f})" for wall, of_cpu in zip(stages[title], cpu, strict=True)]
    report.table(["", *VOTES.values()], [[title, *row] for title, row in cells.items()])
    for title, ratios in stages.items():
        report.target(f"{title} / {rivals[title]}, worst of the votes", max(ratios), TARGET_PROTOTYPE, "")


def _ratio(samples: Samples, above: str, below: str, job: str) -> float:
    """The median over the rounds of the wall times of two contestants."""
    return statistics.median(a.wall / b.wall for a, b in zip(samples[above, job], samples[below, job], strict=False))


def _fastest(entrants: Sequence[Contestant], samples: Samples) -> str:
    """The CPU engine of most threads that takes the least time for its votes."""
    most = max(entrant.threads for entrant in entrants)
    job = VOTES[66]
    titles = [
        entrant.title
        for entrant in entrants
        if entrant.threads == most and entrant.name.startswith("CPU ") and "forward" in entrant.jobs
    ]
    return min(titles, key=lambda title: statistics.median(sample.wall for sample in samples[title, job]))


def _call_cell(samples: Samples, title: str, job: str) -> str:
    taken = samples.get((title, job))
    if taken is None:
        return ""
    if job == "backward":
        return _milliseconds([sample.stages["backward call"] for sample in taken])
    return f"{_milliseconds([sample.wall for sample in taken])} ({_milliseconds([sample.cpu for sample in taken])})"


def _stage_table(report: Report, titles: Sequence[str], samples: Samples) -> None:
    """The shared stages of the 66-label votes, then of each job what comes on top."""
    rows, columns = {}, {}
    for title in titles:
        row = {}
        for job in JOBS:
            taken = samples.get((title, job), [])
            for stage in taken[0].stages if taken else ():
                if stage.endswith(" call") or (stage in SHARED_STAGES and job != VOTES[66]):
                    continue
                if job == "backward" and stage == "forward":
                    continue
                column = stage if stage in SHARED_STAGES or stage == job else f"{job}: {stage}"
                row[column] = _milliseconds([sample.stages[stage] for sample in taken])
        rows[title] = row
        columns |= dict.fromkeys(row)
    ordered = sorted(columns, key=lambda column: column not in SHARED_STAGES)
    told = [[title, *(row.get(column, "") for column in ordered)] for title, row in rows.items() if row]
    report.table(["", *ordered], told)


def _milliseconds(seconds: Sequence[float]) -> str:
    return f"{1e3 * statistics.median(seconds):.1f}"


def report_memory(report: Report, scene: Scene, threads: int) -> None:
    """The peak of every job of the CPU engine above its inputs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.pt"
        scene.save(file)
        peaks = [peak_above_inputs(file, job, threads) / 1e9 for job in JOBS]
    report.say(f"Peak memory of the CPU engine above its inputs, {threads} threads, MB:")
    report.say()
    report.table(["", *JOBS], [["CPU", *(f"{1e3 * peak:.0f}" for peak in peaks)]])
    report.target("worst peak memory", max(peaks), TARGET_GIGABYTES, " GB")
    report.say()


def camera_outside(splats: Splats, width: int, height: int) -> Camera:
    """A camera that looks at the middle of a scene from outside, for splats that come without one."""
    center = splats.means.median(dim=0).values
    radius = (splats.means - center).norm(dim=1).quantile(0.8)
    forward = torch.nn.functional.normalize(torch.tensor([1.0, 1.0, -0.7]), dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    viewmat = torch.eye(4)
    viewmat[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
    viewmat[:3, 3] = -viewmat[:3, :3] @ (center - 1.5 * radius * forward)
    K = torch.tensor([[0.78 * width, 0.0, width / 2], [0.0, 0.78 * width, height / 2], [0.0, 0.0, 1.0]])
    return Camera(viewmat, K, width, height)


def _size(text: str) -> int:
    units = {"k": 1_000, "M": 1_000_000}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1] in units else int(text)


def _picture(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=["100k", "300k", "1M"], help="Gaussians of the synthetic rooms")
    parser.add_argument("--pictures", nargs="+", type=_picture, default=[(640, 480), (1280, 960)], metavar="WxH")
    parser.add_argument("--ply", type=Path, help="a real splat, measured too")
    parser.add_argument("--sh-degree", type=int, default=3, help="colour degree of the rooms")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="repetitions of every job")
    parser.add_argument("--prototype", type=Path, help="folder of kern_v5.cpp, to be compiled and compared with")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--out", type=Path, help="write what is printed to this file too")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    report = Report()
    report.say(f"{datetime.date.today()}, {processor()}, torch {torch.__version__}, {arguments.rounds} rounds.")
    report.say()
    splats = {f"room of {size}": make_room(_size(size), sh_degree=arguments.sh_degree) for size in arguments.sizes}
    cameras = {picture: room_cameras(1, *picture)[0] for picture in arguments.pictures}
    scenes = [
        Scene(f"{name} at {_times(picture)}", room, camera)
        for name, room in splats.items()
        for picture, camera in cameras.items()
    ]
    if arguments.ply is not None:
        real = read_ply(arguments.ply)
        scenes += [
            Scene(f"{arguments.ply.name} ({len(real):,}) at {_times(picture)}", real, camera_outside(real, *picture))
            for picture in arguments.pictures
        ]
    with tempfile.TemporaryDirectory() as folder:
        compiled = {}
        if arguments.prototype is not None:
            compiled = {isa: compile_prototype(arguments.prototype, isa, Path(folder)) for isa in ISA_FLAGS}
        prototypes = {isa: library for isa, library in compiled.items() if library is not None}
        for scene in scenes:
            entrants = list(contestants(scene, arguments.threads, prototypes))
            report_scene(report, scene, entrants, measure(entrants, arguments.rounds))
            if not arguments.no_memory:
                report_memory(report, scene, max(arguments.threads))
    if arguments.out is not None:
        arguments.out.write_text("\n".join(report.lines) + "\n")


def _times(picture: tuple[int, int]) -> str:
    return f"{picture[0]}x{picture[1]}"


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else f"{platform.machine()} {platform.processor()}"


if __name__ == "__main__":
    main()
