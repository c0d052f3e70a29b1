"""Nerfstudio's cameras as those of the engines, and gradients for poses that are being trained."""

from __future__ import annotations

from dataclasses import replace

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from splatseg_ns.scene import Camera, Splats
from splatseg_ns.scene.spherical_harmonics import sh_basis


def viewmat_of(
    pose: Tensor,  # [3, 4] camera to world, OpenGL axes
) -> Tensor:  # [4, 4] world to camera, OpenCV axes
    """What the engines take for a pose."""
    rotation = pose[:, :3] * pose.new_tensor([1.0, -1.0, -1.0])
    viewmat = torch.eye(4, dtype=pose.dtype, device=pose.device)
    viewmat[:3, :3] = rotation.T
    viewmat[:3, 3] = -rotation.T @ pose[:, 3]
    return viewmat


def camera_of(
    camera: Cameras,  # [1]
    pose: Tensor,  # [3, 4] camera to world, OpenGL axes
    downscale: int = 1,
) -> Camera:
    """One of nerfstudio's cameras in this pose, its picture shrunk by a whole factor and rounded down."""
    fx, fy, cx, cy = (float(number) / downscale for number in (camera.fx, camera.fy, camera.cx, camera.cy))
    return Camera(
        viewmat_of(pose.detach().cpu().float()),
        torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
        int(camera.width) // downscale,
        int(camera.height) // downscale,
    )


def seen_from(
    splats: Splats,
    pose: Tensor,  # [3, 4] camera to world, with a graph
    sh_degree: int,
) -> tuple[Splats, Tensor]:
    """The same Gaussians and their colours [N, 3], with a graph that leads to the pose of the camera as well.

    An engine differentiates by Gaussians, not by cameras. Moving a camera is the same as moving all Gaussians the
    other way: what comes back is moved by a transform that has the value of the identity, and the gradient of that.
    """
    fixed = pose.detach()
    turn = fixed[:, :3] @ pose[:, :3].T  # [3, 3]
    shift = fixed[:, 3] - turn @ pose[:, 3]
    moved = replace(
        splats,
        means=splats.means @ turn.T + shift,
        raw_quats=_turned(_small_rotation(turn), splats.raw_quats),
    )
    directions = torch.nn.functional.normalize(splats.means - pose[:, 3], dim=-1)
    basis = sh_basis(directions, sh_degree)  # [N, K]
    colors = torch.einsum("nk,nkc->nc", basis, splats.sh[:, : basis.shape[1]]) + 0.5
    return moved, colors.clamp_min(0.0)


def _small_rotation(
    turn: Tensor,  # [3, 3] near the identity
) -> Tensor:  # [4] wxyz
    w = 0.5 * (1.0 + turn.trace()).sqrt()
    axis = torch.stack([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return torch.cat([w[None], axis / (4.0 * w)])


def _turned(
    turn: Tensor,  # [4] wxyz
    quats: Tensor,  # [N, 4]
) -> Tensor:  # [N, 4]
    """The rotations followed by another one."""
    w, x, y, z = turn
    matrix = torch.stack(
        [
            torch.stack([w, -x, -y, -z]),
            torch.stack([x, w, -z, y]),
            torch.stack([y, z, w, -x]),
            torch.stack([z, -y, x, w]),
        ]
    )
    return quats @ matrix.T
