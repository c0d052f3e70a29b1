"""Pixels: masks of them, and the points of a scene that they show."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from splatseg_ns.scene import Camera


def grown(
    mask: Tensor,  # [H, W] bool
    pixels: int,
) -> Tensor:  # [H, W] bool
    """The mask and all that is at most so many pixels away from it."""
    if pixels < 1:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return torch.from_numpy(cv2.dilate(mask.numpy().astype(np.uint8), disc) > 0)


def patches_of(
    mask: Tensor,  # [H, W] bool
) -> tuple[Tensor, int]:  # [H, W] int64
    """Numbers its patches from 1 on, 0 outside; and how many numbers there are."""
    count, numbers = cv2.connectedComponents(mask.numpy().astype(np.uint8), connectivity=4)
    return torch.from_numpy(numbers).long(), count


def rays(camera: Camera) -> Tensor:  # [H, W, 3] float64
    """In the camera's frame, from its centre to each pixel's, with z = 1."""
    K = camera.K.cpu().double()
    x = (torch.arange(camera.width, dtype=torch.float64) + 0.5 - K[0, 2]) / K[0, 0]
    y = (torch.arange(camera.height, dtype=torch.float64) + 0.5 - K[1, 2]) / K[1, 1]
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x)), torch.ones(len(y), len(x)).double()], -1)


def points_at(
    camera: Camera,
    depth: Tensor,  # [H, W]
) -> Tensor:  # [H, W, 3] float64
    """The points of the scene that the pixels show at these depths."""
    viewmat = camera.viewmat.cpu().double()
    return (rays(camera) * depth.double()[..., None] - viewmat[:3, 3]) @ viewmat[:3, :3]


def projected_points(
    camera: Camera,
    points: Tensor,  # [P, 3] float64
) -> tuple[Tensor, Tensor, Tensor]:  # [P, 2] pixels, [P] depth, [P] bool
    """Where points are seen, how far away, and whether that is inside the picture."""
    viewmat, K = camera.viewmat.cpu().double(), camera.K.cpu().double()
    seen = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
    depth = seen[:, 2]
    pixels = seen[:, :2] / depth.clamp_min(1e-9)[:, None]
    size = torch.tensor([camera.width, camera.height], dtype=torch.float64)
    return pixels, depth, (depth > 0) & ((pixels >= 0) & (pixels < size)).all(dim=1)


def pixels_of(
    camera: Camera,
    pixels: Tensor,  # [P, 2]
) -> tuple[Tensor, Tensor]:  # [P] int64 each
    """Rows and columns; those of places outside are of the nearest pixel."""
    columns = pixels[:, 0].long().clamp(0, camera.width - 1)
    return pixels[:, 1].long().clamp(0, camera.height - 1), columns


def sampled(
    picture: Tensor,  # [H, W, C]
    pixels: Tensor,  # [P, 2]
) -> Tensor:  # [P, C]
    """The picture between its pixels, bilinear and differentiable."""
    size = torch.tensor([picture.shape[1], picture.shape[0]], dtype=pixels.dtype, device=pixels.device)
    grid = (2.0 * pixels / size - 1.0).to(picture.dtype)
    found = torch.nn.functional.grid_sample(
        picture.permute(2, 0, 1)[None], grid[None, None], align_corners=False, padding_mode="border"
    )
    return found[0, :, 0].T
