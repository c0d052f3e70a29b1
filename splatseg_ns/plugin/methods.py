"""The methods that ``ns-train`` offers.

Nerfstudio loads this module in the middle of importing its own methods, so their settings are written out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig, MultiStepSchedulerConfig, SchedulerConfig
from nerfstudio.plugins.types import MethodSpecification

from splatseg_ns.plugin.datamanager import SplatsegDatamanagerConfig
from splatseg_ns.plugin.model import SplatsegModelConfig
from splatseg_ns.plugin.pipeline import SplatsegPipelineConfig
from splatseg_ns.plugin.trainer import SplatsegTrainerConfig

_STEPS = 30_000
_LITE_STEPS = 3_000
_NEVER = 1_000_000_000


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam whose step is one loop over the numbers, a third of the time on a CPU."""

    fused: bool = True
    """Take torch's fused implementation."""


def _adam(
    lr: float, scheduler: SchedulerConfig | None = None, kind: type[AdamOptimizerConfig] = AdamOptimizerConfig
) -> dict[str, Any]:
    return {"optimizer": kind(lr=lr, eps=1e-15), "scheduler": scheduler}


def _decay(lr_final: float, steps: int) -> SchedulerConfig:
    return ExponentialDecaySchedulerConfig(lr_final=lr_final, max_steps=steps)


def _camera_and_grid(steps: int, grid_lr: float) -> dict[str, Any]:
    """The optimizers of what is off by default; they set in once there is something to see."""

    def late(lr_final: float) -> SchedulerConfig:
        return ExponentialDecaySchedulerConfig(
            lr_final=lr_final, max_steps=steps, warmup_steps=steps // 30, lr_pre_warmup=0
        )

    return {"camera_opt": _adam(1e-4, late(5e-7)), "bilateral_grid": _adam(grid_lr, late(1e-4))}


def _splatfacto_optimizers(grid_lr: float) -> dict[str, Any]:
    return {
        "means": _adam(1.6e-4, _decay(1.6e-6, _STEPS)),
        "features_dc": _adam(2.5e-3),
        "features_rest": _adam(2.5e-3 / 20),
        "opacities": _adam(0.05),
        "scales": _adam(5e-3),
        "quats": _adam(1e-3),
        **_camera_and_grid(_STEPS, grid_lr),
    }


def _lite_optimizers() -> dict[str, Any]:
    def steps_down() -> SchedulerConfig:
        milestones = (round(0.6 * _LITE_STEPS), round(0.85 * _LITE_STEPS))
        return MultiStepSchedulerConfig(max_steps=_LITE_STEPS, gamma=0.5, milestones=milestones)

    def adam(lr: float, scheduler: SchedulerConfig) -> dict[str, Any]:
        return _adam(lr, scheduler, FusedAdamConfig)

    return {
        "means": adam(3.2e-4, _decay(3.2e-6, _LITE_STEPS)),
        "features_dc": adam(4e-3, steps_down()),
        "features_rest": adam(4e-4, steps_down()),
        "opacities": adam(0.05, steps_down()),
        "scales": adam(7e-3, steps_down()),
        "quats": adam(2e-3, steps_down()),
        **_camera_and_grid(_LITE_STEPS, 2e-3),
    }


def _method(
    name: str, model: SplatsegModelConfig, optimizers: dict[str, Any], steps: int, steps_per_save: int
) -> SplatsegTrainerConfig:
    return SplatsegTrainerConfig(
        method_name=name,
        steps_per_eval_image=100,
        steps_per_eval_batch=0,
        steps_per_save=steps_per_save,
        steps_per_eval_all_images=1000,
        max_num_iterations=steps,
        mixed_precision=False,
        pipeline=SplatsegPipelineConfig(
            datamanager=SplatsegDatamanagerConfig(
                dataparser=NerfstudioDataParserConfig(load_3D_points=True), cache_images_type="uint8"
            ),
            model=model,
        ),
        optimizers=optimizers,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
        vis="viewer",
    )


splatseg = MethodSpecification(
    config=_method("splatseg", SplatsegModelConfig(), _splatfacto_optimizers(2e-3), _STEPS, 2000),
    description="Splatfacto whose scenes are segmented into objects; trains with and without a GPU.",
)

splatseg_big = MethodSpecification(
    config=_method(
        "splatseg-big",
        SplatsegModelConfig(cull_alpha_thresh=0.005, densify_grad_thresh=0.0005),
        _splatfacto_optimizers(5e-3),
        _STEPS,
        2000,
    ),
    description="Splatseg with more Gaussians, for finer detail.",
)

splatseg_lite = MethodSpecification(
    config=_method(
        "splatseg-lite",
        SplatsegModelConfig(
            sh_degree=1,
            sh_degree_interval=1,
            num_downscales=0,
            background_color="black",
            warmup_length=200,
            stop_split_at=round(0.7 * _LITE_STEPS),
            # The strategy clamps opacities to twice this before the first step; new Gaussians have that much.
            cull_alpha_thresh=0.05,
            reset_alpha_every=_NEVER,
            use_absgrad=False,
            densify_grad_thresh=0.00032,
            stop_screen_size_at=0,
        ),
        _lite_optimizers(),
        _LITE_STEPS,
        1000,
    ),
    description="Splatseg in a few minutes on a laptop's CPU: good enough to tell objects apart.",
)
