"""The real Trainer on the CPU, in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager
from nerfstudio.engine.trainer import Trainer
from PIL import Image

from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import SplatsegTrainerConfig
from tests.cli.examples import SceneOnDisk, change_json
from tests.plugin.examples import method_config

pytestmark = pytest.mark.slow


def quick(scene: SceneOnDisk, folder: Path, steps: int = 30, **model: Any) -> SplatsegTrainerConfig:
    """A few steps, with densification early on."""
    config = method_config("splatseg-lite", scene, folder)
    config.max_num_iterations = steps
    options = {"warmup_length": 5, "refine_every": 10, "stop_split_at": 25, **model}
    for name, value in options.items():
        assert hasattr(config.pipeline.model, name)
        setattr(config.pipeline.model, name, value)
    return config


@contextmanager
def training(config: SplatsegTrainerConfig) -> Iterator[tuple[Trainer, list[float]]]:
    """Train, and give the trainer and the losses of all steps."""
    torch.manual_seed(0)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    losses: list[float] = []
    iteration = trainer.train_iteration

    def noted(step: int) -> Any:
        result = iteration(step)
        losses.append(float(result[0].detach()))
        return result

    trainer.train_iteration = noted
    try:
        trainer.train()
        yield trainer, losses
    finally:
        trainer.shutdown()


def test_the_loss_falls_while_gaussians_come_and_go(scene: SceneOnDisk, tmp_path: Path):
    config = quick(scene, tmp_path, steps=80)
    with training(config) as (trainer, losses):
        model = trainer.pipeline.model
        assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
        # There were 2,400 points to start from.
        assert len(model.gauss_params["means"]) != 2400
        assert all(bool(tensor.isfinite().all()) for tensor in model.gauss_params.values())
        assert {len(tensor) for tensor in model.gauss_params.values()} == {model.num_points}


@pytest.mark.parametrize(
    "options",
    [
        {"rasterize_mode": "antialiased", "background_color": "white", "sh_degree": 0},
        {"use_scale_regularization": True, "output_depth_during_training": True, "use_bilateral_grid": True},
        {"use_absgrad": True, "stop_screen_size_at": 20, "densify_grad_thresh": 0.0005},
        {"random_init": True, "num_random": 500, "render_profile": "inria"},
        {"camera_optimizer": CameraOptimizerConfig(mode="SE3"), "sh_degree": 2},
        {"use_bilateral_grid": True, "grid_shape": (4, 4, 2), "color_corrected_metrics": True},
        {"sh_degree": 2, "sh_degree_interval": 10, "num_downscales": 1, "resolution_schedule": 3},
    ],
    ids=lambda options: "+".join(options),
)
def test_splatfactos_options_work(options: dict[str, Any], scene: SceneOnDisk, tmp_path: Path):
    config = quick(scene, tmp_path, **options)
    with training(config) as (trainer, losses):
        assert len(losses) == 30 and all(loss == loss for loss in losses)
        assert sum(losses[-5:]) < sum(losses[:5])
        corrected = options.get("color_corrected_metrics", False)
        assert ("cc_psnr" in trainer.pipeline.get_average_eval_image_metrics()) == corrected
    run = Run.open(tmp_path / "capture" / "splatseg-lite" / "now")
    assert run.profile.antialiased == (options.get("rasterize_mode") == "antialiased")
    assert run.profile.name == options.get("render_profile", "gsplat-1.4")
    assert torch.equal(run.splats().means, trainer.pipeline.model.gauss_params["means"])
    assert torch.equal(run.splats().sh, trainer.pipeline.model.splats().sh)


def test_splatseg_trains_as_splatfacto_does(scene: SceneOnDisk, tmp_path: Path):
    """With random backgrounds and pictures that grow; so losses are not to be compared."""
    config = method_config("splatseg", scene, tmp_path)
    config.max_num_iterations = 30
    config.pipeline.model.resolution_schedule = 10
    config.pipeline.model.warmup_length, config.pipeline.model.refine_every = 5, 10
    with training(config) as (trainer, losses):
        assert len(losses) == 30 and all(0.0 < loss < 1.0 for loss in losses)
        model = trainer.pipeline.model
        assert torch.get_num_threads() == 1
        assert model.features_rest.shape[1:] == (15, 3)
        assert float(model.strategy_state["radii"].max()) > 0.0


def test_the_camera_optimizer_moves_cameras_to_where_the_pictures_were_taken(scene: SceneOnDisk, tmp_path: Path):
    config = quick(scene, tmp_path, steps=60)
    config.pipeline.model.camera_optimizer.mode = "SO3xR3"
    config.optimizers["camera_opt"]["optimizer"].lr = 1e-3
    config.optimizers["camera_opt"]["scheduler"] = None
    with training(config) as (trainer, losses):
        adjustment = trainer.pipeline.model.camera_optimizer.pose_adjustment.detach()
        assert float(adjustment.abs().max()) > 1e-4
        assert sum(losses[-5:]) < sum(losses[:5])
    run = Run.open(tmp_path / "capture" / "splatseg-lite" / "now")
    plain = Run.open(run.folder)
    plain.model_config.camera_optimizer.mode = "off"
    for corrected, stated, row in zip(
        run.capture().with_split("train"), plain.capture().with_split("train"), adjustment, strict=True
    ):
        # Translation comes first in an adjustment, and moves the camera in the world.
        torch.testing.assert_close(corrected.camera.position, stated.camera.position + row[:3], atol=1e-5, rtol=0)


def test_opacities_are_reset(scene: SceneOnDisk, tmp_path: Path):
    """At step 20; what is transparent then is not judged at once."""
    config = quick(scene, tmp_path, steps=21, reset_alpha_every=2, stop_split_at=100)
    with training(config) as (trainer, _):
        opacities = trainer.pipeline.model.opacities.detach().sigmoid()
        assert float(opacities.max()) == pytest.approx(2 * config.pipeline.model.cull_alpha_thresh)
        # All that training started from.
        assert len(opacities) == 2400


def test_what_a_mask_covers_counts_for_nothing(scene: SceneOnDisk, tmp_path: Path):
    """Nerfstudio's own masks, of pixels that are not to be used."""
    losses = []
    for noise in (0, 255):
        data = tmp_path / f"noise{noise}" / "capture"
        shutil.copytree(scene.data, data)
        frames = json.loads((data / "transforms.json").read_text())["frames"]
        for frame in frames:
            frame["mask_path"] = frame["file_path"].replace("images/", "valid/")
            picture = np.array(Image.open(data / frame["file_path"]))
            valid = np.full(picture.shape[:2], 255, np.uint8)
            picture[20:50, 30:60], valid[20:50, 30:60] = noise, 0
            Image.fromarray(picture).save(data / frame["file_path"])
            (data / "valid").mkdir(exist_ok=True)
            Image.fromarray(valid).save(data / frame["mask_path"])
        change_json(data / "transforms.json", {"frames": frames})
        with training(quick(replace(scene, data=data), tmp_path, steps=5)) as (_, found):
            losses.append(found)
    assert losses[0] == losses[1]


def test_a_checkpoint_is_trained_on(scene: SceneOnDisk, tmp_path: Path):
    with training(quick(scene, tmp_path / "first")) as (trainer, first):
        checkpoints, count = trainer.checkpoint_dir, trainer.pipeline.model.num_points
    assert [path.name for path in checkpoints.iterdir()] == ["step-000000029.ckpt"]
    again = quick(scene, tmp_path / "second", steps=10)
    again.load_dir = checkpoints
    with training(again) as (trainer, second):
        assert trainer.step == 39
        assert trainer.pipeline.model.num_points == count
        assert sum(second[:5]) < sum(first[:5])


def test_more_than_500_pictures_are_kept_without_a_gpu(scene: SceneOnDisk, tmp_path: Path):
    config = quick(scene, tmp_path, steps=2)
    # What Nerfstudio sets by itself from 501 pictures on.
    config.pipeline.datamanager.cache_images = "cpu"
    with training(config) as (trainer, losses):
        assert isinstance(trainer.pipeline.datamanager, FullImageDatamanager)
        assert len(losses) == 2
