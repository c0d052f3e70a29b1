"""What is known of an object after the masks of some views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats

_ENOUGH_SEEN = 0.5
"""From this mass on (pixels) a Gaussian counts as known; below, by its share of it."""


@dataclass(frozen=True, eq=False)
class Guess:
    """What an object should look like in a view that has not been asked yet."""

    share: Tensor  # [H, W] of what is known at a pixel, how much belongs to the object
    known: Tensor  # [H, W] how much of the pixel is known

    def inside(self, least_known: float = 0.3) -> Tensor:  # [H, W] bool
        """Where the object should be."""
        return (self.share > 0.5) & (self.known > least_known)

    def agreement(
        self,
        masks: Tensor,  # [M, H, W] bool
    ) -> Tensor:  # [M]
        """The IoU of each mask with the object, over the pixels that are known."""
        known = self.known > 0.5
        expected, given = (self.share > 0.5) & known, masks & known
        both = (given & expected).flatten(1).sum(dim=1)
        either = (given | expected).flatten(1).sum(dim=1)
        return both / either.clamp_min(1)


@dataclass(frozen=True, eq=False)
class PartialObject:
    """Sums of alpha * T over views: inside the masks of one object, and in all."""

    inside: Tensor  # [N]
    seen: Tensor  # [N]

    @staticmethod
    def nothing(splats: Splats) -> PartialObject:
        """Before the first mask."""
        zeros = torch.zeros(len(splats), device=splats.device)
        return PartialObject(zeros, zeros)

    def __add__(self, other: PartialObject) -> PartialObject:
        return PartialObject(self.inside + other.inside, self.seen + other.seen)

    def weighted(self, weight: float) -> PartialObject:
        """As if the masks counted so much."""
        return PartialObject(weight * self.inside, weight * self.seen)

    @property
    def share(self) -> Tensor:  # [N] in [0, 1]
        """How much of what was seen of each Gaussian belongs to the object."""
        return self.inside / self.seen.clamp_min(torch.finfo(self.seen.dtype).tiny)

    @property
    def rows(self) -> Tensor:  # [N] bool
        """The Gaussians that belong to the object rather than not."""
        return self.share > 0.5

    @torch.no_grad()
    def guess(self, rasterizer: Rasterizer, splats: Splats, camera: Camera) -> Guess:
        """What the object should look like from a camera; Gaussians that no mask has seen say nothing."""
        known = (self.seen / _ENOUGH_SEEN).clamp_max(1.0)
        drawn = rasterizer.render(splats, camera, features=torch.stack([self.share * known, known], dim=1)).colors.cpu()
        return Guess(drawn[..., 0] / drawn[..., 1].clamp_min(1e-4), drawn[..., 1])
