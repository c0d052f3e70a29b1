"""A picture of the scene, and where it was taken from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.scene.camera import Camera
from splatseg_ns.scene.undistort import Lens, Undistortion, undistortion

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, eq=False)
class View:
    """A named camera with its picture and, if there is one, its label map; both are read when asked for.

    Camera, picture, label map and mask all belong to the undistorted picture. The files hold distorted ones.
    """

    name: str
    """Unique in its capture: the picture's path below the folder of all pictures, without its suffix."""

    split: Split
    """What the picture was for when the splat was trained."""

    viewmat: Tensor  # [4, 4] world to camera, OpenCV axes
    lens: Lens
    width: int
    """Of the picture on disk."""

    height: int
    image_path: Path
    mask_path: Path | None = None
    """A picture that is zero where the picture is not to be used."""

    label_source: Callable[[], Tensor] | None = None
    """Gives the ids [H, W] of the picture on disk."""

    @cached_property
    def camera(self) -> Camera:
        """The pinhole camera of the undistorted picture."""
        straight = self._undistortion
        return Camera(self.viewmat, straight.K, straight.rect.width, straight.rect.height)

    def image(self) -> Tensor:  # [h, w, 3] uint8
        """The undistorted picture."""
        picture = read_picture(self.image_path)
        self._check_size(picture, f"{self.image_path}: the picture")
        return self._undistortion.picture(picture)

    def label_map(self) -> Tensor | None:  # [h, w] integer
        """The ids of the undistorted picture, if there are any."""
        if self.label_source is None:
            return None
        ids = self.label_source()
        if ids.dim() != 2 or ids.is_floating_point() or ids.is_complex():
            raise ValueError(
                f"view {self.name}: a label map is an [H, W] tensor of integers, got {ids.dtype} {list(ids.shape)}"
            )
        self._check_size(ids, f"view {self.name}: the label map")
        return self._undistortion.label_map(ids)

    def valid_mask(self) -> Tensor | None:  # [h, w] bool
        """Where the undistorted picture may be used, if the capture restricts it."""
        if self.mask_path is None:
            return None
        with Image.open(self.mask_path) as picture:
            mask = np.array(picture)
        if mask.ndim != 2:
            raise ValueError(f"{self.mask_path}: a mask has one channel, got {list(mask.shape)}; save it as grey")
        valid = torch.from_numpy(mask != 0)
        self._check_size(valid, f"{self.mask_path}: the mask")
        return self._undistortion.mask(valid)

    @property
    def _undistortion(self) -> Undistortion:
        try:
            return undistortion(self.lens, self.width, self.height)
        except ValueError as error:
            raise ValueError(f"{self.image_path}: {error}") from error

    def _check_size(self, picture: Tensor, what: str) -> None:
        height, width = picture.shape[:2]
        if (width, height) != (self.width, self.height):
            raise ValueError(
                f"{what} is {width}x{height}, its camera {self.width}x{self.height}; "
                "give it the size that the capture states"
            )


def view_names(
    pictures: Sequence[PurePath],  # relative to the folder of all pictures
) -> list[str]:
    """Names for the views of these pictures: their paths, with suffixes only if two would be the same without."""
    names = [path.with_suffix("").as_posix() for path in pictures]
    return names if len(set(names)) == len(names) else [path.as_posix() for path in pictures]


def read_picture(path: Path) -> Tensor:  # [H, W, 3] uint8
    """A picture as it is on disk, in colours of 8 bits."""
    with Image.open(path) as picture:
        if picture.mode.startswith(("I", "F")):
            raise ValueError(f"{path}: a picture of mode {picture.mode}; convert it to 8 bits per channel")
        return torch.from_numpy(np.array(picture.convert("RGB")))
