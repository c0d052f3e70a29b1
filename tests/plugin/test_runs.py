"""Runs on disk: splats, pictures and segmentation of a config.yml."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.configs.method_configs import all_methods

from splatseg_ns.plugin.attach import attach_run
from splatseg_ns.plugin.cameras import camera_of
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture
from splatseg_ns.segmentation.frames import find_frame, read_dataparser_transforms
from tests.cli.examples import SceneOnDisk, change_json
from tests.plugin.examples import document_of, halves, method_config, write_stock_run

pytestmark = pytest.mark.slow


def test_splats_are_those_of_the_checkpoint(run: Run):
    splats = run.splats()
    state = torch.load(run.checkpoint, weights_only=True)["pipeline"]
    assert torch.equal(splats.means, state["_model.gauss_params.means"])
    assert torch.equal(splats.sh[:, 1:], state["_model.gauss_params.features_rest"])
    assert splats.profile.name == "gsplat-1.4" and splats.sh_degree == 1


def test_the_capture_is_in_the_frame_of_the_splats(run: Run, scene: SceneOnDisk):
    capture = run.capture()
    assert capture.names == Capture.load(scene.data).names
    assert [view.split for view in capture] == [view.split for view in Capture.load(scene.data)]
    splats, engine = run.splats(), rasterizer_for("cpu")
    picture = engine.render(splats, capture.views[0].camera).colors.clamp(0, 1)
    error = (picture - capture.views[0].image() / 255).square().mean()
    assert -10 * float(error.log10()) > 15.0
    found = find_frame(
        engine, splats, Capture.load(scene.data), read_dataparser_transforms(run.folder / "dataparser_transforms.json")
    )
    torch.testing.assert_close(run.frame().from_capture, found.frame.from_capture, atol=1e-6, rtol=0)
    moved = run.frame().move(Capture.load(scene.data))
    for ours, theirs in zip(capture, moved, strict=True):
        torch.testing.assert_close(ours.camera.viewmat, theirs.camera.viewmat, atol=1e-5, rtol=0)


def test_the_applied_transform_is_not_undone_twice(run: Run, scene: SceneOnDisk, tmp_path: Path):
    data = tmp_path / "capture"
    shutil.copytree(scene.data, data)
    change_json(data / "transforms.json", {"applied_transform": [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0.5]]})
    other = Run.open(run.folder, data)
    torch.testing.assert_close(other.frame().from_capture, run.frame().from_capture, atol=1e-6, rtol=0)


def test_views_of_a_lens_that_distorts_are_those_that_trained(shared_data: Path, tmp_path: Path):
    """Real pictures: as the datamanager straightens and crops them."""
    data = tmp_path / "bear"
    data.mkdir()
    content = json.loads((shared_data / "bear" / "transforms.json").read_text())
    content["frames"] = content["frames"][::12]
    (data / "transforms.json").write_text(json.dumps(content))
    (data / "images").symlink_to(shared_data / "bear" / "images")
    config = all_methods["splatseg-lite"]
    example = SceneOnDisk(data, data, data, None, None)  # type: ignore[arg-type]
    config = method_config("splatseg-lite", example, tmp_path)
    config.pipeline.datamanager.dataparser.load_3D_points = False
    config.save_config()
    capture = Run.open(tmp_path / "bear" / "splatseg-lite" / "now").capture()
    datamanager = config.pipeline.datamanager.setup(device="cpu", test_mode="val")
    cached, cameras = datamanager.cached_train, datamanager.train_dataset.cameras
    views = capture.with_split("train").views
    assert len(views) == len(cached) > 3
    for number, view in enumerate(views):
        theirs = camera_of(cameras[number : number + 1], cameras.camera_to_worlds[number])
        torch.testing.assert_close(view.camera.K, theirs.K, atol=1e-3, rtol=0)
        torch.testing.assert_close(view.camera.viewmat, theirs.viewmat, atol=1e-5, rtol=0)
        assert np.abs(view.image().numpy().astype(int) - cached[number]["image"].numpy()).max() <= 1


def test_the_document_lies_beside_the_configuration(run: Run):
    splats = run.splats()
    assert not run.store.exists()
    run.store.save(document_of(splats, halves(splats)))
    assert (run.folder / "segmentation" / "objects.json").is_file()
    assert Run.open(run.folder / "config.yml").store.load(splats).names == ["object 1", "object 2"]


def test_a_stock_run_is_read_where_it_was_trained_and_after_its_project_moved(
    run: Run, scene: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stock = write_stock_run(run, tmp_path / "project", scene.data)
    (tmp_path / "project").rename(tmp_path / "renamed")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "renamed" / stock.folder.relative_to(tmp_path / "project")
    read = Run.open(folder / "config.yml")
    assert read.data == tmp_path / "renamed" / "data" / "scene"
    assert torch.equal(read.splats().means, run.splats().means)
    assert len(read.capture()) == 10
    shutil.rmtree(tmp_path / "renamed" / "data")
    with pytest.raises(FileNotFoundError, match="--data"):
        Run.open(folder).capture()
    assert Run.open(folder, scene.data).data == scene.data


def test_attaching_makes_a_splatseg_run_of_the_same_checkpoint(
    run: Run, scene: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from nerfstudio.utils.eval_utils import eval_setup

    stock = write_stock_run(run, tmp_path / "project", scene.data, cull_alpha_thresh=0.005)
    monkeypatch.chdir(tmp_path)
    before = (stock.folder / "config.yml").read_bytes()
    config_file = attach_run(Run.open(stock.folder))
    assert config_file.parents[1] == stock.folder.parents[1] / "splatseg"
    attached = Run.open(config_file)
    assert attached.checkpoint.stat().st_ino == Run.open(stock.folder).checkpoint.stat().st_ino
    assert (stock.folder / "config.yml").read_bytes() == before
    config, pipeline, _, _ = eval_setup(config_file, test_mode="inference")
    assert config.method_name == "splatseg" and config.pipeline.model.cull_alpha_thresh == 0.005
    assert torch.equal(pipeline.model.means.detach(), run.splats().means)
    assert pipeline.config.run_folder == attached.folder
    with pytest.raises(FileExistsError, match="another folder"):
        attach_run(Run.open(stock.folder), attached.folder)
    with pytest.raises(ValueError, match="stays as it is"):
        attach_run(Run.open(stock.folder), stock.folder / "attached")


def test_what_is_wrong_is_said_in_words(run: Run, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"config\.yml"):
        Run.open(tmp_path / "nothing")
    checkpoint = run.checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ValueError, match=rf"{checkpoint.name}.*restore it, or train again"):
        Run.open(run.folder).splats()
    checkpoint.unlink()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        Run.open(run.folder).splats()
    config_file = run.folder / "config.yml"
    text = config_file.read_text()
    config_file.write_text("a: [")
    with pytest.raises(ValueError, match="no readable"):
        Run.open(run.folder)
    config_file.write_text("!!python/object:nowhere.Nothing {}")
    with pytest.raises(ValueError, match="no readable"):
        Run.open(run.folder)
    config_file.write_text("[1, 2]")
    with pytest.raises(ValueError, match="not a run of Gaussian splats"):
        Run.open(run.folder)
    config_file.write_text(text)
    data = tmp_path / "empty"
    data.mkdir()
    with pytest.raises(ValueError, match="cannot read this capture"):
        Run.open(run.folder, data).capture()
