"""The peak memory of one job, measured in a process of its own: ``python -m benchmarks.memory SCENE --job forward``."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.cases import Scene, engine_jobs
from benchmarks.rooms import make_room, room_cameras
from splatseg_ns.raster.cpu import CpuRasterizer

_STATUS = Path("/proc/self/status")


def peak_above_inputs(scene_file: Path, job: str, threads: int) -> int:
    """Bytes that a job of the CPU engine takes at most, beyond the scene that it is given."""
    command = [sys.executable, "-m", "benchmarks.memory", str(scene_file), "--job", job, "--threads", str(threads)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(answer.stdout.split()[-1])


def reset_peak() -> int:
    """Forget the peak so far where the system can; the bytes that are resident now, or the peak where it cannot."""
    if not _STATUS.exists():
        return peak()
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def peak() -> int:
    """Bytes that were resident at most."""
    # Not ru_maxrss on Linux: a new process inherits that from the one that started it.
    if _STATUS.exists():
        return _status_bytes("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status_bytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--job", required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    # A tiny scene first, so that what is only loaded once does not count.
    engine_jobs(CpuRasterizer(threads=arguments.threads), _tiny())[arguments.job]()
    job = engine_jobs(CpuRasterizer(threads=arguments.threads), Scene.load(arguments.scene))[arguments.job]
    before = reset_peak()
    job()
    print(peak() - before)


def _tiny() -> Scene:
    return Scene("tiny", make_room(100), room_cameras(1, 32, 32)[0])


if __name__ == "__main__":
    main()
