"""Checks what callers hand to an engine, once for all engines, and brings it into one form."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.scene import Camera, PixelRect, Splats

MAX_LABELS = 65_535
"""Columns that one call of ``votes`` can have."""

_LOOKUP_LIMIT = 1 << 22


@dataclass(frozen=True)
class PixelInputs:
    """Which pixels count, and how much; None stands for all of them, and for one."""

    mask: Tensor | None  # [H, W] bool
    weight: Tensor | None  # [H, W] float32

    def combined(self) -> Tensor | None:  # [H, W] float32
        """Mask and weight as one factor per pixel, 0 where the pixel counts for nothing."""
        if self.weight is None:
            return None if self.mask is None else self.mask.float()
        return self.weight if self.mask is None else self.weight * self.mask


@dataclass(frozen=True)
class Channels:
    """What is blended: given features, or colours of the splats' harmonics up to a degree."""

    features: Tensor | None  # [N, C]
    sh_degree: int
    count: int


@dataclass(frozen=True)
class Labels:
    """A label map translated to columns of the result."""

    columns: Tensor  # [H, W] int32 on the CPU, -1 where the label has no column
    ids: Tensor  # [L] int64 on the CPU


def as_crop(crop: PixelRect | None, camera: Camera) -> PixelRect:
    """The window that is asked for; all of the picture by default."""
    if crop is None:
        return camera.rect
    left, top, width, height = (int(number) for number in crop)
    inside = left >= 0 and top >= 0 and left + width <= camera.width and top + height <= camera.height
    if width < 1 or height < 1 or not inside:
        raise ValueError(
            f"crop (left {left}, top {top}, {width}x{height}) is not inside the {camera.width}x{camera.height} picture"
        )
    return PixelRect(left, top, width, height)


def as_features(features: Tensor | None, sh_degree: int | None, splats: Splats) -> Channels:
    """Either the given features or the colour harmonics, never both."""
    if features is None:
        stored = splats.sh_degree
        degree = stored if sh_degree is None else sh_degree
        if not 0 <= degree <= stored:
            raise ValueError(f"sh_degree must be 0 to {stored}, the degree of the splats, got {sh_degree}")
        return Channels(None, degree, 3)
    if sh_degree is not None:
        raise ValueError("sh_degree goes with the splats' own colours, not with features")
    if features.dim() != 2 or features.shape[0] != len(splats) or features.shape[1] < 1:
        raise ValueError(f"features must have shape [{len(splats)}, C], got {list(features.shape)}")
    if not features.is_floating_point():
        raise TypeError(f"features must hold floating-point numbers, got {features.dtype}")
    return Channels(features, 0, features.shape[1])


def as_labels(label_map: Tensor, ids: Sequence[int] | Tensor | None, camera: Camera) -> Labels:
    """Columns for the labels of the map; ids that are negative, repeated or too many are errors."""
    _check_picture_shape("label_map", label_map, camera)
    if label_map.is_floating_point() or label_map.is_complex():
        raise TypeError(f"label_map must hold integers, got {label_map.dtype}")
    # On the CPU and in numpy: torch's threads would go on spinning and hold up those of the engine.
    labels = label_map.detach().cpu().numpy()
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0:
        raise ValueError(f"label_map holds {lowest}; labels are 0 or more, use pixel_mask for pixels to be ignored")
    chosen = torch.from_numpy(_present(labels, highest)) if ids is None else _given(ids)
    if chosen.dim() != 1 or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise TypeError(f"ids must be a list of integers, got {chosen.dtype} of shape {list(chosen.shape)}")
    chosen = chosen.to(torch.int64)
    if len(chosen) > MAX_LABELS:
        raise ValueError(f"at most {MAX_LABELS} labels in one call, got {len(chosen)}")
    if len(chosen) and int(chosen.min()) < 0:
        raise ValueError(f"ids are 0 or more, got {int(chosen.min())}")
    order = np.argsort(chosen.numpy(), kind="stable")
    ordered = chosen.numpy()[order]
    if (np.diff(ordered) == 0).any():
        raise ValueError("ids must not repeat")
    return Labels(torch.from_numpy(_columns(labels, ordered, order, highest)), chosen)


