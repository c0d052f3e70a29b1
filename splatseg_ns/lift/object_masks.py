"""From labels back to pictures: which object is seen at each pixel of a view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats

_CHANNELS = 16
"""Objects drawn in one pass, so that memory does not grow with their number."""


class Shares(Protocol):
    """How much each Gaussian belongs to labels: ``Labels`` (all or nothing) or ``Votes`` (its share of the mass)."""

    def shares_of(self, ids: Tensor) -> Tensor: ...  # [C] -> [N, C] in [0, 1]


@torch.no_grad()
def render_shares(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    shares: Shares,
    ids: Tensor,  # [C]
) -> Tensor:  # [H, W, C] in [0, 1]
    """How much of each pixel belongs to each of some labels."""
    features = shares.shares_of(ids.cpu()).to(splats.device, torch.float32)
    return rasterizer.render(splats, camera, features=features).colors


@torch.no_grad()
def render_share(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    rows: Tensor,  # [N] bool
) -> Tensor:  # [H, W] in [0, 1]
    """How much of each pixel comes from some Gaussians."""
    return rasterizer.render(splats, camera, features=rows.to(splats.means)[:, None]).colors[..., 0]


@torch.no_grad()
def render_label_map(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    shares: Shares,
    ids: Tensor,  # [K] int64, the objects
) -> Tensor:  # [H, W] int64
    """The strongest object at each pixel, 0 where the background is stronger; empty space is background.

    Labels give the mask of what was decided, votes the soft mask, which is finer at the borders. For a single object
    both mean that its share of the pixel is above one half.
    """
    shape = (camera.height, camera.width)
    labels = torch.zeros(shape, dtype=torch.int64, device=splats.device)
    best = torch.zeros(shape, device=splats.device)
    objects = torch.zeros(shape, device=splats.device)
    known = ids[ids > 0]
    # Splitting nothing gives one empty part.
    for part in known.split(_CHANNELS) if len(known) else ():
        weights = render_shares(rasterizer, splats, camera, shares, part)
        strongest, place = weights.max(dim=-1)
        labels = torch.where(strongest > best, part.to(labels.device)[place], labels)
        best = torch.maximum(best, strongest)
        objects += weights.sum(dim=-1)
    return torch.where(best > 1.0 - objects, labels, 0)


@torch.no_grad()
def render_object_mask(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    rows: Tensor,  # [N] bool
    tau: float = 0.1,
) -> Tensor:  # [H, W] bool
    """Where some Gaussians, drawn without the others, have alpha above ``tau``: a mask that nothing occludes."""
    return rasterizer.render(splats.subset(rows), camera, sh_degree=0).alpha > tau


@torch.no_grad()
def render_nearest_map(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    members: Mapping[int, Tensor],  # of each object [N] bool; they may overlap
    tau: float = 0.1,
) -> Tensor:  # [H, W] int64
    """The nearest object at each pixel, 0 where there is none: FlashSplat's depth-guided rule.

    Each object is drawn without all others. Of those whose alpha is above ``tau`` the one of least depth has the
    pixel: the depth of its Gaussians averaged by their weights in the pixel. At the same depth, as where two objects
    are made of the same Gaussians, the smallest id has it. Gaussians that are in no object hide nothing.
    """
    shape = (camera.height, camera.width)
    labels = torch.zeros(shape, dtype=torch.int64, device=splats.device)
    nearest = torch.full(shape, torch.inf, device=splats.device)
    for id in sorted(members):
        drawn = rasterizer.render(splats.subset(members[id].to(splats.device)), camera, sh_degree=0)
        wins = (drawn.alpha > tau) & (drawn.depth < nearest)
        labels[wins] = id
        nearest = torch.where(wins, drawn.depth, nearest)
    return labels
