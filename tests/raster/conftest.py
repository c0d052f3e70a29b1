"""Every engine, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from splatseg_ns.raster import one_torch_thread
from splatseg_ns.raster.interface import Rasterizer
from tests.raster.engines import GPU, ISAS, THREADS, make_engine


@pytest.fixture(scope="package", autouse=True)
def _few_threads() -> Iterator[None]:
    """The oracle's tensors are small: sharing them out among threads costs more than it brings."""
    with one_torch_thread():
        yield


@pytest.fixture(params=["oracle", *(f"cpu-{isa}-{threads}" for isa in ISAS for threads in THREADS), GPU])
def engine(request: pytest.FixtureRequest) -> Rasterizer:
    """Each engine in each of its builds and thread counts."""
    return make_engine(request.param)


@pytest.fixture(params=[*(f"cpu-{isa}-2" for isa in ISAS), GPU])
def fast_engine(request: pytest.FixtureRequest) -> Rasterizer:
    """Each engine that is held against the oracle, in each of its builds."""
    return make_engine(request.param)


@pytest.fixture(params=["oracle", "cpu", GPU])
def one_engine(request: pytest.FixtureRequest) -> Rasterizer:
    """Each engine once, as a caller gets it."""
    return make_engine(request.param)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set of the CPU engine."""
    return request.param
