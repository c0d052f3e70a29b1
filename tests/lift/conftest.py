"""Fixtures for the tests of lifting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from splatseg_ns.raster import Rasterizer, one_torch_thread
from tests.raster.engines import GPU, make_engine


@pytest.fixture(scope="package", autouse=True)
def _few_threads() -> Iterator[None]:
    """The scenes are small: sharing them out among threads costs more than it brings."""
    with one_torch_thread():
        yield


@pytest.fixture(params=["oracle", "cpu", GPU])
def engine(request: pytest.FixtureRequest) -> Rasterizer:
    """Each engine once, as a caller gets it."""
    return make_engine(request.param)


@pytest.fixture
def cpu() -> Rasterizer:
    """The engine of the processor."""
    return make_engine("cpu")
