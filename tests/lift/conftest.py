"""Fixtures for the tests of lifting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from splatseg_ns.raster import Rasterizer
from tests.raster.engines import GPU, make_engine


@pytest.fixture(scope="package", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """The scenes are small: sharing them out among threads costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["oracle", "cpu", GPU])
def engine(request: pytest.FixtureRequest) -> Rasterizer:
    """Each engine once, as a caller gets it."""
    return make_engine(request.param)


@pytest.fixture
def cpu() -> Rasterizer:
    """The engine of the processor."""
    return make_engine("cpu")
