"""Where a run is kept, and how its config.yml knows."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from nerfstudio.utils.eval_utils import eval_setup

from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import SplatsegTrainerConfig
from tests.cli.examples import SceneOnDisk
from tests.plugin.examples import method_config


def load(path: Path) -> SplatsegTrainerConfig:
    return yaml.load(path.read_text(), Loader=yaml.Loader)


def test_a_saved_configuration_holds_no_relative_paths(
    scene: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(scene.data.parent)
    config = method_config("splatseg", scene, Path("outputs"))
    config.pipeline.datamanager.data = config.data = Path("capture")
    config.save_config()
    folder = scene.data.parent / "outputs" / "capture" / "splatseg" / "now"
    monkeypatch.chdir(tmp_path)
    loaded = load(folder / "config.yml")
    assert loaded.pipeline.run_folder == loaded.get_base_dir() == folder.resolve()
    assert loaded.get_checkpoint_dir() == folder.resolve() / "nerfstudio_models"
    assert loaded.data == loaded.pipeline.datamanager.data == scene.data.resolve()
    shutil.rmtree(folder.parents[2])


def test_a_folder_that_is_gone_is_not_believed(scene: SceneOnDisk, tmp_path: Path):
    config = method_config("splatseg", scene, tmp_path / "outputs")
    config.save_config()
    folder = tmp_path / "outputs" / "capture" / "splatseg" / "now"
    folder.rename(tmp_path / "moved")
    # Not by eval_setup: nobody can tell where it is now.
    assert load(tmp_path / "moved" / "config.yml").pipeline.run_folder is None


def test_a_configuration_from_before_the_folder_was_kept_still_loads(scene: SceneOnDisk, tmp_path: Path):
    config = method_config("splatseg", scene, tmp_path)
    text = yaml.dump(config)
    old = "\n".join(line for line in text.splitlines() if "run_folder" not in line and "render_profile" not in line)
    assert old != text
    loaded = yaml.load(old, Loader=yaml.Loader)
    assert loaded.pipeline.run_folder is None
    assert loaded.pipeline.model.render_profile == "gsplat-1.4"
    assert deepcopy(loaded).get_base_dir() == loaded.get_base_dir()


@pytest.mark.slow
def test_a_moved_run_loads_from_any_working_directory(
    run: Run, pristine_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config, pipeline, checkpoint, step = eval_setup(Path("../moved/run/config.yml"), test_mode="inference")
    assert checkpoint == run.folder / "nerfstudio_models" / run.checkpoint.name
    assert config.get_base_dir() == pipeline.config.run_folder == run.folder
    assert step == 59
    assert list(elsewhere.iterdir()) == []
