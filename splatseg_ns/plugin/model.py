"""Splatfacto on the engines of this project, with pictures of what is segmented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from gsplat.strategy import DefaultStrategy
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.model_components.lib_bilagrid import BilateralGrid
from nerfstudio.models.splatfacto import SplatfactoModel, SplatfactoModelConfig
from nerfstudio.utils.colors import get_color
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio

from splatseg_ns.plugin.cameras import camera_of, seen_from
from splatseg_ns.plugin.display import PLAIN_LOOK, Display, Look
from splatseg_ns.plugin.lazy_lpips import LazyLpips
from splatseg_ns.plugin.parameters import PARAMETERS, splats_of, starting_parameters
from splatseg_ns.plugin.pictures import current_wish
from splatseg_ns.plugin.shots import Shots, StillScene, filled_depth
from splatseg_ns.plugin.ssim import StructuralSimilarity
from splatseg_ns.raster import Rasterizer, rasterizer_for
from splatseg_ns.scene import RenderProfile, Splats, render_profile
from splatseg_ns.segmentation import Segmentation

_DEFAULT_BACKGROUND = (0.1490, 0.1647, 0.2157)
"""Of pictures of splats that were trained on random ones: the viewer's."""

_NEIGHBOURS = 3


@dataclass
class SplatsegModelConfig(SplatfactoModelConfig):
    """Splatfacto, and what it is drawn with."""

    _target: type = field(default_factory=lambda: SplatsegModel)
    render_profile: Literal["gsplat-1.4", "gsplat-1.5", "inria"] = "gsplat-1.4"
    """The cut-offs of the rasterizer in training and ever after. Leave it: Nerfstudio's own are gsplat-1.4."""


def profile_of(config: SplatfactoModelConfig) -> RenderProfile:
    """What splats of this configuration are drawn with."""
    name = config.render_profile if isinstance(config, SplatsegModelConfig) else "gsplat-1.4"
    return render_profile(name, antialiased=config.rasterize_mode == "antialiased")


