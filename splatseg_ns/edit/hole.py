"""What a removed object leaves behind: the pixels that show nothing well observed, and the Gaussians that lie there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from splatseg_ns.edit.pixels import patches_of, pixels_of, points_at, projected_points
from splatseg_ns.edit.surface_behind import Surface, ViewSurface, surface_in_view
from splatseg_ns.edit.taken import LEAST_VIEWS
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

_LEAST_HIDING = 0.2
"""Of the views that are asked: where the object hid less, far away beside or over it, the surface has long ended."""

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
    surface: Surface,
    cameras: Mapping[str, Camera],
    masks: Mapping[str, Tensor],  # each [H, W] bool, where the object was
    asked: Collection[str],
    progress: Progress | None = None,
) -> Hole:
    """The hole that the removed Gaussians leave in the views of these cameras.

    Nothing is detected in pictures. A pixel belongs to the hole if two things are true of it. It shows mostly Gaussians
    that were seen much less than they are once the object is gone: training could make of them whatever it liked. And
    the place of the surface behind was hidden by the object from nearly all views that were ``asked``: background far
    behind a large object was hidden from many, but others have seen enough of it.

    Removed Gaussians that lay on the surface or under it count as never seen: what shows through the gap that they
    leave lies behind the surface.
    """
    removed = removed.cpu()
    rows = (~removed | surface.lies_in(splats.means)).nonzero().flatten()
    left = splats.subset(rows.to(splats.device))
    seen, seen_now, in_hole = (torch.zeros(size, dtype=torch.float64) for size in (len(splats), len(rows), len(rows)))
    steps = 2 * len(cameras)
    witnesses: list[_Witness] = []
    for done, (name, camera) in enumerate(cameras.items()):
        seen += seen_in(rasterizer, splats, camera).cpu().double()
        seen_now += seen_in(rasterizer, left, camera).cpu().double()
        if name in asked:
            witnesses.append(_Witness(camera, masks[name], _drawn_depth(rasterizer, left, camera)))
        _report(progress, done + 1, steps)
    observed = ~removed & (seen >= _LEAST_SEEN)
    observed[rows] &= seen[rows] >= _OBSERVED * seen_now
    views = []
    for done, (name, camera) in enumerate(cameras.items()):
        trusted = render_share(rasterizer, left, camera, observed[rows]).cpu()
        hole = masks[name] & (trusted < _SHOWS_OBSERVED)
        if bool(hole.any()):
            hole = _whole_patches(_hidden(rasterizer, left, camera, hole, surface, witnesses), masks[name])
        views.append(ViewHole(name, camera, masks[name], hole))
        if views[-1].pixels:
            in_hole += rasterizer.votes(left, camera, hole.long(), [1]).dense()[:, 0].cpu().double()
        _report(progress, len(cameras) + done + 1, steps)
    stays = ~removed
    stays[rows] &= in_hole <= 0.5 * seen_now
    return Hole(tuple(views), stays)


@dataclass(frozen=True, eq=False)
class _Witness:
    """A view that is asked what it saw beside the object."""

    camera: Camera
    object: Tensor  # [H, W] bool, where the object was
    depth: Tensor  # [H, W] float64, of what is drawn without it

    def hides_and_sees(
        self,
        points: Tensor,  # [P, 3] float64, of a surface
        normals: Tensor,  # [P, 3] float64, its normals there; 0 if unknown
        tolerance: float,
    ) -> tuple[Tensor, Tensor]:  # [P] bool each
        """Where the object was before the points, and which of the others nothing else is before, either."""
        pixels, depth, inside = projected_points(self.camera, points)
        rows, columns = pixels_of(self.camera, pixels)
        hides = inside & self.object[rows, columns]
        before = depth - self.depth[rows, columns]
        towards = (points - self.camera.position.cpu().double()) / depth[:, None]
        slant = torch.where((normals == 0).all(dim=1), 1.0, (towards * normals).sum(dim=1).abs())
        return hides, inside & ~hides & (before * slant < tolerance)


def _hidden(
    rasterizer: Rasterizer,
    left: Splats,
    camera: Camera,
    pixels: Tensor,  # [H, W] bool
    surface: Surface,
    witnesses: Sequence[_Witness],
) -> Tensor:  # [H, W] bool
    """Which of the pixels show places of the surface that the object hid from nearly all witnesses.

    Where no surface is known, it is the places that are drawn.
    """
    drawn = _drawn_depth(rasterizer, left, camera)
    behind = ViewSurface(torch.full(drawn.shape, -1), drawn, torch.ones_like(drawn))
    normals = torch.zeros(1, 3, dtype=torch.float64)
    if surface.planes:
        behind = surface_in_view(rasterizer, left, camera, pixels, surface)
        normals = torch.stack([plane.normal for plane in surface.planes])
    asked = pixels & behind.depth.isfinite()
    points = points_at(camera, torch.where(asked, behind.depth, 0.0))[asked]
    hiding, seeing = (torch.zeros(len(points)) for _ in range(2))
    for witness in witnesses:
        hides, sees = witness.hides_and_sees(points, normals[behind.plane[asked]], surface.tolerance)
        hiding += hides
        seeing += sees
    hidden = pixels & drawn.isinf()
    hidden[asked] = (hiding >= _LEAST_HIDING * len(witnesses)) & (seeing < LEAST_VIEWS * (hiding + seeing))
    return hidden


def _drawn_depth(rasterizer: Rasterizer, splats: Splats, camera: Camera) -> Tensor:  # [H, W] float64
    """Infinite where nothing is drawn."""
    drawn = rasterizer.render(splats, camera, sh_degree=0)
    return torch.where(drawn.alpha > 0, drawn.depth, torch.inf).cpu().double()


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


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
