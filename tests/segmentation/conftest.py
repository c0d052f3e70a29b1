"""Fixtures for the tests of documents and clicks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from splatseg_ns.raster import one_torch_thread


@pytest.fixture(scope="package", autouse=True)
def _few_threads() -> Iterator[None]:
    """The scenes are small: sharing them out among threads costs more than it brings."""
    with one_torch_thread():
        yield
