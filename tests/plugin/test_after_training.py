"""Masks make objects when training ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nerfstudio.utils.rich_utils import CONSOLE

from splatseg_ns.cli import main
from splatseg_ns.edit.extract import chosen_solver
from splatseg_ns.lift import FlashSplat, Gradient, Robust
from splatseg_ns.plugin.runs import Run
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk
from tests.plugin.examples import run_command, trained
from tests.plugin.test_training import quick, training


def test_options_are_those_of_the_command():
    assert chosen_solver("robust", None) == Robust()
    assert chosen_solver("robust", "auto") == Robust(gamma="auto")
    assert chosen_solver("flashsplat", -0.4) == FlashSplat(-0.4)
    assert chosen_solver("gradient", 0.5) == Gradient(background_weight=3.0)
    with pytest.raises(ValueError, match="no gamma auto"):
        chosen_solver("gradient", "auto")


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "gamma"), [("flashsplat", "0.2"), ("gradient", "0.1")])
def test_the_same_objects_as_the_command_finds(solver: str, gamma: str, scene: SceneOnDisk, tmp_path: Path):
    chosen = ["--pipeline.masks", scene.masks, "--pipeline.solver", solver, "--pipeline.gamma", gamma]
    folder = trained("splatseg-lite", scene, tmp_path / "outputs", "--max-num-iterations", "40", *map(str, chosen))
    run = Run.open(folder)
    document = run.store.load(run.splats())
    assert len(document.objects) >= 2 and all(count > 0 for count in document.counts().values())
    again = tmp_path / "again"
    arguments = ["--load-config", str(folder / "config.yml"), "--segmentation", str(again)]
    assert main(["label", *arguments, "--masks", str(scene.masks), "--solver", solver, "--gamma", gamma]) == 0
    assert torch.equal(SegmentationStore(again).load().labels, document.labels)


@pytest.mark.slow
def test_the_viewer_shows_the_objects_at_once(scene: SceneOnDisk, tmp_path: Path):
    config = quick(scene, tmp_path)
    config.pipeline.masks = scene.masks
    with training(config) as (trainer, _):
        display = trainer.pipeline.model.display
        assert display is not None and bool((display.features[:, 3] == 1).any())
        assert not trainer.train_lock.locked()
        assert Run.open(trainer.base_dir).store.exists()


@pytest.mark.slow
def test_masks_of_other_pictures_do_not_lose_the_model(scene: SceneOnDisk, tmp_path: Path):
    others = tmp_path / "others"
    others.mkdir()
    config = quick(scene, tmp_path / "outputs", steps=3)
    config.pipeline.masks = others
    with CONSOLE.capture() as said, training(config) as (trainer, _):
        run = Run.open(trainer.base_dir)
    assert run.checkpoint.is_file() and not run.store.exists()
    assert "the masks made no objects" in said.get() and "splatseg label --load-config" in said.get()


@pytest.mark.slow
def test_wrong_options_stop_before_training(scene: SceneOnDisk, tmp_path: Path):
    words = ["ns-train", "splatseg-lite", "--data", scene.data, "--output-dir", tmp_path, "--pipeline.masks"]
    result = run_command(*words, tmp_path / "nowhere", cwd=tmp_path)
    assert result.returncode == 1
    assert "nowhere: no such folder of label maps" in result.stderr and "Traceback" not in result.stderr
