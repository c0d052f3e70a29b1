"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from splatseg_ns.masks.embedding_cache import CACHE_VARIABLE
from tests.cli.examples import SceneOnDisk, write_scene

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
"""Captures that lie beside a checkout of the project, not in it."""


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs is kept from one test to the next, but not in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of captures to develop on; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no captures in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> SceneOnDisk:
    """Balls on a table, written once; not to be changed."""
    return write_scene(tmp_path_factory.mktemp("scene"))
