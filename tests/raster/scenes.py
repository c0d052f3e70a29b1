"""Small scenes that are the same on every run, and ways to compare what engines make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from splatseg_ns.raster.interface import Rasterizer
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import PROFILES, Camera, RenderProfile, Splats

SH0 = math.sqrt(1.0 / (4.0 * math.pi))
"""The constant basis function: a colour c is the coefficient (c - 0.5) / SH0."""

PARAMETERS = ("means", "raw_quats", "log_scales", "logit_opacities", "sh")

EXTENTS = {**PROFILES, "ellipse": RenderProfile("ellipse", extent="ellipse")}
"""One profile for each extent rule."""

MODES = [
    replace(profile, name=f"{name}{'-antialiased' if antialiased else ''}", antialiased=antialiased)
    for name, profile in EXTENTS.items()
    for antialiased in (False, True)
]
"""Every extent rule, with and without the compensation."""


@dataclass(frozen=True)
class Scene:
    name: str
    splats: Splats
    camera: Camera

    def using(self, profile: RenderProfile) -> Scene:
        return replace(self, splats=replace(self.splats, profile=profile))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def camera(
    width: int,
    height: int,
    *,
    focal: tuple[float, float] = (60.0, 60.0),
    center: tuple[float, float] | None = None,
    turn: float = 0.0,  # radians about the y axis
    shift: Sequence[float] = (0.0, 0.0, 0.0),
) -> Camera:
    cx, cy = center if center is not None else (width / 2, height / 2)
    viewmat = torch.eye(4)
    viewmat[0, 0] = viewmat[2, 2] = math.cos(turn)
    viewmat[0, 2], viewmat[2, 0] = math.sin(turn), -math.sin(turn)
    viewmat[:3, 3] = torch.tensor(shift)
    return Camera(viewmat, torch.tensor([[focal[0], 0.0, cx], [0.0, focal[1], cy], [0.0, 0.0, 1.0]]), width, height)


def cloud(count: int, seed: int, *, size: float = 0.05, opacity: float = 0.0, degree: int = 3) -> Splats:
    """Gaussians of many shapes around (0, 0, 4), all of them in front of a camera at the origin."""
    random = generator(seed)
    return Splats(
        means=torch.randn(count, 3, generator=random).clamp(-2.5, 2.5) * torch.tensor([1.3, 1.0, 0.8])
        + torch.tensor([0.0, 0.0, 4.0]),
        raw_quats=torch.randn(count, 4, generator=random),
        log_scales=math.log(size) + 0.5 * torch.randn(count, 3, generator=random),
        logit_opacities=opacity + torch.randn(count, generator=random),
        sh=0.3 * torch.randn(count, (degree + 1) ** 2, 3, generator=random),
    )


def gaussians(
    means: Sequence[Sequence[float]],
    scales: Sequence[Sequence[float]] | float,
    opacities: Sequence[float],
    colors: Sequence[Sequence[float]] | None = None,
    *,
    quats: Sequence[Sequence[float]] | None = None,
    profile: RenderProfile = PROFILES["gsplat-1.4"],
) -> Splats:
    """Gaussians made by hand, in the numbers that a reader can follow; one number as scale makes balls."""
    count = len(means)
    sizes = torch.full((count, 3), scales) if isinstance(scales, float) else torch.tensor(scales)
    shades = torch.full((count, 3), 0.5) if colors is None else torch.tensor(colors)
    return Splats(
        means=torch.tensor(means),
        raw_quats=torch.tensor(quats if quats is not None else [[1.0, 0.0, 0.0, 0.0]] * count),
        log_scales=sizes.log(),
        logit_opacities=torch.tensor(opacities, dtype=torch.float64).logit().float(),
        sh=((shades - 0.5) / SH0)[:, None, :],
        profile=profile,
    )


SCENES = [
    Scene("open", cloud(400, 21, size=0.1, opacity=0.5), camera(96, 72)),
    Scene("skewed", cloud(250, 2, size=0.1), camera(61, 47, focal=(45.0, 38.0), center=(22.3, 29.1), turn=0.3)),
    Scene("narrow", cloud(100, 3, size=0.15), camera(17, 33, focal=(18.0, 18.0), shift=(0.1, -0.2, 0.3))),
    Scene("opaque", cloud(80, 20, size=0.4, opacity=4.0), camera(48, 40, focal=(30.0, 30.0))),
    Scene("turned", cloud(250, 5, size=0.12), camera(80, 64, focal=(52.0, 50.0), turn=-0.5, shift=(2.0, 0.0, 0.5))),
    Scene("pixel", cloud(40, 6, size=0.2, opacity=-1.0), camera(1, 1, focal=(1.0, 1.0))),
]

SCENE_BY_NAME = {scene.name: scene for scene in SCENES}


def trained(splats: Splats) -> Splats:
    """A copy whose tensors are leaves that collect gradients."""
    return replace(
        splats, **{name: tensor.detach().clone().requires_grad_() for name, tensor in splats.tensors().items()}
    )


def on(engine: Rasterizer, scene: Scene) -> tuple[Splats, Camera]:
    """Splats and camera where the engine wants them."""
    return scene.splats.to(engine.device), scene.camera.to(engine.device)


def host(tensor: Tensor) -> Tensor:
    """Ready to be compared."""
    return tensor.detach().cpu().double()


@cache
def borderline(name: str, profile: RenderProfile) -> Tensor:  # [H, W] bool
    """The pixels of a scene whose outcome hangs on rounding."""
    scene = SCENE_BY_NAME[name].using(profile)
    with torch.no_grad():
        return OracleRasterizer().render(scene.splats, scene.camera).info["borderline"]


def label_map(scene_camera: Camera, labels: int, seed: int = 0) -> Tensor:  # [H, W]
    """Blobs of labels 0 .. labels - 1, some pixels wide."""
    random = generator(seed)
    coarse = torch.randint(labels, (scene_camera.height // 5 + 1, scene_camera.width // 5 + 1), generator=random)
    fine = coarse.repeat_interleave(5, dim=0).repeat_interleave(5, dim=1)
    return fine[: scene_camera.height, : scene_camera.width].contiguous()


def radii_of(info: dict[str, Any]) -> Tensor:  # [N] int32
    """The larger radius of each Gaussian; gsplat 1.5 has one for each axis."""
    radii = info["radii"][0].cpu()
    return radii if radii.dim() == 1 else radii.amax(dim=-1)


def vote_error(actual: Tensor, expected: Tensor) -> float:
    """The largest error relative to the vote, for votes below 0.01 relative to that."""
    if expected.numel() == 0:
        return 0.0
    return float(((host(actual) - expected).abs() / expected.clamp_min(1e-2)).max())


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """The Euclidean length of the difference relative to that of what is expected."""
    return float((host(actual) - host(expected)).norm() / host(expected).norm().clamp_min(1e-12))
