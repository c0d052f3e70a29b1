"""Engines by name, for fixtures; what cannot run here skips with the reason."""

from __future__ import annotations

import pytest

from splatseg_ns.raster.interface import Rasterizer
from splatseg_ns.raster.oracle import OracleRasterizer

ISAS = ("avx512", "avx2", "portable")
THREADS = (1, 2, 4)

GPU = pytest.param("cuda", marks=pytest.mark.gpu)


def make_engine(name: str) -> Rasterizer:
    """The engine of a name such as ``oracle``, ``cuda``, ``cpu`` or ``cpu-avx2-4``; skips where it cannot run."""
    if name == "oracle":
        return OracleRasterizer()
    if name == "cuda":
        from splatseg_ns.raster.cuda import CudaRasterizer, cuda_problem

        if problem := cuda_problem():
            pytest.skip(problem)
        return CudaRasterizer()
    from splatseg_ns.raster.cpu import CpuRasterizer

    if name == "cpu":
        return CpuRasterizer()
    _, isa, threads = name.split("-")
    return cpu_engine(isa, int(threads))


def cpu_engine(isa: str, threads: int) -> Rasterizer:
    """The CPU engine forced to an instruction set; skips where the processor lacks it."""
    from splatseg_ns.raster.cpu import CpuRasterizer, available_isas

    if isa not in available_isas():
        pytest.skip(f"this processor has no {isa} (it has {', '.join(available_isas())})")
    return CpuRasterizer(isa=isa, threads=threads)
