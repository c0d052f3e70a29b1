"""From pixels to points of the scene, and from points to the pixels that show them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats

SOLID = 0.5
"""Less alpha than this is nothing that could be clicked at."""

_SAME_SURFACE = 0.02
"""Depths that differ by at most this share are of one surface."""

_REACH = 2
"""Pixels around a click in which its surface is looked for."""

_FEW, _NEARLY_ALL = 0.25, 0.8
"""Shares of these pixels: with fewer a depth is no surface, with more it is the only one."""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """What a camera sees first at each pixel."""

    camera: Camera
    depth: Tensor  # [H, W] expected z-depth
    alpha: Tensor  # [H, W]

    @staticmethod
    @torch.no_grad()
    def seen(rasterizer: Rasterizer, splats: Splats, camera: Camera) -> Surfaces:
        """Drawn from the splats."""
        render = rasterizer.render(splats, camera, sh_degree=0)
        return Surfaces(camera, render.depth.cpu(), render.alpha.cpu())

    def point(self, x: float, y: float) -> Tensor | None:  # [3]
        """Where in the scene the surface at a pixel is; None if there is nothing.

        At a silhouette the expected depth lies between the surfaces before and behind. A depth on which most of the
        neighbouring pixels do not agree is taken for the nearest one on which some do.
        """
        row, column = self._pixel(x, y)
        if float(self.alpha[row, column]) < SOLID:
            return None
        own, around = float(self.depth[row, column]), self._solid_depths_around(row, column)
        if _share_near(around, own) < _FEW:
            # Half before, half behind: no surface is there.
            surfaces = [depth for depth in around.sort().values.tolist() if _share_near(around, depth) >= _FEW]
            own = surfaces[0] if surfaces else own
        return at_depth(self.camera, x, y, own)

    def is_smooth(self, x: float, y: float) -> bool:
        """Whether one surface is seen all around a pixel: no silhouette, whose two sides are different things."""
        row, column = self._pixel(x, y)
        window = self.depth[self._around(row, column)]
        solid = self._solid_depths_around(row, column)
        return _share_near(solid, float(self.depth[row, column])) * len(solid) >= _NEARLY_ALL * window.numel()

    def pixel(
        self,
        point: Tensor,  # [3]
        occlusion: bool = True,
    ) -> tuple[float, float] | None:
        """Where the point is seen; None if it is outside the picture or, with ``occlusion``, behind something."""
        x, y, depth = projected(self.camera, point)
        if not in_picture(self.camera, point):
            return None
        row, column = self._pixel(x, y)
        hidden = float(self.depth[row, column]) < (1.0 - _SAME_SURFACE) * depth
        if occlusion and (hidden or float(self.alpha[row, column]) < SOLID):
            return None
        return x, y

    def _around(self, row: int, column: int) -> tuple[slice, slice]:
        return (
            slice(max(row - _REACH, 0), row + _REACH + 1),
            slice(max(column - _REACH, 0), column + _REACH + 1),
        )

    def _solid_depths_around(self, row: int, column: int) -> Tensor:  # [K]
        window = self._around(row, column)
        return self.depth[window][self.alpha[window] >= SOLID]

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        """Row and column; the far edges of the picture belong to its last pixels."""
        return min(int(y), self.camera.height - 1), min(int(x), self.camera.width - 1)


def _share_near(depths: Tensor, depth: float) -> float:
    """How many of the depths are of the surface at this depth."""
    near = (depths - depth).abs() <= _SAME_SURFACE * depth
    return float(near.sum()) / max(len(depths), 1)


def at_depth(camera: Camera, x: float, y: float, depth: float) -> Tensor:  # [3] float64
    """The point that is seen at a pixel at this depth."""
    K, viewmat = camera.K.cpu().double(), camera.viewmat.cpu().double()
    ray = torch.tensor([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], 1.0], dtype=torch.float64)
    return viewmat[:3, :3].T @ (ray * depth - viewmat[:3, 3])


def projected(
    camera: Camera,
    point: Tensor,  # [3]
) -> tuple[float, float, float]:
    """Pixel and depth of a point, wherever that is."""
    viewmat = camera.viewmat.cpu().double()
    seen = viewmat[:3, :3] @ point.double() + viewmat[:3, 3]
    x, y, depth = (camera.K.cpu().double() @ seen).tolist()
    return (x / depth, y / depth, depth) if depth != 0.0 else (float("inf"), float("inf"), depth)


def in_picture(
    camera: Camera,
    point: Tensor,  # [3]
) -> bool:
    """Whether a point is before the camera and inside its picture, hidden or not."""
    x, y, depth = projected(camera, point)
    return depth > 0.0 and 0 <= x < camera.width and 0 <= y < camera.height
