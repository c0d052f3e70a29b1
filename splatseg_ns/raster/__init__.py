"""Pictures and sums from splats: one interface, a CPU engine, a CUDA engine, and a float64 oracle."""

from __future__ import annotations

from functools import cache

import torch

from splatseg_ns.raster.interface import Rasterizer as Rasterizer
from splatseg_ns.raster.interface import Render as Render
from splatseg_ns.raster.interface import ViewVotes as ViewVotes
from splatseg_ns.raster.threads import one_torch_thread as one_torch_thread


def rasterizer_for(device: torch.device | str) -> Rasterizer:
    """The engine of a device, made once."""
    return _engine(str(torch.device(device)))


@cache
def _engine(device: str) -> Rasterizer:
    kind = torch.device(device).type
    if kind == "cpu":
        from splatseg_ns.raster.cpu import CpuRasterizer

        return CpuRasterizer()
    if kind == "cuda":
        from splatseg_ns.raster.cuda import CudaRasterizer

        return CudaRasterizer(device)
    raise ValueError(f"no engine renders on {kind!r}; use 'cpu' or 'cuda'")
