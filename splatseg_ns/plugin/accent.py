"""How something is made to stand out in a picture without hiding what it looks like."""

from __future__ import annotations

import torch
from nerfstudio.models.splatfacto import RGB2SH
from torch import Tensor
from torch.nn import functional

from splatseg_ns.masks import Color
from splatseg_ns.scene import Camera

TINT = 0.45
"""How much of the accent's colour what stands out takes on."""

_OUTLINE_TINT = 0.9
_OUTLINE_WHITE = 0.6
"""How much white is in the colour of an outline, so that it is brighter than what it surrounds."""

_RIM_SHADE = 0.35
"""What is left of the picture just outside an outline, so that it shows on bright things too."""

_OUTLINE_WIDTH = 1 / 250
"""In parts of the longer side of a picture."""

_SAME_POSE = 1e-4
"""How far the entries of two poses may be apart."""


def tinted(
    sh: Tensor,  # [N, K, 3]
    weights: Tensor,  # [N] 0 to 1
    color: Color,
) -> Tensor:  # [N, K, 3]
    """Harmonics that give the same colours mixed with this one."""
    share = TINT * weights.to(sh)[:, None]
    mixed = sh * (1.0 - share[..., None])
    mixed[:, 0] += share * RGB2SH(_fractions(color, sh))
    return mixed


def overlaid(
    picture: Tensor,  # [H, W, 3]
    mask: Tensor,  # [h, w] bool
    color: Color,
) -> Tensor:  # [H, W, 3]
    """The picture with what the mask covers tinted and outlined, whatever size the mask has."""
    height, width = picture.shape[:2]
    covered = functional.interpolate(
        mask.to(picture)[None, None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]
    inside = covered >= 0.5
    reach = max(1, round(max(height, width) * _OUTLINE_WIDTH))
    line = inside & _grown(~inside, reach)
    rim = ~inside & _grown(inside, reach)
    hue = _fractions(color, picture)
    mixed = picture + (TINT * covered)[..., None] * (hue - picture)
    mixed = torch.where(rim[..., None], mixed * _RIM_SHADE, mixed)
    bright = hue + _OUTLINE_WHITE * (1.0 - hue)
    return torch.where(line[..., None], mixed + _OUTLINE_TINT * (bright - mixed), mixed)


def same_view(one: Camera, other: Camera) -> bool:
    """Whether two cameras take the same picture, whatever the size of it, but for a pixel that rounding cost."""
    poses = (camera.viewmat.double().cpu() for camera in (one, other))
    if not torch.allclose(*poses, rtol=_SAME_POSE, atol=_SAME_POSE):
        return False
    pixel = max(1.0 / float(camera.K[axis, axis]) for camera in (one, other) for axis in (0, 1))
    return all(abs(a - b) <= pixel for a, b in zip(_edges(one), _edges(other), strict=True))


def _edges(camera: Camera) -> list[float]:
    """Where a picture ends to the left, right, top and bottom, one unit before the camera."""
    edges = []
    for axis, size in ((0, camera.width), (1, camera.height)):
        focal, middle = float(camera.K[axis, axis]), float(camera.K[axis, 2])
        edges += [-middle / focal, (size - middle) / focal]
    return edges


def _fractions(color: Color, like: Tensor) -> Tensor:  # [3]
    return torch.tensor(color, dtype=like.dtype, device=like.device) / 255


def _grown(
    area: Tensor,  # [H, W] bool
    reach: int,
) -> Tensor:  # [H, W] bool
    """The area and all within so many pixels of it."""
    side = 2 * reach + 1
    return functional.max_pool2d(area.float()[None, None], side, stride=1, padding=reach)[0, 0] > 0
