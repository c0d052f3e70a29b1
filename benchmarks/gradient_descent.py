"""The labelling that FlashSplat compares itself with: label logits of every Gaussian, fitted to the masks by Adam."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.lift import BACKGROUND, LabelledView, Labels
from splatseg_ns.lift.votes import column_of
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats

Loss = Literal["softmax", "raw"]

_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class DescentConfig:
    """One way to descend."""

    loss: Loss
    """``softmax``: each Gaussian's probabilities are drawn, and the loss is minus the logarithm of what the pixel's
    label gets, empty space being background. ``raw``: logits are drawn, and the loss is their cross entropy."""

    learning_rate: float

    @property
    def name(self) -> str:
        return f"{self.loss}, rate {self.learning_rate:g}"


class GradientDescent:
    """Logits [N, L] of all Gaussians, fitted view by view."""

    def __init__(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        ids: Tensor,  # [L] int64, 0 among them
        config: DescentConfig,
    ) -> None:
        self._rasterizer, self._splats, self._ids, self._config = rasterizer, splats, ids, config
        self._logits = torch.zeros(len(splats), len(ids), requires_grad=True)
        self._adam = torch.optim.Adam([self._logits], config.learning_rate, fused=True)

    def step(self, view: LabelledView) -> float:
        """Move against the gradient of one view's loss, which is returned."""
        present = view.labels.unique().long()
        present = self._ids[torch.isin(self._ids, present) | (self._ids == BACKGROUND)]
        features = self._features(present)
        picture = self._rasterizer.render(self._splats, view.camera, features=features.detach())
        colors = picture.colors.requires_grad_()
        loss = self._loss(colors, picture.alpha, view, present)
        (by_color,) = torch.autograd.grad(loss, colors)
        # The picture is linear in its features, so that their gradient is the lifted gradient of the pixels. The
        # engine's own backward pass gives the same, and that of the geometry too, which would only cost time here.
        by_feature = self._rasterizer.lift(self._splats, view.camera, by_color)
        self._adam.zero_grad()
        features.backward(by_feature)
        self._adam.step()
        return float(loss.detach())

    def labels(self) -> Labels:
        """The label with the greatest logit; margins say nothing here."""
        ids = self._ids[self._logits.detach().argmax(dim=1)]
        return Labels(ids, torch.zeros(len(ids), dtype=torch.float64))

    def _features(self, present: Tensor) -> Tensor:  # [N, C]
        """What is drawn of the labels that the view shows."""
        values = self._logits.softmax(dim=1) if self._config.loss == "softmax" else self._logits
        return values[:, column_of(self._ids, present)]

    def _loss(
        self,
        colors: Tensor,  # [H, W, C]
        alpha: Tensor,  # [H, W]
        view: LabelledView,
        present: Tensor,  # [C]
    ) -> Tensor:
        wanted = column_of(present, view.labels)
        counts = wanted >= 0 if view.pixel_mask is None else (wanted >= 0) & view.pixel_mask
        wanted, colors = wanted[counts], colors[counts]
        if self._config.loss == "raw":
            return torch.nn.functional.cross_entropy(colors, wanted)
        empty = torch.where(present[wanted] == BACKGROUND, 1.0 - alpha[counts], 0.0)
        probability = colors.gather(1, wanted[:, None])[:, 0] + empty
        return -probability.clamp_min(_LEAST_PROBABILITY).log().mean()


@dataclass(frozen=True)
class CurvePoint:
    """How far a descent is."""

    steps: int
    seconds: float
    """Of the steps alone."""

    iou: float


def follow(
    descent: GradientDescent,
    views: Sequence[LabelledView],
    checkpoints: Sequence[int],  # ascending numbers of steps
    judge: Callable[[Labels], float],
    seed: int = 0,
) -> Iterator[CurvePoint]:
    """Descend, all views in random order again and again, and judge the labels at the checkpoints."""
    random = torch.Generator().manual_seed(seed)
    order: list[int] = []
    seconds = 0.0
    for step in range(1, checkpoints[-1] + 1):
        order = order or torch.randperm(len(views), generator=random).tolist()
        begin = time.perf_counter()
        descent.step(views[order.pop()])
        seconds += time.perf_counter() - begin
        if step in checkpoints:
            yield CurvePoint(step, seconds, judge(descent.labels()))
