"""An earlier engine to be measured against: one C++ file, compiled here and driven through ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatseg_ns.scene import Camera, Splats

FLAGS = ("-O3", "-ffast-math", "-fno-finite-math-only", "-fopenmp", "-shared", "-fPIC", "-std=c++17")

ISA_FLAGS = {"avx512": ("-march=native", "-DSIMDK=3"), "avx2": ("-mavx2", "-mfma", "-DSIMDK=2")}


def compile_prototype(folder: Path, isa: str, out: Path) -> Path | None:
    """The library for one instruction set, None if the compiler or this machine cannot make it."""
    library = out / f"prototype_{isa}.so"
    command = ["g++", *FLAGS, *ISA_FLAGS[isa], str(folder / "kern_v5.cpp"), "-o", str(library)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (error.stderr or "").strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        print(f"prototype for {isa}: cannot be compiled: {reason[:500]}")
        return None
    return library


class Prototype:
    """One scene in one view. It draws every pixel of the 1/255 ellipse and nothing else of a render profile."""

    def __init__(self, library: Path, splats: Splats, camera: Camera, threads: int) -> None:
        self._calls = ctypes.CDLL(str(library))
        self._calls.ws_new.restype = ctypes.c_void_p
        self._calls.ws_tm.restype = ctypes.POINTER(ctypes.c_double)
        self._workspace = ctypes.c_void_p(self._calls.ws_new(camera.width, camera.height))
        self._threads = threads
        self._count = len(splats)
        self._scene = [_array(tensor) for tensor in (splats.means, splats.quats, splats.scales, splats.opacities)]
        self._viewmat = _array(camera.viewmat)
        self._intrinsics = _array(camera.K[[0, 1, 0, 1], [0, 1, 2, 2]])

    def __del__(self) -> None:
        self._calls.ws_free(self._workspace)

    def votes(
        self,
        labels: NDArray[np.uint16],  # [H, W]
        mass: NDArray[np.float32],  # [N, L], added to
    ) -> dict[str, float]:
        """Project, bin and sum; the seconds of each stage."""
        view = [_pointer(array) for array in (*self._scene, self._viewmat, self._intrinsics)]
        self._calls.k_project(self._workspace, ctypes.c_int64(self._count), *view, self._threads, 0)
        self._calls.k_bin(self._workspace, self._threads, 1)
        sums = (_pointer(labels), mass.shape[1], _pointer(mass), None, None, self._threads, 0, 0, None, None)
        self._calls.k_accum(self._workspace, *sums)
        milliseconds = self._calls.ws_tm(self._workspace)
        stages = {"project": 0, "sort": 1, "bin": 2, "votes": 4, "reduce": 5}
        return {name: milliseconds[place] / 1e3 for name, place in stages.items()}


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy())


def _pointer(array: NDArray[np.float32] | NDArray[np.uint16]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