def as_pixel_inputs(mask: Tensor | None, weight: Tensor | None, camera: Camera) -> PixelInputs:
    """An optional [H, W] bool mask and optional [H, W] weights, finite and not negative."""
    if mask is not None:
        _check_picture_shape("pixel_mask", mask, camera)
        if mask.dtype != torch.bool:
            raise TypeError(f"pixel_mask must be bool, got {mask.dtype}")
    if weight is not None:
        _check_picture_shape("pixel_weight", weight, camera)
        if not weight.is_floating_point():
            raise TypeError(f"pixel_weight must hold floating-point numbers, got {weight.dtype}")
        if not bool((weight.isfinite() & (weight >= 0)).all()):
            raise ValueError("pixel_weight must be finite and not negative")
        weight = weight.float()
    return PixelInputs(mask, weight)


def as_values(values: Tensor, camera: Camera) -> Tensor:  # [H, W, C] float
    """Pictures with any number of channels."""
    if values.dim() != 3 or tuple(values.shape[:2]) != (camera.height, camera.width) or values.shape[2] < 1:
        raise ValueError(f"values must have shape [{camera.height}, {camera.width}, C], got {list(values.shape)}")
    if not values.is_floating_point():
        raise TypeError(f"values must hold floating-point numbers, got {values.dtype}")
    return values


def drawable_rows(splats: Splats) -> Tensor:  # [N] bool
    """Which Gaussians have finite parameters and a rotation; the others cannot be drawn."""
    good = splats.raw_quats.norm(dim=-1) > 0
    for tensor in splats.tensors().values():
        good &= tensor.isfinite().flatten(1).all(dim=1) if tensor.dim() > 1 else tensor.isfinite()
    # Float32 kernels square the sizes.
    return good & splats.scales.float().square().isfinite().all(dim=-1)


def warn_undrawable(count: int, total: int) -> None:
    """Say, once per count, that some Gaussians were skipped."""
    if count:
        warnings.warn(
            f"{count} of {total} Gaussians have NaN, infinite or zero-rotation parameters and are not drawn",
            RuntimeWarning,
            stacklevel=4,
        )


def _check_picture_shape(name: str, tensor: Tensor, camera: Camera) -> None:
    if tuple(tensor.shape) != (camera.height, camera.width):
        raise ValueError(f"{name} must have shape [{camera.height}, {camera.width}], got {list(tensor.shape)}")


def _given(ids: Sequence[int] | Tensor) -> Tensor:  # [L]
    return torch.as_tensor(ids).cpu() if len(ids) else torch.empty(0, dtype=torch.int64)


def _present(
    labels: np.ndarray,  # [H, W]
    highest: int,
) -> np.ndarray:  # [L] int64
    if highest < _LOOKUP_LIMIT:
        return np.flatnonzero(np.bincount(labels.ravel()))
    return np.unique(labels).astype(np.int64)


def _columns(
    labels: np.ndarray,  # [H, W]
    ordered: np.ndarray,  # [L] ascending ids
    order: np.ndarray,  # [L] the column of each
    highest: int,
) -> np.ndarray:  # [H, W] int32
    if len(ordered) == 0:
        return np.full(labels.shape, -1, dtype=np.int32)
    if highest < _LOOKUP_LIMIT:
        table = np.full(highest + 1, -1, dtype=np.int32)
        inside = ordered <= highest
        table[ordered[inside]] = order[inside]
        return table[labels.astype(np.intp, copy=False)]
    place = np.minimum(np.searchsorted(ordered, labels), len(ordered) - 1)
    return np.where(ordered[place] == labels, order[place], -1).astype(np.int32)
