"""A pinhole camera in OpenCV axes, and rectangles of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class PixelRect(NamedTuple):
    """A window of a picture: the pixels [left, left + width) x [top, top + height)."""

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index a picture [H, W, ...] with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True, eq=False)
class Camera:
    """Where a picture was taken from; x right, y down, z forward; pixel (i, j) has its centre at (i + 0.5, j + 0.5)."""

    viewmat: Tensor  # [4, 4] world to camera
    K: Tensor  # [3, 3] intrinsics in pixels
    width: int
    height: int

    def __post_init__(self) -> None:
        for name, size in (("viewmat", 4), ("K", 3)):
            tensor = getattr(self, name)
            if tuple(tensor.shape) != (size, size):
                raise ValueError(f"Camera.{name} must have shape [{size}, {size}], got {list(tensor.shape)}")
            if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"Camera.{name} must hold finite floating-point numbers, got {tensor.tolist()}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a camera needs at least one pixel, got {self.width}x{self.height}")
        if float(self.K[0, 0]) <= 0.0 or float(self.K[1, 1]) <= 0.0:
            raise ValueError(f"focal lengths must be positive, got {float(self.K[0, 0])}, {float(self.K[1, 1])}")

    @property
    def position(self) -> Tensor:  # [3]
        """The centre of projection in the world."""
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]

    @property
    def rect(self) -> PixelRect:
        """The whole picture."""
        return PixelRect(0, 0, self.width, self.height)

    def to(self, target: torch.device | torch.dtype | str) -> Camera:
        """The same camera on another device or in another floating-point type."""
        return replace(self, viewmat=self.viewmat.to(target), K=self.K.to(target))

    def at_most(self, longest_side: int) -> Camera:
        """The same view in a picture whose longer side is not longer than that; a small one stays as it is."""
        shrink = longest_side / max(self.width, self.height)
        if shrink >= 1.0:
            return self
        return self.resized(*(max(1, round(side * shrink)) for side in (self.width, self.height)))

    def resized(self, width: int, height: int) -> Camera:
        """The same view in a picture of another size."""
        stretch = torch.tensor([[width / self.width], [height / self.height], [1.0]]).to(self.K)
        return replace(self, K=self.K * stretch, width=width, height=height)