class SplatsegModel(SplatfactoModel):
    """Trains and draws on any device that an engine is there for.

    ``rgb``, ``depth`` and ``accumulation`` are always the whole scene. Besides them stand ``segmentation`` (the colours
    of the objects), ``object_mask`` (the selection, or all visible objects) and ``objects`` (``rgb`` without what is
    hidden, or with ghosts of it, and with what stands out). No parameter changes for any of them.

    While a viewer states by ``wishing`` what it looks at, all other pictures are made when somebody reads them.
    """

    config: SplatsegModelConfig

    def populate_modules(self) -> None:
        """All parts of splatfacto, on the CPU: the pipeline moves them to their device."""
        config = self.config
        self.gauss_params = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(tensor) for name, tensor in self._starting_parameters().items()}
        )
        self.camera_optimizer = config.camera_optimizer.setup(num_cameras=self.num_train_data, device="cpu")
        if config.use_bilateral_grid:
            width, height, levels = config.grid_shape
            self.bil_grids = BilateralGrid(num=self.num_train_data, grid_X=width, grid_Y=height, grid_W=levels)
        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.ssim = StructuralSimilarity()
        self.lpips = LazyLpips()
        self.strategy = self._strategy()
        self.strategy_state = self.strategy.initialize_state(scene_scale=1.0)
        self.step = 0
        self.crop_box = None
        random = config.background_color == "random"
        self.background_color = torch.tensor(_DEFAULT_BACKGROUND) if random else get_color(config.background_color)
        self._display: Display | None = None
        self._exported_rows: Tensor | None = None
        self._still = StillScene()

    def _starting_parameters(self) -> dict[str, Tensor]:
        config = self.config
        if self.seed_points is None or config.random_init:
            means, rgb = (torch.rand(config.num_random, 3) - 0.5) * config.random_scale, None
        else:
            means, rgb = (part.cpu() for part in self.seed_points)
        distances, _ = self.k_nearest_sklearn(means, _NEIGHBOURS)
        has_colors = rgb is not None and len(rgb) == len(means)
        return starting_parameters(means, torch.from_numpy(distances), rgb if has_colors else None, config.sh_degree)

    def _strategy(self) -> DefaultStrategy:
        """Densification by what the configuration says, in gsplat's words."""
        config = self.config
        return DefaultStrategy(
            refine_start_iter=config.warmup_length,
            refine_stop_iter=config.stop_split_at,
            refine_every=config.refine_every,
            reset_every=config.reset_alpha_every * config.refine_every,
            # Every picture is to be seen once before what a reset made transparent is judged.
            pause_refine_after_reset=self.num_train_data + config.refine_every,
            grow_grad2d=config.densify_grad_thresh,
            absgrad=config.use_absgrad,
            grow_scale3d=config.densify_size_thresh,
            grow_scale2d=config.split_screen_size,
            prune_opa=config.cull_alpha_thresh,
            prune_scale3d=config.cull_scale_thresh,
            prune_scale2d=config.cull_screen_size,
            refine_scale2d_stop_iter=config.stop_screen_size_at,
            verbose=True,
        )

    @property
    def profile(self) -> RenderProfile:
        """What the splats are drawn with."""
        return profile_of(self.config)

    def splats(self) -> Splats:
        """All Gaussians as they are now, differentiable in the parameters."""
        return splats_of({name: self.gauss_params[name] for name in PARAMETERS}, self.profile)

    def show(
        self,
        document: Segmentation | None,
        selection: Tensor | None = None,  # [N] bool
        look: Look = PLAIN_LOOK,
    ) -> None:
        """Have the outputs show this document, ``object_mask`` the selection, and ``objects`` the look as well."""
        count = len(self.gauss_params["means"])
        if document is not None and len(document) != count:
            raise ValueError(f"the document is of {len(document)} Gaussians, not of these {count}")
        self._display = None if document is None else Display.of(document, self.device, selection, look)

    @property
    def display(self) -> Display | None:
        """What the outputs show, if it is of these Gaussians: training makes others."""
        # Read once: another thread may have the model show something else.
        display = self._display
        return display if display is not None and len(display) == len(self.gauss_params["means"]) else None

    def export_only(
        self,
        rows: Tensor | None,  # [N] bool
    ) -> None:
        """Hand only these Gaussians to whoever reads the model's properties, as ns-export does; None for all."""
        self._exported_rows = rows

    def load_state_dict(self, dict: dict[str, Any], **kwargs: Any) -> Any:
        """As splatfacto's, without the weights of LPIPS that its checkpoints hold."""
        self.show(None)
        return super().load_state_dict(
            {name: tensor for name, tensor in dict.items() if not name.startswith("lpips.")}, **kwargs
        )

    def get_outputs(self, camera: Cameras) -> Mapping[str, Tensor | None]:
        """The pictures of one camera; while training only those that the loss needs."""
        if not isinstance(camera, Cameras):
            raise SystemExit(
                "splatseg: splats are drawn for cameras, not for rays as ns-export's meshes and point clouds ask for; "
                "take ns-export gaussian-splat"
            )
        return self._training_outputs(camera) if self.training else self._still_outputs(camera)

    def _training_outputs(self, camera: Cameras) -> dict[str, Tensor | None]:
        pose = self.camera_optimizer.apply_to_camera(camera)[0]
        view = camera_of(camera, pose, self._get_downscale_factor())
        splats, degree, features = self.splats(), self._sh_degree(), None
        if pose.requires_grad:
            splats, features = seen_from(splats, pose, degree)
        background = self._get_background_color()
        picture = self._engine().render(
            splats,
            view,
            features=features,
            sh_degree=degree if features is None else None,
            background=background,
            absgrad=self.strategy.absgrad,
        )
        self.info = picture.info
        self.strategy.step_pre_backward(self.gauss_params, self.optimizers, self.strategy_state, self.step, self.info)
        rgb = picture.colors.clamp(0.0, 1.0)
        if self.config.use_bilateral_grid and camera.metadata is not None and "cam_idx" in camera.metadata:
            rgb = self._apply_bilateral_grid(rgb[None], camera.metadata["cam_idx"], view.height, view.width)[0]
        return {
            "rgb": rgb,
            "depth": filled_depth(picture) if self.config.output_depth_during_training else None,
            "accumulation": picture.alpha[..., None],
            "background": background,
        }

    def _still_outputs(self, camera: Cameras) -> Mapping[str, Tensor]:
        shown = self._still.of({name: self.gauss_params[name] for name in PARAMETERS}, self.profile, self.display)
        if self.crop_box is not None:
            shown = shown.cropped(self.crop_box.within(shown.splats.means).squeeze(-1))
        view = camera_of(camera, camera.camera_to_worlds[0])
        shots = Shots(self._engine(), shown, view, self._sh_degree(), self._get_background_color())
        wish = current_wish()
        if wish is None:
            return dict(shots.pictures())
        pictures = shots.pictures(wish.depth_of)
        pictures.make(wish.outputs)
        return pictures

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """A picture with what it covers as its fourth channel, so that another background can be put behind it."""
        picture, alpha = outputs[output_name], outputs["accumulation"]
        if output_name != "rgb":
            return torch.cat((picture, torch.ones_like(alpha)), dim=-1)
        covered = picture - (1.0 - alpha) * outputs["background"]
        return torch.cat(((covered / alpha.clamp_min(1e-10)).clamp(0.0, 1.0), alpha), dim=-1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """As splatfacto's, without LPIPS where its weights cannot be had."""
        metrics, images = super().get_image_metrics_and_images(outputs, batch)
        # NaN is the only number that differs from itself.
        missing = [name for name, value in metrics.items() if name.endswith("lpips") and value != value]
        return {name: value for name, value in metrics.items() if name not in missing}, images

    def _engine(self) -> Rasterizer:
        return rasterizer_for(self.device)

    def _sh_degree(self) -> int:
        return min(self.step // self.config.sh_degree_interval, self.config.sh_degree)

    def _exported(self, tensor: Tensor) -> Tensor:
        return tensor if self._exported_rows is None else tensor[self._exported_rows]

    # What ns-export reads, and the viewer for its cloud of starting points.

    @property
    def means(self) -> Tensor:  # [N, 3]
        return self._exported(self.gauss_params["means"])

    @property
    def scales(self) -> Tensor:  # [N, 3]
        return self._exported(self.gauss_params["scales"])

    @property
    def quats(self) -> Tensor:  # [N, 4]
        return self._exported(self.gauss_params["quats"])

    @property
    def features_dc(self) -> Tensor:  # [N, 3]
        return self._exported(self.gauss_params["features_dc"])

    @property
    def features_rest(self) -> Tensor:  # [N, K - 1, 3]
        return self._exported(self.gauss_params["features_rest"])

    @property
    def opacities(self) -> Tensor:  # [N, 1]
        return self._exported(self.gauss_params["opacities"])
