"""The surface that an object hid: planes through what is around the hole, or its depth carried on smoothly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from splatseg_ns.edit.pixels import grown, rays
from splatseg_ns.lift import render_share
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats

RIM = 16
"""Pixels around the hole that tell what goes on in it."""

_GAP = 2
"""Pixels next to the hole that still show some of what is in it."""

_TOLERANCE = 0.1
"""How far from a plane its Gaussians may lie, as a share of the object's size."""

_FITTED = 0.015
"""The same for those that a plane is fitted to: glossy surfaces are trained as layers, of which one is the surface."""

_PLANES = 3
_TRIALS = 1000

_PLANAR = 0.25
"""Of what the rim shows: if planes have less of it, the surface is none."""

_FURTHER_PLANE = 0.25
"""Of the rim's pixels: a further plane needs that many."""

_BEFORE = 0.9
"""Of the object's pixels: so many belong to views from one side of the surface, which is not seen from behind."""

_SLANTED = 0.85
"""The cosine of the angle from which on a second plane is not the same surface again."""

_REACH = 3.0
"""Object sizes around the object in which planes are looked for."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The points x with ``normal @ x + offset = 0``; the normal points to the cameras."""

    normal: Tensor  # [3] float64, unit
    offset: float

    def distance(
        self,
        points: Tensor,  # [..., 3]
    ) -> Tensor:  # [...]
        """How far before the plane."""
        return points.double() @ self.normal + self.offset

    def depth(self, camera: Camera) -> Tensor:  # [H, W] float64
        """The z-depth at which each pixel's ray meets it; infinite where that is behind the camera."""
        depth = -self.distance(camera.position.cpu()) / self._slope(camera)
        return torch.where((depth > 0) & depth.isfinite(), depth, torch.inf)

    def slant(self, camera: Camera) -> Tensor:  # [H, W] float64
        """How much nearer to the plane each pixel's ray comes with a unit of depth."""
        return self._slope(camera).abs()

    def _slope(self, camera: Camera) -> Tensor:  # [H, W] float64
        return rays(camera) @ (camera.viewmat[:3, :3].cpu().double() @ self.normal)


@dataclass(frozen=True, eq=False)
class Surface:
    """What lies behind the object."""

    planes: tuple[Plane, ...]
    """None if the surface is not planar."""

    size: float
    """Of the object."""

    def lies_in(
        self,
        means: Tensor,  # [N, 3]
    ) -> Tensor:  # [N] bool
        """Which Gaussians are of one of the planes, or under it."""
        if not self.planes:
            return torch.zeros(len(means), dtype=torch.bool)
        before = torch.stack([plane.distance(means.cpu()) for plane in self.planes]).min(dim=0).values
        return before < 0.5 * _TOLERANCE * self.size

    @property
    def tolerance(self) -> float:
        """Points that are nearer to each other than that are of one surface."""
        return _TOLERANCE * self.size


@dataclass(frozen=True, eq=False)
class ViewSurface:
    """The surface behind, as one view would see it."""

    plane: Tensor  # [H, W] int64, which of the planes each pixel shows; -1 where it is none
    depth: Tensor  # [H, W] float64
    slant: Tensor  # [H, W] float64, how much nearer to the surface a unit of depth is


