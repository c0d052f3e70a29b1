"""Nerfstudio's own console scripts on runs that were made of others, by extract, remove and attach.

The runs they were made of have all that splatfacto can train beside Gaussians, and cameras from COLMAP.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture, Splats, View, read_ply
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk
from tests.plugin.conftest import ADJUSTING
from tests.plugin.examples import run_command, write_stock_run
from tests.plugin.in_process import call_command
from tests.plugin.viewer_process import started_viewer

pytestmark = pytest.mark.slow

HELD_OUT = ("view_00", "view_08")
"""What Nerfstudio's COLMAP dataparser takes by default: every eighth."""

LPIPS = "torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity"


def named(run: Run) -> list[str]:
    return [*opened(run), "--device", "cpu"]


@pytest.fixture(scope="module")
def taken_out(adjusted_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The red ball and the green one."""
    out = tmp_path_factory.mktemp("made") / "balls"
    words = ["--objects", "red ball", "green ball", "--method", "splatseg", "--out", str(out)]
    assert main(["extract", *named(adjusted_run), *words]) == 0
    return Run.open(out)


@pytest.fixture(scope="module")
def left_over(adjusted_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All but the red ball."""
    out = tmp_path_factory.mktemp("made") / "rest"
    words = ["--objects", "1", "--no-clean", "--method", "splatseg", "--out", str(out)]
    assert main(["remove", *named(adjusted_run), *words]) == 0
    return Run.open(out)


@pytest.fixture(scope="module")
def attached(adjusted_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of stock splatfacto with the same checkpoint, which was labelled before it was attached."""
    folder = tmp_path_factory.mktemp("stock")
    options = {"rasterize_mode": "antialiased", "use_bilateral_grid": True, "background_color": "black"}
    optimizer = CameraOptimizerConfig(mode="SO3xR3")
    stock = write_stock_run(adjusted_run, folder, adjusted_run.data, **options, camera_optimizer=optimizer)
    Run.open(stock.folder).store.save(adjusted_run.store.load())
    out = folder / "attached"
    assert main(["attach", "--load-config", str(stock.folder), "--out", str(out)]) == 0
    return Run.open(out)


@dataclass(frozen=True)
class Processes:
    """What is started as users start it, while other tests go on."""

    export: Future[subprocess.CompletedProcess[str]]
    exported: Path
    page: Future[str]
    """What a browser gets of ns-viewer."""


@pytest.fixture(scope="module")
def processes(taken_out: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """On an object: most of what they take is starting, on one core."""
    folder = tmp_path_factory.mktemp("export")
    words = ["ns-export", "gaussian-splat", *opened(taken_out), "--output-dir", "."]
    with ThreadPoolExecutor(2) as pool:
        export = pool.submit(run_command, *words, cwd=folder)
        page = pool.submit(page_of_viewer, taken_out, tmp_path_factory.mktemp("viewer"))
        yield Processes(export, folder / "splat.ply", page)


def page_of_viewer(run: Run, folder: Path) -> str:
    with started_viewer("ns-viewer", *opened(run), folder=folder) as viewer:
        return viewer.page()


def called(*words: str, cwd: Path) -> None:
    """A command that succeeds."""
    result = call_command(*words, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr


def opened(run: Run) -> list[str]:
    return ["--load-config", str(run.folder / "config.yml")]


def held_out(run: Run) -> tuple[View, ...]:
    return run.capture().with_names(HELD_OUT).views


def drawn(splats: Splats, view: View, features: torch.Tensor | None = None) -> torch.Tensor:  # [H, W, 3]
    return rasterizer_for("cpu").render(splats, view.camera, features=features).colors.clamp(0, 1)


def psnr(splats: Splats, view: View) -> float:
    return -10 * float((drawn(splats, view) - view.image() / 255).square().mean().log10())


def test_a_run_of_everything_is_what_it_was_trained_to_be(adjusted_run: Run, scene: SceneOnDisk):
    """What the others start from is not trivial."""
    assert adjusted_run.profile.antialiased
    assert float(adjusted_run.tensors["_model.camera_optimizer.pose_adjustment"].abs().max()) > 0.0
    assert "_model.bil_grids.grids" in adjusted_run.tensors
    assert [view.name for view in adjusted_run.capture() if view.split != "train"] == list(HELD_OUT)
    assert min(psnr(adjusted_run.splats(), view) for view in held_out(adjusted_run)) > 15.0
    assert adjusted_run.store.load(adjusted_run.splats()).names == ["red ball", "green ball", "blue ball"]
    # The frame of COLMAP is that of the capture, where the balls were put.
    to_world = torch.linalg.inv(adjusted_run.frame().from_capture)
    moved = adjusted_run.frame().move(Capture.load(scene.data))
    for ours, theirs in zip(held_out(adjusted_run), moved.with_names(HELD_OUT), strict=True):
        torch.testing.assert_close(ours.camera.viewmat, theirs.camera.viewmat, atol=1e-4, rtol=0)
    red = adjusted_run.splats().transform(to_world).means[adjusted_run.store.load().rows("red ball")]
    assert float((red.median(dim=0).values - scene.splats.means[scene.truth == 1].median(dim=0).values).norm()) < 0.15


def test_what_was_trained_beside_gaussians_comes_along(
    adjusted_run: Run, taken_out: Run, left_over: Run, attached: Run
):
    for made in (taken_out, left_over, attached):
        assert made.profile == adjusted_run.profile and made.model_config.use_bilateral_grid
        for name, tensor in adjusted_run.tensors.items():
            changed = "gauss_params" in name and made is not attached
            assert torch.equal(made.tensors[name], tensor) != changed
        for ours, theirs in zip(made.capture(), adjusted_run.capture(), strict=True):
            assert torch.equal(ours.camera.viewmat, theirs.camera.viewmat)
    kept = ~adjusted_run.store.load().rows("red ball")
    assert torch.equal(left_over.splats().means, adjusted_run.splats().means[kept])


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["taken_out", "attached"])
def test_ns_eval_judges_what_the_run_shows(name: str, request: pytest.FixtureRequest, tmp_path: Path):
    run: Run = request.getfixturevalue(name)
    called("ns-eval", *opened(run), "--output-path", "eval.json", cwd=tmp_path)
    found = json.loads((tmp_path / "eval.json").read_text())["results"]["psnr"]
    splats = run.splats()
    assert found == pytest.approx(np.mean([psnr(splats, view) for view in held_out(run)]), abs=0.02)


@pytest.mark.parametrize("name", ["left_over", "attached"])
def test_ns_render_draws_what_the_run_shows(name: str, request: pytest.FixtureRequest, tmp_path: Path):
    run: Run = request.getfixturevalue(name)
    words = ["--image-format", "png", "--rendered-output-names", "rgb", "segmentation"]
    called("ns-render", "dataset", *opened(run), "--output-path", "out", *words, cwd=tmp_path)
    splats, document = run.splats(), run.store.load()
    colors = torch.zeros(len(splats), 3)
    for entry in document.objects:
        colors[document.rows(entry.id)] = torch.tensor(entry.color) / 255
    for view in held_out(run):
        for output, features in (("rgb", None), ("segmentation", colors)):
            written = np.array(Image.open(tmp_path / "out" / "test" / output / f"{view.name}.png"))
            assert written.any()
            assert np.abs(written / 255 - drawn(splats, view, features).numpy()).max() < 2 / 255


def test_a_run_for_stock_nerfstudio_has_its_classes_alone(adjusted_run: Run, tmp_path: Path):
    out = tmp_path / "balls" / "splatfacto" / "red"
    words = ["--objects", "red ball", "--no-revote", "--method", "splatfacto", "--out", str(out)]
    assert main(["extract", *named(adjusted_run), *words]) == 0
    assert "splatseg_ns" not in (out / "config.yml").read_text()
    # Its weights come from the network.
    with mock.patch(LPIPS, return_value=torch.nn.Identity()):
        config, pipeline, _, _ = eval_setup(out / "config.yml", test_mode="inference")
    assert type(pipeline.model).__module__ == "nerfstudio.models.splatfacto"
    assert config.pipeline.model.rasterize_mode == "antialiased"
    state = pipeline.model.state_dict()
    rows = adjusted_run.store.load().rows("red ball")
    assert torch.equal(state["gauss_params.means"], adjusted_run.splats().means[rows])
    for name in ("camera_optimizer.pose_adjustment", "bil_grids.grids"):
        assert torch.equal(state[name], adjusted_run.tensors[f"_model.{name}"])


def test_the_command_labels_a_run_as_its_training_did(adjusted_run: Run, scene: SceneOnDisk, tmp_path: Path):
    elsewhere = tmp_path / "again"
    words = ["--masks", str(scene.masks), "--segmentation", str(elsewhere)]
    assert main(["label", *named(adjusted_run), *words]) == 0
    again, before = SegmentationStore(elsewhere).load(), adjusted_run.store.load()
    assert torch.equal(again.labels, before.labels)
    assert torch.equal(again.votes().mass, before.votes().mass)


def test_training_goes_on(adjusted_run: Run, tmp_path: Path):
    words = ["ns-train", "splatseg-lite", "--data", str(adjusted_run.data), "--output-dir", ".", "--timestamp", "on"]
    words += ["--max-num-iterations", "5", "--load-dir", str(adjusted_run.checkpoint_folder)]
    words += ["--vis", "tensorboard", "--viewer.quit-on-train-completion", "True", *ADJUSTING, "colmap"]
    called(*words, cwd=tmp_path)
    resumed = Run.open(tmp_path / "colmap" / "splatseg-lite" / "on")
    assert resumed.step == adjusted_run.step + 5
    moved = resumed.tensors["_model.camera_optimizer.pose_adjustment"]
    before = adjusted_run.tensors["_model.camera_optimizer.pose_adjustment"]
    assert 0.0 < float((moved - before).abs().max()) < 0.1 * float(before.abs().max()) + 1e-3
    assert min(psnr(resumed.splats(), view) for view in held_out(resumed)) > 15.0


def test_ns_export_writes_an_object_that_stands_alone(taken_out: Run, processes: Processes):
    result = processes.export.result()
    assert result.returncode == 0, result.stdout + result.stderr
    written, splats = read_ply(processes.exported), taken_out.splats()
    # Nerfstudio itself leaves out what is too transparent to be seen.
    assert torch.equal(written.means, splats.means[splats.logit_opacities >= -5.5373])


def test_ns_viewer_shows_an_object(processes: Processes):
    assert "<html" in processes.page.result()
