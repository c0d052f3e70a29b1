"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.examples import SceneOnDisk, write_scene

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
"""Captures that lie beside a checkout of the project, not in it."""


@pytest.fixture
def shared_data() -> Path:
    """The folder of captures to develop on; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no captures in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> SceneOnDisk:
    """Balls on a table, written once; not to be changed."""
    return write_scene(tmp_path_factory.mktemp("scene"))