@torch.no_grad()
def surface_behind(
    rasterizer: Rasterizer,
    splats: Splats,
    removed: Tensor,  # [N] bool
    cameras: Mapping[str, Camera],
    masks: Mapping[str, Tensor],  # each [H, W] bool, where the object was
    seed: int = 0,
) -> Surface:
    """The planes through the Gaussians that show next to the object, weighted by how much shows of them."""
    removed = removed.cpu()
    centre, size = _place_of(splats.means[removed.to(splats.device)].cpu().double())
    base = splats.subset((~removed).to(splats.device))
    means = base.means.cpu().double()
    shown = {name: mask for name, mask in masks.items() if bool(mask.any())}
    mass = torch.zeros(len(base), dtype=torch.float64)
    for name, mask in shown.items():
        votes = rasterizer.votes(base, cameras[name], rim_of(mask).long(), [1])
        mass += votes.dense()[:, 0].cpu().double()
    mass *= (means - centre).norm(dim=1) < _REACH * size
    total, left = float(mass.sum()), mass.clone()
    random = torch.Generator().manual_seed(seed)
    planes: list[Plane] = []
    members: list[Tensor] = []
    for _ in range(_PLANES):
        plane = _fitted_plane(means, left, _FITTED * size, random)
        if plane is None:
            break
        near = plane.distance(means).abs() < _TOLERANCE * size
        left = torch.where(near, 0.0, left)
        plane = _towards_cameras(plane, cameras, shown)
        if plane is not None and all(abs(float(plane.normal @ other.normal)) < _SLANTED for other in planes):
            planes.append(plane)
            members.append(near)
    if total == 0.0 or float(mass[torch.stack(members).any(dim=0)].sum() if members else 0.0) < _PLANAR * total:
        return Surface((), size)
    won = torch.zeros(len(planes))
    for name, mask in shown.items():
        labels = _plane_at_rim(rasterizer, base, cameras[name], mask, members)
        won += torch.bincount(labels[labels >= 0], minlength=len(planes))
    chosen = [plane for plane, count in zip(planes, won, strict=True) if count >= _FURTHER_PLANE * won.sum()]
    return Surface(tuple(chosen), size)


@torch.no_grad()
def surface_in_view(
    rasterizer: Rasterizer,
    base: Splats,
    camera: Camera,
    hole: Tensor,  # [H, W] bool
    surface: Surface,
) -> ViewSurface:
    """Each pixel shows the plane that the hole's rim shows next to it; ``base`` are the Gaussians that stay."""
    if not surface.planes:
        depth = _carried_on(rasterizer, base, camera, hole)
        return ViewSurface(torch.full(depth.shape, -1), depth, torch.ones_like(depth))
    slants = torch.stack([plane.slant(camera) for plane in surface.planes])
    depths = torch.stack([plane.depth(camera) for plane in surface.planes])
    if len(surface.planes) == 1:
        return ViewSurface(torch.zeros(depths.shape[1:], dtype=torch.int64), depths[0], slants[0])
    means = base.means.cpu()
    members = [plane.distance(means).abs() < _TOLERANCE * surface.size for plane in surface.planes]
    labels = _plane_at_rim(rasterizer, base, camera, hole, members)
    if not bool((labels >= 0).any()):
        labels = torch.zeros_like(labels)
    nearest = _nearest(labels >= 0)
    labels = labels[nearest[0], nearest[1]]
    return ViewSurface(labels, *(part.gather(0, labels[None])[0] for part in (depths, slants)))


def rim_of(mask: Tensor) -> Tensor:  # [H, W] bool both
    """The pixels around a hole that show what goes on in it."""
    return grown(mask, RIM) & ~grown(mask, _GAP)


def _towards_cameras(plane: Plane, cameras: Mapping[str, Camera], masks: Mapping[str, Tensor]) -> Plane | None:
    """The plane with its normal towards the cameras; None if these are on both sides, as they are of nothing behind."""
    places = torch.stack([cameras[name].position.cpu() for name in masks])
    pixels = torch.tensor([int(mask.sum()) for mask in masks.values()], dtype=torch.float64)
    front = float(pixels[plane.distance(places) > 0].sum() / pixels.sum())
    if max(front, 1.0 - front) < _BEFORE:
        return None
    return plane if front >= 0.5 else Plane(-plane.normal, -plane.offset)


def _place_of(
    means: Tensor,  # [M, 3] float64
) -> tuple[Tensor, float]:
    """The middle of the object, and how far most of it reaches from there."""
    centre = means.median(dim=0).values
    return centre, float((means - centre).norm(dim=1).quantile(0.9))


