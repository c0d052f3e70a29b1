"""What a removed object leaves behind: the pixels that show nothing well observed, and the Gaussians that lie there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from splatseg_ns.lift import Progress, render_share, seen_in
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats

WAS_OBJECT = 0.3
"""A pixel was the object's if this much of its colour came from Gaussians that are gone."""

_OBSERVED = 0.5
"""A Gaussian is well observed if views had this share of what they see of it now when the object was there."""

_LEAST_SEEN = 0.1
"""Pixels, summed over all views: who was seen less than that is not observed by anybody."""

_SHOWS_OBSERVED = 0.5
"""A pixel with less of well observed Gaussians shows nothing that can be trusted."""

_LEAST_PIXELS = 16
"""Smaller patches are no holes, but the ragged edges of silhouettes."""


@dataclass(frozen=True, eq=False)
class ViewHole:
    """The hole in one view."""

    name: str
    camera: Camera
    object: Tensor  # [H, W] bool, where the object was
    hole: Tensor  # [H, W] bool, the part of it in which nothing is well observed now

    @property
    def pixels(self) -> int:
        """How large the hole is."""
        return int(self.hole.sum())


@dataclass(frozen=True, eq=False)
class Hole:
    """What is missing after a removal."""

    views: tuple[ViewHole, ...]
    """All views, also those without a hole."""

    stays: Tensor  # [N] bool, neither removed nor to be seen in the hole alone

    @property
    def pixels(self) -> int:
        """Of all views."""
        return sum(view.pixels for view in self.views)

    def largest_first(self) -> list[ViewHole]:
        """The views that have a hole."""
        return sorted((view for view in self.views if view.pixels), key=lambda view: -view.pixels)


@torch.no_grad()
def object_masks(
    rasterizer: Rasterizer,
    splats: Splats,
    removed: Tensor,  # [N] bool
    cameras: Mapping[str, Camera],
    progress: Progress | None = None,
) -> dict[str, Tensor]:  # each [H, W] bool
    """Where the object was in each view: what its Gaussians showed of themselves."""
    masks = {}
    for done, (name, camera) in enumerate(cameras.items()):
        masks[name] = render_share(rasterizer, splats, camera, removed).cpu() > WAS_OBJECT
        _report(progress, done + 1, len(cameras))
    return masks


@torch.no_grad()
def find_hole(
    rasterizer: Rasterizer,
    splats: Splats,
    removed: Tensor,  # [N] bool
    hidden: Tensor,  # [N] bool, those of the removed that were no object, but lay on the surface behind or under it
    cameras: Mapping[str, Camera],
    masks: Mapping[str, Tensor],  # each [H, W] bool, where the object was
    progress: Progress | None = None,
) -> Hole:
    """The hole that the removed Gaussians leave in the views of these cameras.

    Nothing is detected in pictures. Training has never seen what the object hid, so the Gaussians there were seen
    much less than they are once the object is gone; a pixel that shows mostly such Gaussians where the object was
    belongs to the hole. Gaussians of the surface that went with the object count as such: what shows through the gap
    that they leave lies behind the surface.
    """
    removed, hidden = removed.cpu(), hidden.cpu()
    rows = (~removed | hidden).nonzero().flatten()
    left = splats.subset(rows.to(splats.device))
    seen, seen_now, in_hole = (torch.zeros(size, dtype=torch.float64) for size in (len(splats), len(rows), len(rows)))
    steps = 2 * len(cameras)
    for done, camera in enumerate(cameras.values()):
        seen += seen_in(rasterizer, splats, camera).cpu().double()
        seen_now += seen_in(rasterizer, left, camera).cpu().double()
        _report(progress, done + 1, steps)
    observed = ~removed & (seen >= _LEAST_SEEN)
    observed[rows] &= seen[rows] >= _OBSERVED * seen_now
    views = []
    for done, (name, camera) in enumerate(cameras.items()):
        trusted = render_share(rasterizer, left, camera, observed[rows]).cpu()
        hole = _whole_patches(masks[name] & (trusted < _SHOWS_OBSERVED), masks[name])
        views.append(ViewHole(name, camera, masks[name], hole))
        if views[-1].pixels:
            in_hole += rasterizer.votes(left, camera, hole.long(), [1]).dense()[:, 0].cpu().double()
        _report(progress, len(cameras) + done + 1, steps)
    stays = ~removed
    stays[rows] &= in_hole <= 0.5 * seen_now
    return Hole(tuple(views), stays)


def grown(
    mask: Tensor,  # [H, W] bool
    pixels: int,
) -> Tensor:  # [H, W] bool
    """The mask and all that is at most so many pixels away from it."""
    if pixels < 1:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return torch.from_numpy(cv2.dilate(mask.numpy().astype(np.uint8), disc) > 0)


def _whole_patches(
    hole: Tensor,  # [H, W] bool
    object: Tensor,  # [H, W] bool
) -> Tensor:  # [H, W] bool
    """The hole with what it encloses of the object, without patches that are tiny."""
    filled = torch.from_numpy(ndimage.binary_fill_holes(hole.numpy())) & object
    numbers, count = patches_of(filled)
    large = torch.bincount(numbers.flatten(), minlength=count) >= _LEAST_PIXELS
    large[0] = False
    return large[numbers]


def patches_of(
    mask: Tensor,  # [H, W] bool
) -> tuple[Tensor, int]:  # [H, W] int64
    """Numbers its patches from 1 on, 0 outside; and how many numbers there are."""
    count, numbers = cv2.connectedComponents(mask.numpy().astype(np.uint8), connectivity=4)
    return torch.from_numpy(numbers).long(), count


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
