"""Fixtures for the tests of commands."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from splatseg_ns.cli import main
from tests.cli.examples import SceneOnDisk


@pytest.fixture
def scene(pristine: SceneOnDisk, tmp_path: Path) -> SceneOnDisk:
    """A copy to play with."""
    folder = tmp_path / "scene"
    shutil.copytree(pristine.ply.parent, folder)
    return replace(pristine, ply=folder / "scene.ply", data=folder / "capture", masks=folder / "masks")


@pytest.fixture
def labelled(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]) -> SceneOnDisk:
    """The scene after ``splatseg label``."""
    assert main(["label", *scene.arguments, "--masks", str(scene.masks)]) == 0, capsys.readouterr().err
    capsys.readouterr()
    return scene
