"""Masks make objects when training ends."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.utils.rich_utils import CONSOLE

from splatseg_ns.cli import main
from splatseg_ns.edit.extract import chosen_solver
from splatseg_ns.lift import FlashSplat, Gradient, Robust
from splatseg_ns.masks import write_label_map
from splatseg_ns.plugin.after_training import label_splats
from splatseg_ns.plugin.attach import attach_splats
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import SplatsegTrainerConfig
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture
from splatseg_ns.segmentation import SegmentationStore
from tests.cli.examples import SceneOnDisk
from tests.plugin.examples import trained
from tests.plugin.in_process import call_command
from tests.plugin.test_training import quick, training


def test_options_are_those_of_the_command():
    assert chosen_solver("robust", None) == Robust()
    assert chosen_solver("robust", "auto") == Robust(gamma="auto")
    assert chosen_solver("flashsplat", -0.4) == FlashSplat(-0.4)
    assert chosen_solver("gradient", 0.5) == Gradient(background_weight=3.0)
    with pytest.raises(ValueError, match="no gamma auto"):
        chosen_solver("gradient", "auto")


def test_masks_of_the_training_pictures_are_read_and_vote_and_nothing_is_saved(scene: SceneOnDisk, tmp_path: Path):
    run = Run.open(attach_splats(scene.splats, Capture.load(scene.data), tmp_path / "run"))
    splats, told = run.splats(), []

    def report(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    document = label_splats(splats, run, rasterizer_for("cpu"), scene.masks, FlashSplat(0.2), report)
    assert document.names == ["red ball", "green ball", "blue ball"] and document.votes() is not None
    assert not run.store.exists()
    # Two of the ten are held out.
    assert told == [(stage, done, 8) for stage in ("masks", "votes") for done in range(1, 9)]
    made = document.history[-1].parameters
    assert (made["views"], made["masks"], made["settled"]["gamma"]) == (["train"], str(scene.masks), 0.2)
    with pytest.raises(FileNotFoundError, match="no such folder of label maps"):
        label_splats(splats, run, rasterizer_for("cpu"), tmp_path / "nowhere", FlashSplat(), report)
    write_label_map(tmp_path / "masks", "view_03", torch.ones(72, 96, dtype=torch.int64))
    with pytest.raises(ValueError, match="none of the 8 training pictures has a label map there"):
        label_splats(splats, run, rasterizer_for("cpu"), tmp_path / "masks", FlashSplat(), report)
    write_label_map(tmp_path / "masks", "view_00", torch.zeros(72, 96, dtype=torch.int64))
    with pytest.raises(ValueError, match="hold no object, only background"):
        label_splats(splats, run, rasterizer_for("cpu"), tmp_path / "masks", FlashSplat(), report)


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "gamma"), [("flashsplat", "0.2"), ("gradient", "0.1")])
def test_the_same_objects_as_the_command_finds(solver: str, gamma: str, scene: SceneOnDisk, tmp_path: Path):
    chosen = ["--pipeline.masks", scene.masks, "--pipeline.solver", solver, "--pipeline.gamma", gamma]
    words = ["--max-num-iterations", "40", *map(str, chosen)]
    folder = trained("splatseg-lite", scene.data, tmp_path / "outputs", *words, call=call_command)
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
def test_masks_that_do_not_fit_stop_before_training(scene: SceneOnDisk, tmp_path: Path):
    """Also where cameras are optimized, so that the poses of the pictures are still to be found."""
    config = quick(scene, tmp_path / "outputs", steps=3)
    config.pipeline.model.camera_optimizer.mode = "SO3xR3"
    folder = config.pipeline.masks = tmp_path / "masks"
    for name, size, reason in (("view_00", 50, "50x50"), ("view_99", 72, "called like a view")):
        write_label_map(folder, name, torch.ones(size, size, dtype=torch.int64))
        with pytest.raises(SystemExit, match=rf"^splatseg: --pipeline\.masks: .*{reason}"), training(config):
            pass
        shutil.rmtree(folder)
    assert not Run.open(config.get_base_dir()).checkpoint_folder.exists()


@pytest.mark.slow
def test_masks_that_go_missing_do_not_lose_the_model(
    scene: SceneOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = quick(scene, tmp_path / "outputs", steps=3)
    config.pipeline.masks = tmp_path / "masks"
    shutil.copytree(scene.masks, config.pipeline.masks)
    monkeypatch.setattr("splatseg_ns.plugin.after_training.check_masks", lambda _, masks: shutil.rmtree(masks))
    line = r"^splatseg: the masks made no objects: .*; the trained model is saved, label it with: splatseg label "
    with pytest.raises(SystemExit, match=line), training(config):
        pass
    run = Run.open(config.get_base_dir())
    assert len(run.splats()) > 0 and not run.store.exists()


@pytest.mark.slow
@pytest.mark.parametrize("stays", [True, False])
def test_a_viewer_that_stays_is_not_ended_by_masks(stays: bool, run: Run, scene: SceneOnDisk):
    run.checkpoint.unlink()
    config = run.config
    assert isinstance(config, SplatsegTrainerConfig)
    config.pipeline.run_folder, config.pipeline.masks = run.folder, scene.masks
    config.viewer.quit_on_train_completion = not stays
    trainer: Any = SimpleNamespace(config=config, train_lock=Lock())
    attributes = TrainingCallbackAttributes(None, None, None, trainer)
    callbacks = config.pipeline.setup(device="cpu").get_training_callbacks(attributes)
    with CONSOLE.capture() as said, nullcontext() if stays else pytest.raises(SystemExit, match="no checkpoint"):
        for callback in callbacks:
            callback.run_callback_at_location(0, TrainingCallbackLocation.AFTER_TRAIN)
    assert ("the masks made no objects" in said.get()) == stays
    assert not trainer.train_lock.locked()


@pytest.mark.slow
def test_wrong_options_stop_before_training(scene: SceneOnDisk, tmp_path: Path):
    words = ["ns-train", "splatseg-lite", "--data", scene.data, "--output-dir", tmp_path, "--pipeline.masks"]
    result = call_command(*words, tmp_path / "nowhere", cwd=tmp_path)
    assert result.returncode == 1
    assert "nowhere: no such folder of label maps" in result.stderr
