"""Pictures of the surface behind an object, to be painted: of a plane seen face-on, and of some of the views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from splatseg_ns.edit.hole import ViewHole
from splatseg_ns.edit.pixels import grown, patches_of, pixels_of, points_at, projected_points, sampled
from splatseg_ns.edit.surface_behind import Plane, Surface, ViewSurface
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, PixelRect, Splats

_AROUND = 1.0
"""How much is seen around the hole on each side, as a share of its size: inpainters need to know what goes on there."""

_LEAST_AROUND = 24
"""Pixels."""

_SILHOUETTE = 3
"""Pixels next to an object in which its colour is mixed with that of what is behind."""

_MIXED = 2
"""The same next to other things."""

_WITNESSES = 3
"""A place of a plane is known if so many views see it, or all of the few that there are."""

_FACE_ON_DISTANCE = 4.0
"""From where a plane is looked at, as a share of the width of the picture there."""

_STRAY = 0.1
"""Patches of a plane's hole that have less than this share of the largest one are where views disagree."""

_AT_ONCE = 65536
"""Points that are looked up at a time."""

_LONGEST_SIDE = 1024
"""Of a picture of a plane, in pixels."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture to be painted."""

    name: str
    """Of the view, or what is seen."""

    camera: Camera
    depth: Tensor  # [H, W] float64 of the surface behind; infinite where there is none
    colors: Tensor  # [H, W, 3] float32 in [0, 1]
    unknown: Tensor  # [H, W] bool, what is to be painted over
    hole: Tensor  # [H, W] bool, the part of it that is missing in the scene
    around: Tensor  # [H, W] bool, the hole and what is painted next to it of the same surface


@dataclass(frozen=True, eq=False)
class SeenView:
    """A view with all that is known of its pixels."""

    hole: ViewHole
    surface: ViewSurface
    colors: Tensor  # [H, W, 3] float32, of the Gaussians that stay
    drawn: Tensor  # [H, W] float32, their depth; infinite where nothing is
    clear: Tensor  # [H, W] bool, away from where the object was

    @property
    def camera(self) -> Camera:
        return self.hole.camera

    def before(
        self,
        depth: Tensor,  # [H, W] of a surface
        slant: Tensor,  # [H, W], see ``ViewSurface``
        tolerance: float,
    ) -> Tensor:  # [H, W] bool
        """Where something stands before the surface, or so near to that that colours are mixed."""
        return grown((depth - self.drawn) * slant > tolerance, _MIXED)


@torch.no_grad()
def seen_view(rasterizer: Rasterizer, base: Splats, hole: ViewHole, surface: ViewSurface) -> SeenView:
    """The view as it is drawn from the Gaussians that stay."""
    drawn = rasterizer.render(base, hole.camera)
    depth = torch.where(drawn.alpha > 0, drawn.depth, torch.inf).cpu().float()
    colors = drawn.colors.clamp(0.0, 1.0).cpu().float()
    return SeenView(hole, surface, colors, depth, ~grown(hole.object, _SILHOUETTE))


def margin_of(
    hole: Tensor,  # [H, W] bool
    share: float,
) -> int:
    """In pixels, a share of the width of the hole."""
    return math.ceil(share * math.sqrt(int(hole.sum())))


