"""A made-up scene whose objects are known: three balls on a table."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splatseg_ns.scene import Camera, Splats

NAMES = ("table", "red ball", "green ball", "blue ball")
_COLORS = torch.tensor([[0.55, 0.42, 0.30], [0.85, 0.20, 0.18], [0.20, 0.65, 0.25], [0.20, 0.35, 0.85]])
_CENTRES = torch.tensor([[-0.55, 0.1, 0.3], [0.1, -0.35, 0.22], [0.5, 0.35, 0.4]])
_RADII = (0.3, 0.22, 0.4)
_SH_0 = 0.28209479177387814


def balls_on_a_table(seed: int = 0) -> tuple[Splats, Tensor]:
    """The splats, and the true object of each Gaussian [N]: 0 the table, 1 to 3 the balls."""
    random = torch.Generator().manual_seed(seed)
    table = torch.rand(6000, 3, generator=random) * torch.tensor([2.4, 2.4, 0.0]) - torch.tensor([1.2, 1.2, 0.0])
    balls = [
        centre + radius * torch.nn.functional.normalize(torch.randn(2000, 3, generator=random), dim=-1)
        for centre, radius in zip(_CENTRES, _RADII, strict=True)
    ]
    means = torch.cat([table, *balls])
    objects = torch.cat([torch.full((len(part),), i) for i, part in enumerate([table, *balls])])
    shades = _COLORS[objects] * (0.75 + 0.5 * torch.rand(len(means), 1, generator=random))
    splats = Splats(
        means=means,
        raw_quats=torch.randn(len(means), 4, generator=random),
        log_scales=torch.full((len(means), 3), math.log(0.018)),
        logit_opacities=torch.full((len(means),), 2.0),
        sh=((shades - 0.5) / _SH_0)[:, None],
    )
    return splats, objects


def ring_of_cameras(count: int, width: int = 320, height: int = 240) -> list[Camera]:
    """Cameras on a circle above the table, all looking at its middle."""
    cameras = []
    for turn in torch.arange(count) * (2 * math.pi / count):
        eye = torch.stack([2.2 * turn.cos(), 2.2 * turn.sin(), torch.tensor(1.4)])
        forward = torch.nn.functional.normalize(torch.tensor([0.0, 0.0, 0.2]) - eye, dim=0)
        right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0])), dim=0)
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        viewmat = torch.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
        focal = 0.9 * width
        K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        cameras.append(Camera(viewmat, K, width, height))
    return cameras
