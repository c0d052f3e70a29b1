"""Structural similarity of two pictures (Wang et al. 2004), differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

_RADIUS = 5
_SIGMA = 1.5
_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2
"""What keeps the two quotients finite in flat places, for pictures from 0 to 1."""


def ssim(
    first: Tensor,  # [H, W, C] in [0, 1]
    second: Tensor,  # [H, W, C]
) -> Tensor:  # scalar, 1 for the same pictures
    """The mean over pixels and channels, with means and variances of Gaussian windows; outside a picture are zeros."""
    x, y = first.permute(2, 0, 1), second.permute(2, 0, 1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _windowed(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    variances = mean_xx - mean_x * mean_x + mean_yy - mean_y * mean_y
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _LUMINANCE) / (mean_x * mean_x + mean_y * mean_y + _LUMINANCE)
    return (luminance * (2 * covariance + _CONTRAST) / (variances + _CONTRAST)).mean()


def _windowed(pictures: Tensor) -> Tensor:  # [C, H, W] both
    """The weighted mean around each pixel: the window is a product, so rows first and columns then."""
    count = len(pictures)
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=pictures.dtype, device=pictures.device)
    window = torch.exp(-0.5 * (offsets / _SIGMA).square())
    window = (window / window.sum()).expand(count, 1, -1)
    across = torch.nn.functional.conv2d(pictures[None], window[:, :, None], padding=(0, _RADIUS), groups=count)
    return torch.nn.functional.conv2d(across, window[..., None], padding=(_RADIUS, 0), groups=count)[0]