def view_canvas(view: SeenView, surface: Surface, margin: float) -> Canvas:
    """A window of the view around its hole; what stands before the surface behind is to be painted over too."""
    hole, depth = view.hole.hole, view.surface.depth
    # A fitted plane is one near the hole; farther away it may have risen over the surface.
    beside = grown(hole, margin_of(hole, margin) + _LEAST_AROUND // 2)
    before = _reached(view.before(depth, view.surface.slant, surface.tolerance) & ~hole, beside)
    around = grown(hole, margin_of(hole, margin))
    rect = _window(hole)
    rows, columns = rect.slices
    return Canvas(
        view.hole.name,
        _cut(view.camera, rect),
        depth[rows, columns],
        view.colors[rows, columns],
        (around | before)[rows, columns],
        hole[rows, columns],
        (around & ~before)[rows, columns],
    )


def face_on_canvas(
    views: Sequence[SeenView],
    surface: Surface,
    number: int,  # of the plane
    margin: float,
) -> Canvas | None:
    """One of the planes seen face-on, without what stands on it; None if the hole does not reach it.

    Its colours are the medians of those in all views that see the place.
    """
    plane = surface.planes[number]
    camera = _face_on_camera(views, plane, number)
    if camera is None:
        return None
    depth = plane.depth(camera)
    points = points_at(camera, depth).reshape(-1, 3)
    shows = [
        view.clear & ~view.before(plane.depth(view.camera), plane.slant(view.camera), surface.tolerance)
        for view in views
    ]
    parts = [_looked_up(views, shows, part, number) for part in points.split(_AT_ONCE)]
    shape = (camera.height, camera.width)
    colors, seen, missing = (torch.cat([part[place] for part in parts]).view(*shape, -1) for place in range(3))
    seen, missing = seen[..., 0], missing[..., 0]
    hole = _without_strays((missing >= seen) & (missing >= min(2, len(views))))
    if not bool(hole.any()):
        return None
    around = grown(hole, margin_of(hole, margin))
    unknown = (seen < min(_WITNESSES, len(views))) | around
    return Canvas(f"plane {number + 1} face-on", camera, depth, colors, unknown, hole, around)


def _looked_up(
    views: Sequence[SeenView],
    shows: Sequence[Tensor],  # each [H, W] bool, where the view shows the plane
    points: Tensor,  # [P, 3] float64, of the plane
    number: int,
) -> tuple[Tensor, Tensor, Tensor]:  # [P, 3], [P] and [P]
    """The median colour of each point, how many views see it, and in how many it is in the hole."""
    colors = torch.full((len(views), len(points), 3), torch.nan)
    missing = torch.zeros(len(points), dtype=torch.int64)
    for place, view in enumerate(views):
        pixels, _, inside = projected_points(view.camera, points)
        rows, columns = pixels_of(view.camera, pixels)
        in_hole = inside & view.hole.hole[rows, columns] & (view.surface.plane[rows, columns] == number)
        missing += in_hole
        shown = inside & shows[place][rows, columns]
        colors[place, shown] = sampled(view.colors, pixels[shown])
    seen = colors[..., 0].isfinite().sum(dim=0)
    return colors.nanmedian(dim=0).values.nan_to_num(0.0), seen, missing


def _face_on_camera(views: Sequence[SeenView], plane: Plane, number: int) -> Camera | None:
    """Looks along the plane's normal at where the hole is, with pixels as fine as those of the nearest view."""
    largest = sorted((view for view in views if view.hole.pixels), key=lambda view: -view.hole.pixels)[:12]
    points, finest = [], math.inf
    for view in largest:
        shown = view.hole.hole & (view.surface.plane == number) & view.surface.depth.isfinite()
        if bool(shown.any()):
            depth = view.surface.depth
            points.append(points_at(view.camera, depth)[shown])
            finest = min(finest, float(depth[shown].median()) / float(view.camera.K[0, 0]))
    if not points:
        return None
    together = torch.cat(points)
    middle = together.median(dim=0).values
    across, down = _axes(plane.normal)
    flat = torch.stack([(together - middle) @ across, (together - middle) @ down], dim=1).numpy()
    low, high = (torch.from_numpy(np.quantile(flat, share, axis=0)) for share in (0.01, 0.99))
    extent = high - low
    half = 0.5 * extent + _AROUND * extent.max() + _LEAST_AROUND * finest
    step = max(finest, 2.0 * float(half.max()) / _LONGEST_SIDE)
    width, height = (max(1, round(2.0 * float(side) / step)) for side in half)
    centre = middle + across * (low + high)[0] / 2 + down * (low + high)[1] / 2
    centre = centre - plane.distance(centre) * plane.normal
    distance = _FACE_ON_DISTANCE * max(width, height) * step
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = torch.stack([across, down, -plane.normal])
    viewmat[:3, 3] = -viewmat[:3, :3] @ (centre + distance * plane.normal)
    focal = distance / step
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return Camera(viewmat.float(), K, width, height)


def _axes(normal: Tensor) -> tuple[Tensor, Tensor]:  # [3] float64 each
    """Two directions of the plane, so that across, down and the opposite of the normal are a camera's axes."""
    some = torch.eye(3, dtype=torch.float64)[int(normal.abs().argmin())]
    across = torch.nn.functional.normalize(torch.linalg.cross(normal, some), dim=0)
    return across, torch.linalg.cross(-normal, across)


def _window(hole: Tensor) -> PixelRect:  # [H, W] bool
    """What is seen of a picture around its hole."""
    rows, columns = (hole.any(dim=side).nonzero().flatten() for side in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
    more = int(_AROUND * max(width, height)) + _LEAST_AROUND
    right, bottom = min(left + width + more, hole.shape[1]), min(top + height + more, hole.shape[0])
    left, top = max(left - more, 0), max(top - more, 0)
    return PixelRect(left, top, right - left, bottom - top)


def _cut(camera: Camera, rect: PixelRect) -> Camera:
    """The camera of a window of the picture."""
    K = camera.K.clone()
    K[0, 2] -= rect.left
    K[1, 2] -= rect.top
    return replace(camera, K=K, width=rect.width, height=rect.height)


def _reached(mask: Tensor, start: Tensor) -> Tensor:  # [H, W] bool all
    """The patches of the mask that the start touches, each as a whole."""
    numbers, count = patches_of(mask)
    touched = torch.zeros(count, dtype=torch.bool)
    touched[numbers[start]] = True
    touched[0] = False
    return touched[numbers]


def _without_strays(hole: Tensor) -> Tensor:  # [H, W] bool
    """The patches that are large, rounded off."""
    opened = torch.from_numpy(ndimage.binary_opening(hole.numpy()))
    numbers, count = patches_of(opened)
    sizes = torch.bincount(numbers.flatten(), minlength=count)
    sizes[0] = 0
    return (sizes > _STRAY * sizes.max())[numbers] & opened
