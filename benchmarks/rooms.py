"""Synthetic rooms: splats on walls and furniture, with the sizes, shapes and opacities that training gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatseg_ns.scene import DEFAULT_PROFILE, Camera, RenderProfile, Splats
from splatseg_ns.scene.spherical_harmonics import SH_COUNTS, sh_basis

ROOM = np.array([6.0, 5.0, 2.8])
"""Width, depth and height in metres."""

_FURNITURE = 60
_FLOATERS = 0.07
_OFF_SURFACE = 0.006

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Surface:
    """Something that Gaussians lie on: a box, of which one side may be 0 (a wall), or an ellipsoid."""

    kind: str
    center: _Array  # [3]
    size: _Array  # [3]
    area: float
    """How many Gaussians it gets, relative to the others."""

    def sample(self, count: int, random: np.random.Generator) -> tuple[_Array, _Array]:  # [M, 3], [M, 3]
        """Points on the surface and their normals."""
        if self.kind == "ellipsoid":
            directions = _unit(random.normal(size=(count, 3)))
            return self.center + directions * self.size / 2, _unit(directions / self.size)
        flat = np.flatnonzero(self.size == 0.0)
        axis = np.full(count, flat[0]) if len(flat) else random.integers(0, 3, count)
        normals = np.eye(3)[axis]
        sides = random.integers(0, 2, (count, 1)) - 0.5
        points = np.where(normals > 0, sides, random.uniform(-0.5, 0.5, (count, 3)))
        return self.center + points * self.size, normals


def make_room(count: int, *, seed: int = 0, sh_degree: int = 3, profile: RenderProfile = DEFAULT_PROFILE) -> Splats:
    """A furnished room of ``count`` Gaussians in no order, some of them floating in the air."""
    random = np.random.default_rng(seed)
    surfaces = [*_walls(), *_furniture(random)]
    areas = np.array([surface.area for surface in surfaces])
    floating = int(count * _FLOATERS)
    shares = random.multinomial(count - floating, areas / areas.sum())
    samples = [surface.sample(share, random) for surface, share in zip(surfaces, shares, strict=True)]
    points = np.concatenate([points for points, _ in samples] + [random.uniform(size=(floating, 3)) * ROOM])
    normals = np.concatenate([normals for _, normals in samples] + [_unit(random.normal(size=(floating, 3)))])
    on_surface = np.arange(count) < count - floating
    points += normals * random.normal(0.0, _OFF_SURFACE, (count, 1)) * on_surface[:, None]

    palette = random.uniform(size=(len(surfaces), 3))
    colors = palette[np.repeat(np.arange(len(surfaces)), shares)]
    colors = np.concatenate([colors, random.uniform(size=(floating, 3))]) * 0.7 + random.uniform(0, 0.3, (count, 3))
    opacities = _opacities(count, random) * np.where(on_surface, 1.0, 0.4)
    scales = _scales(np.sqrt(areas.sum() / max(count, 1)), count, random)
    order = random.permutation(count)

    def tensor(array: _Array) -> Tensor:
        return torch.from_numpy(array[order].astype(np.float32))

    return Splats(
        means=tensor(points),
        raw_quats=tensor(_quaternions(normals, random)),
        log_scales=tensor(np.log(scales)),
        logit_opacities=tensor(np.log(opacities / (1.0 - opacities))),
        sh=tensor(_harmonics(colors, sh_degree, random)),
        profile=profile,
    )


def room_cameras(count: int, width: int, height: int, *, seed: int = 1) -> list[Camera]:
    """Cameras at eye level somewhere in the room, looking across it."""
    random = np.random.default_rng(seed)
    K = torch.tensor([[0.78 * width, 0.0, width / 2], [0.0, 0.78 * width, height / 2], [0.0, 0.0, 1.0]])
    cameras = []
    while len(cameras) < count:
        eye, target = random.uniform([0.6, 0.6, 1.0], [5.4, 4.4, 2.0]), random.uniform([0.5, 0.5, 0.2], [5.5, 4.5, 1.8])
        if np.linalg.norm(target - eye) < 1.2:
            continue
        forward = _unit(target - eye)
        right = _unit(np.cross(forward, [0.0, 0.0, 1.0]))
        viewmat = np.eye(4)
        viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
        viewmat[:3, 3] = -viewmat[:3, :3] @ eye
        cameras.append(Camera(torch.from_numpy(viewmat).float(), K, width, height))
    return cameras


def patchwork_labels(camera: Camera, count: int, *, seed: int = 2) -> Tensor:  # [H, W] int64
    """A label map of ``count`` labels in coherent patches, like the masks of objects."""
    patches = max(count, 24)
    random = torch.Generator().manual_seed(seed)
    sites = torch.rand(patches, 2, generator=random) * torch.tensor([camera.height, camera.width])
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    nearest = torch.full((camera.height, camera.width), torch.inf)
    labels = torch.zeros(camera.height, camera.width, dtype=torch.int64)
    for patch, (top, left) in enumerate(sites.tolist()):
        distance = (y - top).square() + (x - left).square()
        labels[distance < nearest] = patch % count
        nearest = nearest.minimum(distance)
    return labels


def _walls() -> list[_Surface]:
    """The six sides of the room, as boxes without thickness."""
    walls = []
    for axis in range(3):
        size = ROOM.copy()
        size[axis] = 0.0
        for side in (0.0, 1.0):
            center = ROOM / 2
            center[axis] = ROOM[axis] * side
            walls.append(_Surface("box", center, size, float(np.delete(ROOM, axis).prod())))
    return walls


def _furniture(random: np.random.Generator) -> list[_Surface]:
    """Boxes and ellipsoids, twice as densely covered as the walls."""
    pieces = []
    for _ in range(_FURNITURE):
        center = random.uniform([0.5, 0.5, 0.1], [5.5, 4.5, 1.6])
        size = np.exp(random.normal(-1.3, 0.5, 3)).clip(0.05, 0.9)
        kind = "box" if random.random() < 0.6 else "ellipsoid"
        area = 2.0 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
        pieces.append(_Surface(kind, center, size, 2.0 * area))
    return pieces


def _scales(spacing: float, count: int, random: np.random.Generator) -> _Array:  # [N, 3]
    """Flat along the third axis, longest along the first; ``spacing`` is the mean distance of neighbours."""
    longest = spacing * np.exp(random.normal(np.log(0.62), 0.65, count))
    second = longest * np.exp(-np.abs(random.normal(0.0, 0.8, count)))
    thickness = longest * np.exp(random.normal(np.log(0.12), 0.6, count)).clip(0.01, 1.0)
    return np.stack([longest, second, thickness], axis=1).clip(3e-4, 0.6)


def _opacities(count: int, random: np.random.Generator) -> _Array:  # [N]
    """Nearly half of the Gaussians are opaque, most of the others thin."""
    opaque, thin = random.beta(6.0, 1.0, count), random.beta(0.9, 4.0, count)
    return np.where(random.random(count) < 0.45, opaque, thin).clip(0.006, 0.9995)


def _harmonics(colors: _Array, degree: int, random: np.random.Generator) -> _Array:  # [N, K, 3]
    """Coefficients of the given colours, with a little change by direction."""
    harmonics = random.normal(0.0, 0.02, (len(colors), SH_COUNTS[degree], 3))
    harmonics[:, 0] = (colors - 0.5) / float(sh_basis(torch.tensor([0.0, 0.0, 1.0]), 0))
    return harmonics


def _quaternions(normals: _Array, random: np.random.Generator) -> _Array:  # [N, 4] wxyz
    """Rotations that take the third axis to the normal, turned about it at random."""
    x, y, z = normals.T
    # The shortest turn from the third axis to n is (1 + n_z, -n_y, n_x, 0); where n points straight down, any will do.
    tilt = np.stack([1.0 + z, -y, x, np.zeros_like(z)], axis=1)
    tilt[z < -1.0 + 1e-9] = [0.0, 1.0, 0.0, 0.0]
    w, i, j, _ = _unit(tilt).T
    half = random.uniform(0.0, np.pi, len(normals))
    c, s = np.cos(half), np.sin(half)
    return np.stack([w * c, i * c + j * s, j * c - i * s, w * s], axis=1)


def _unit(vectors: _Array) -> _Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
