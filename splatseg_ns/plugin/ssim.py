"""Structural similarity, fast enough to be a loss on a CPU.

The same numbers as ``pytorch_msssim.SSIM``, which takes longer there than drawing the picture and differentiating it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from pytorch_msssim import SSIM
from torch import Tensor

_WINDOW = 11
_SIGMA = 1.5
_MARGIN = _WINDOW // 2
_C1, _C2 = 0.01**2, 0.03**2


class StructuralSimilarity(torch.nn.Module):
    """The mean similarity of two pictures with values from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self._anywhere = SSIM(data_range=1.0, size_average=True, channel=3, win_size=_WINDOW, win_sigma=_SIGMA)

    def forward(
        self,
        truth: Tensor,  # [B, 3, H, W]
        picture: Tensor,  # [B, 3, H, W]
    ) -> Tensor:  # []
        """1 for equal pictures. On the CPU one pair of them is differentiated by the second alone."""
        simple = truth.shape[0] == 1 and min(truth.shape[2:]) >= _WINDOW and not truth.requires_grad
        if simple and truth.device.type == "cpu" and truth.dtype == picture.dtype == torch.float32:
            similarity = _CpuSimilarity.apply(truth[0].permute(1, 2, 0), picture[0].permute(1, 2, 0))
            assert isinstance(similarity, Tensor)
            return similarity
        return self._anywhere(truth, picture)


class _CpuSimilarity(torch.autograd.Function):
    """With x the truth, y the picture, E the mean in a Gaussian window, and of the window's moments

        a1 = 2 E[x] E[y] + c1      a2 = 2 (E[xy] - E[x] E[y]) + c2
        b1 = E[x]^2 + E[y]^2 + c1  b2 = E[xx] - E[x]^2 + E[yy] - E[y]^2 + c2

    the similarity of a window is a1 a2 / (b1 b2). Its gradient follows from those by E[y], E[yy] and E[xy], because
    the window, being symmetric, takes gradients back the way it takes pictures forth.
    """

    @staticmethod
    def forward(
        ctx: Any,
        truth: Tensor,  # [H, W, 3]
        picture: Tensor,  # [H, W, 3]
    ) -> Tensor:  # []
        x, y = truth.contiguous(), picture.detach().contiguous()
        mean_x, mean_y = _windowed(x), _windowed(y)
        mean_xy = _windowed(x * y)
        # Both squares appear in their sum alone.
        squares = _windowed(x.square().addcmul_(y, y))
        products, powers = mean_x * mean_y, mean_x.square().addcmul_(mean_y, mean_y)
        a1, a2 = (2.0 * products).add_(_C1), (mean_xy - products).mul_(2.0).add_(_C2)
        b1, b2 = powers + _C1, (squares - powers).add_(_C2)
        whole = 1.0 / (b1 * b2)
        similarity = a1 * a2 * whole
        if picture.requires_grad:
            by_xy = 2.0 * a1 * whole
            by_squares = -similarity / b2
            by_mean = 2.0 * mean_x * (a2 - a1) * whole + 2.0 * mean_y * (similarity / b2 - similarity / b1)
            gradient = _spread(by_mean)
            gradient.addcmul_(y, _spread(by_squares), value=2.0).addcmul_(x, _spread(by_xy))
            ctx.save_for_backward(gradient.div_(similarity.numel()))
        return similarity.mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return None, gradient * grad


_KERNEL = cv2.getGaussianKernel(_WINDOW, _SIGMA).astype(np.float32)


def _windowed(
    picture: Tensor,  # [H, W, 3]
) -> Tensor:  # [H - 10, W - 10, 3]
    """The mean around each pixel whose window is inside the picture."""
    return _filtered(picture)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN].contiguous()


def _spread(
    gradient: Tensor,  # [H - 10, W - 10, 3]
) -> Tensor:  # [H, W, 3]
    """What the gradient by each window's mean is by pixels."""
    return _filtered(torch.nn.functional.pad(gradient, (0, 0, _MARGIN, _MARGIN, _MARGIN, _MARGIN)))


def _filtered(picture: Tensor) -> Tensor:  # [H, W, 3]
    return torch.from_numpy(cv2.sepFilter2D(picture.numpy(), -1, _KERNEL, _KERNEL, borderType=cv2.BORDER_CONSTANT))
