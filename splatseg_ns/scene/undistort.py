"""Lenses, and pictures as a pinhole camera would have taken them.

A splat trained by Nerfstudio saw pictures straightened by its FullImageDatamanager; what is computed here has the
same intrinsics and the same crop, so that camera and splat fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.scene.camera import PixelRect

LENS_PARAMETERS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
"""The camera models that can be read, by COLMAP's names, with the order of their parameters there."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a picture on disk, in pixels; pixel (i, j) has its centre at (i + 0.5, j + 0.5)."""

    fx: float
    fy: float
    cx: float
    cy: float
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    kind: Literal["perspective", "fisheye"] = "perspective"
    """perspective: k1, k2, k3 radial and p1, p2 tangential; fisheye: k1 to k4 of the angle."""

    def __post_init__(self) -> None:
        if not (0.0 < self.fx < math.inf and 0.0 < self.fy < math.inf):
            raise ValueError(f"focal lengths must be positive, got {self.fx}, {self.fy}")
        if self.kind == "perspective" and self.k4 != 0.0:
            raise ValueError(f"k4 = {self.k4} has no meaning for a perspective lens; set it to 0")
        if self.kind == "fisheye" and (self.p1 != 0.0 or self.p2 != 0.0):
            raise ValueError(f"p1 = {self.p1}, p2 = {self.p2} have no meaning for a fisheye lens; set them to 0")

    @property
    def distorts(self) -> bool:
        return any((self.k1, self.k2, self.k3, self.k4, self.p1, self.p2))


@dataclass(frozen=True, eq=False)
class Undistortion:
    """How the pictures of a lens become pinhole pictures."""

    lens: Lens
    width: int
    """Of the picture on disk."""

    height: int
    straight_K: np.ndarray  # [3, 3]
    """Intrinsics of the straight picture before its crop, pixel centres at whole numbers as OpenCV has them."""

    rect: PixelRect
    """The part of the straight picture that is kept: all of it has a source in the picture on disk."""

    @property
    def K(self) -> Tensor:  # [3, 3] float32
        """Intrinsics of the straight picture after its crop, pixel centres at +0.5."""
        K = self.straight_K + _HALF_PIXEL
        K[0, 2] -= self.rect.left
        K[1, 2] -= self.rect.top
        return torch.from_numpy(K).float()

    def picture(
        self,
        picture: Tensor,  # [H, W, C] uint8
    ) -> Tensor:  # [h, w, C] uint8
        """The straight picture, interpolated linearly."""
        if not self.lens.distorts:
            return picture
        import cv2

        if self.lens.kind == "fisheye":
            columns, rows = self._source_positions()
            straight = cv2.remap(picture.numpy(), columns, rows, interpolation=cv2.INTER_LINEAR)
        else:
            straight = cv2.undistort(
                picture.numpy(), _distorted_K(self.lens), _coefficients(self.lens), None, self.straight_K
            )
        straight = np.ascontiguousarray(straight[self.rect.slices])
        return torch.from_numpy(straight).reshape(self.rect.height, self.rect.width, -1)

    def label_map(
        self,
        ids: Tensor,  # [H, W] integer
    ) -> Tensor:  # [h, w] of the same type
        """The straight label map: each pixel takes the id of the nearest source pixel, 0 outside."""
        if not self.lens.distorts:
            return ids
        columns, rows = (torch.from_numpy(np.rint(part)).long() for part in self._source_positions())
        inside = (columns >= 0) & (columns < self.width) & (rows >= 0) & (rows < self.height)
        nearest = ids[rows.clamp(0, self.height - 1), columns.clamp(0, self.width - 1)]
        return torch.where(inside, nearest, torch.zeros_like(nearest))[self.rect.slices].contiguous()

    def mask(
        self,
        mask: Tensor,  # [H, W] bool
    ) -> Tensor:  # [h, w] bool
        """The straight mask: a pixel counts if any of its source pixels does, as in Nerfstudio."""
        return self.picture(mask[..., None].to(torch.uint8) * 255)[..., 0] > 0

    def _source_positions(self) -> tuple[np.ndarray, np.ndarray]:  # two of [H, W] float32
        """Column and row in the picture on disk for each pixel of the straight picture before its crop."""
        import cv2

        make_map = cv2.fisheye.initUndistortRectifyMap if self.lens.kind == "fisheye" else cv2.initUndistortRectifyMap
        size = (self.width, self.height)
        columns, rows = make_map(
            _distorted_K(self.lens), _coefficients(self.lens), np.eye(3), self.straight_K, size, cv2.CV_32FC1
        )
        return columns, rows


@lru_cache(maxsize=1024)
def undistortion(lens: Lens, width: int, height: int) -> Undistortion:
    """The pinhole camera for pictures of this lens and size: the largest crop without empty pixels."""
    rect = PixelRect(0, 0, width, height)
    distorted_K, coefficients = _distorted_K(lens), _coefficients(lens)
    if not lens.distorts:
        return Undistortion(lens, width, height, distorted_K.astype(np.float64), rect)
    import cv2

    if lens.kind == "fisheye":
        straight_K = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
            distorted_K, coefficients, (width, height), np.eye(3), balance=0.0
        )
    else:
        straight_K, kept = cv2.getOptimalNewCameraMatrix(distorted_K, coefficients, (width, height), 0.0)
        rect = PixelRect(*kept)
    if rect.width < 1 or rect.height < 1 or not np.isfinite(straight_K).all():
        raise ValueError(f"the distortion leaves nothing of a {width}x{height} picture; check its coefficients: {lens}")
    return Undistortion(lens, width, height, straight_K.astype(np.float64), rect)


# OpenCV has the centre of the first pixel at (0, 0).
_HALF_PIXEL = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


def _distorted_K(lens: Lens) -> np.ndarray:  # [3, 3] float32
    """Intrinsics of the picture on disk in OpenCV's convention; in float32, because in Nerfstudio they are."""
    K = np.array([[lens.fx, 0.0, lens.cx], [0.0, lens.fy, lens.cy], [0.0, 0.0, 1.0]], np.float32)
    return K - _HALF_PIXEL.astype(np.float32)


def _coefficients(lens: Lens) -> np.ndarray:
    """The distortion in the order OpenCV wants it."""
    if lens.kind == "fisheye":
        wanted = [lens.k1, lens.k2, lens.k3, lens.k4]
    else:
        wanted = [lens.k1, lens.k2, lens.p1, lens.p2, lens.k3]
    return np.array(wanted, np.float32).astype(np.float64)
