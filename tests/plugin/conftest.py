"""Runs for the tests of the plugin, trained once: the first by ns-train as a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from viser import _gui_api, _gui_handles

from splatseg_ns.plugin.runs import Run
from tests.cli.examples import SceneOnDisk
from tests.plugin.examples import document_of, halves, trained, write_capture, write_colmap
from tests.plugin.in_process import call_command

STEPS = 60

ADJUSTING = (
    "--pipeline.model.camera-optimizer.mode", "SO3xR3", "--pipeline.model.use-bilateral-grid", "True",
    "--pipeline.model.rasterize-mode", "antialiased",
)  # fmt: skip


@pytest.fixture(scope="package", autouse=True)
def _icons_are_unpacked_once() -> Iterator[None]:
    """For each icon of each viewer viser goes through an archive of thousands: more than a second for a viewer."""
    unpacked = cache(_gui_api.svg_from_icon)
    with pytest.MonkeyPatch.context() as patch:
        for module in (_gui_api, _gui_handles):
            patch.setattr(module, "svg_from_icon", unpacked)
        yield


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneOnDisk:
    """A capture that nobody changes."""
    return write_capture(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="session")
def pristine_run(scene: SceneOnDisk, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained once, with densification; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    words = [
        "--max-num-iterations", STEPS, "--vis", "viewer", "--pipeline.model.warmup-length", "10",
        "--pipeline.model.refine-every", "20",
    ]  # fmt: skip
    return Run.open(trained("splatseg-lite", scene.data, folder / "outputs", *map(str, words)))


@pytest.fixture(scope="session")
def adjusted_run(scene: SceneOnDisk, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of a COLMAP capture, with all that splatfacto trains beside Gaussians, and labelled; not to be changed."""
    folder = tmp_path_factory.mktemp("adjusted")
    data = write_colmap(scene, folder / "colmap")
    words = [*ADJUSTING, "--max-num-iterations", str(STEPS), "--pipeline.masks", str(scene.masks), "colmap"]
    return Run.open(trained("splatseg-lite", data, folder / "outputs", *words, call=call_command))


@pytest.fixture
def run(pristine_run: Run, tmp_path: Path) -> Run:
    """A copy to play with, in another place than where it was trained."""
    folder = tmp_path / "moved" / "run"
    shutil.copytree(pristine_run.folder, folder)
    return Run.open(folder)


@pytest.fixture
def labelled_run(run: Run) -> Run:
    """The copy with two objects, of which the second is hidden."""
    splats = run.splats()
    run.store.save(document_of(splats, halves(splats), hidden=(2,)))
    return run