def _fitted_plane(
    points: Tensor,  # [M, 3] float64
    mass: Tensor,  # [M] float64
    tolerance: float,
    random: torch.Generator,
) -> Plane | None:
    """The plane near which most of the mass is: of many through three points the best, then fitted robustly."""
    chosen = mass > 0
    points, mass = points[chosen], mass[chosen]
    if len(points) < 3 or tolerance <= 0.0:
        return None
    corners = points[torch.multinomial(mass, 3 * _TRIALS, replacement=True, generator=random)].view(-1, 3, 3)
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sound = normals.norm(dim=1) > 1e-3 * tolerance**2
    normals = torch.nn.functional.normalize(normals[sound], dim=1)
    offsets = -(normals * corners[sound, 0]).sum(dim=1)
    if not len(normals):
        return None
    support = [
        float(mass[(points @ normal + offset).abs() < tolerance].sum())
        for normal, offset in zip(normals, offsets, strict=True)
    ]
    best = max(range(len(support)), key=support.__getitem__)
    normal, offset = normals[best], offsets[best]
    for _ in range(20):
        weight = mass / (1.0 + ((points @ normal + offset) / (0.5 * tolerance)).square()).square()
        middle = (weight[:, None] * points).sum(dim=0) / weight.sum()
        spread = ((points - middle) * weight[:, None]).T @ (points - middle)
        normal = torch.linalg.eigh(spread).eigenvectors[:, 0]
        offset = -(normal @ middle)
    return Plane(normal, float(offset))


def _plane_at_rim(
    rasterizer: Rasterizer,
    base: Splats,
    camera: Camera,
    mask: Tensor,  # [H, W] bool
    members: Sequence[Tensor],  # each [N] bool
) -> Tensor:  # [H, W] int64
    """Which plane the pixels around the mask show most of; -1 elsewhere, and where none has a quarter."""
    shown = torch.stack([render_share(rasterizer, base, camera, rows).cpu() for rows in members])
    most, labels = shown.max(dim=0)
    return torch.where(rim_of(mask) & (most >= _PLANAR), labels, -1)


def _carried_on(
    rasterizer: Rasterizer,
    base: Splats,
    camera: Camera,
    hole: Tensor,  # [H, W] bool
) -> Tensor:  # [H, W] float64
    """The depth that is drawn, and in the hole the mean of that of the rim, the more of a pixel the nearer it is.

    It is the inverse of depth that is averaged, because that of a plane is linear over the picture.
    """
    drawn = rasterizer.render(base, camera, sh_degree=0)
    depth = drawn.depth.cpu().double()
    rim = rim_of(hole) & (drawn.alpha.cpu() > 0.5) & (depth > 0)
    if not bool(rim.any()):
        return depth
    inverse = smoothed_over(torch.where(rim, 1.0 / depth.clamp_min(1e-9), 0.0)[..., None], rim)[..., 0]
    return torch.where(grown(hole, _GAP), 1.0 / inverse, depth)


def smoothed_over(
    values: Tensor,  # [H, W, C] float64
    known: Tensor,  # [H, W] bool, somewhere true
) -> Tensor:  # [H, W, C] float64
    """Known values as they are; elsewhere their weighted mean, by the inverse square of the distance or so.

    Means are taken over windows that double in size; the first window that holds anything known decides.
    """
    weight = known.double()[..., None]
    layers = [(values * weight, weight)]
    while min(layers[-1][0].shape[:2]) > 1:
        layers.append((_halved(layers[-1][0]), _halved(layers[-1][1])))
    result = layers[-1][0] / layers[-1][1].clamp_min(1e-12)
    for total, weight in reversed(layers[:-1]):
        height, width = total.shape[:2]
        coarse = torch.nn.functional.interpolate(
            result.permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=False
        )[0].permute(1, 2, 0)
        share = weight.clamp_max(1.0)
        result = share * total / weight.clamp_min(1e-12) + (1.0 - share) * coarse
    return result


def _halved(picture: Tensor) -> Tensor:  # [H, W, C] -> [ceil(H / 2), ceil(W / 2), C]
    """Sums of four pixels; weights above one are as good as one."""
    pooled = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1)[None], 2, ceil_mode=True, count_include_pad=False)
    return 4.0 * pooled[0].permute(1, 2, 0)


def _nearest(known: Tensor) -> Tensor:  # [H, W] bool -> [2, H, W] row and column of the nearest known pixel
    places = ndimage.distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return torch.from_numpy(places).long()
