"""Which Gaussians the pictures can do without: scores, the order to take them away in, and how far to go."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from splatseg_ns.lift.accumulate import Progress, seen_in
from splatseg_ns.lift.refine import Pictures, mean_of, psnr_of
from splatseg_ns.lift.ssim import ssim
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats

PruneRule = Literal["error", "gradient"]
"""``error``: least squared change of the pictures first; ``gradient``: least contribution first, as published."""

LEFT_BY_A_ROUND = 0.9
"""What share of the Gaussians a round of the ``error`` rule leaves before it looks again."""

_OF_EARLIER_ROUNDS = 0.5
"""How much what earlier rounds have estimated counts. One draw for each view is noisy, and who is taken for too cheap
goes first."""

_TRUSTED_SHARE = 0.5
"""How much what is missing already counts. All that go in a round would make up for the same, which one of them can."""

_SIZE_TOLERANCE = 1.0 / 250.0
"""How closely the smallest size is searched for, as a share of all Gaussians."""

_TIMING_ROUNDS = 3


@torch.no_grad()
def contribution(
    rasterizer: Rasterizer, splats: Splats, cameras: Sequence[Camera], progress: Progress | None = None
) -> Tensor:  # [N] float64
    """What share of each picture a Gaussian makes up, summed over pictures: its votes for the whole, by their pixels.

    The published rule sums ``norm of d picture.mean() / d constant colour`` over views. The picture is linear in the
    colours, so that is this times ``SH0 / sqrt(3)``, except where a colour is cut off at black: there the gradient is
    0, though the Gaussian hides what is behind it.
    """
    total = torch.zeros(len(splats), dtype=torch.float64, device=splats.device)
    for done, camera in enumerate(cameras):
        total += seen_in(rasterizer, splats, camera).to(total) / (camera.width * camera.height)
        if progress is not None:
            progress(done + 1, len(cameras))
    return total


@dataclass(frozen=True)
class RemovalError:
    """By how much the squared error of pictures grows without each Gaussian, all others staying.

    Summed over channels, the mean over pixels, the sum over pictures.
    """

    own: Tensor  # [N] float64, the square of what it changes, estimated
    shared: Tensor  # [N] float64, twice the product of that with what is missing already; may be negative

    @property
    def total(self) -> Tensor:  # [N] float64
        return self.own + self.shared


def removal_error(
    rasterizer: Rasterizer,
    splats: Splats,
    cameras: Sequence[Camera],
    original: Splats | None = None,
    *,
    probes: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> RemovalError:
    """What it costs to take one Gaussian away, where the pictures of ``original`` (of the same by default) are wanted.

    A pixel is linear in each alpha. Without Gaussian i it changes by ``d = w (behind - c)``: the weight times the
    difference of its colour to what stands behind it. With its opacity o that is ``-o dC / do``, a gradient. With the
    missing part ``r``, the original minus the picture, the squared error grows from ``r^2`` to ``(r - d)^2``: by
    ``d^2 - 2 r d``. The sum of ``r d`` over pixels is one gradient. That of ``d^2`` is estimated without bias: the
    gradient of the picture times random signs, squared, the mean over ``probes`` draws. Signs are drawn anew for each
    camera from the same seed, so that cameras add up.
    """
    # Above the greatest alpha opacity changes nothing, and its gradient would be lost.
    highest = math.log(splats.profile.alpha_max / (1.0 - splats.profile.alpha_max))
    logits = splats.logit_opacities.detach().clamp_max(highest).requires_grad_()
    capped = replace(splats, logit_opacities=logits)
    # Times a gradient by the logit, o (1 - o) dC / do, it gives o dC / do.
    to_change = 1.0 / (1.0 - logits.detach().double().sigmoid())
    own, shared = torch.zeros_like(to_change), torch.zeros_like(to_change)
    for done, camera in enumerate(cameras):
        pixels = camera.width * camera.height
        with torch.enable_grad():
            drawn = rasterizer.render(capped, camera).colors
        random = torch.Generator().manual_seed(seed)
        for _ in range(probes):
            signs = torch.randint(0, 2, drawn.shape, generator=random).to(drawn) * 2.0 - 1.0
            own += (_gradient(drawn, logits, signs) * to_change).square() / (probes * pixels)
        if original is not None:
            with torch.no_grad():
                missing = rasterizer.render(original, camera).colors - drawn
            shared += 2.0 * _gradient(drawn, logits, missing) * to_change / pixels
        if progress is not None:
            progress(done + 1, len(cameras))
    return RemovalError(own, shared)


class RemovalOrder:
    """The order in which Gaussians are to go, found out as far as it is asked for.

    It does not depend on how many are asked for: fewer are always among more, and asking again gives the same.
    ``gradient`` scores once, by ``contribution``. ``error`` goes by ``removal_error``, in rounds that each take some of
    those that are left: of two Gaussians that stand in for each other either may go, but not both, and only who looks
    again can tell.
    """

    def __init__(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        cameras: Sequence[Camera],
        rule: PruneRule = "error",
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        if rule not in get_args(PruneRule):
            raise ValueError(f"no rule {rule!r}; there are {', '.join(get_args(PruneRule))}")
        if not cameras:
            raise ValueError("there are no views to judge Gaussians by: give at least one")
        self._rasterizer, self._splats, self._cameras = rasterizer, splats, cameras
        self._rule: PruneRule = rule
        self._seed, self._rounds, self._progress = seed, 0, progress
        self._order = torch.arange(len(splats), device=splats.device)
        self._own = torch.zeros(len(splats), dtype=torch.float64, device=splats.device)
        # From this place on the order is settled.
        self._open = len(splats)

    def __len__(self) -> int:
        return len(self._splats)

    def kept(self, count: int) -> Tensor:  # [N] bool
        """The Gaussians that are left when all but ``count`` are gone."""
        if not 1 <= count <= len(self):
            raise ValueError(f"of {len(self)} Gaussians 1 to {len(self)} can be kept, got {count}")
        while self._open > count:
            self._settle()
        rows = torch.zeros(len(self), dtype=torch.bool, device=self._order.device)
        rows[self._order[:count]] = True
        return rows

    def _settle(self) -> None:
        """Look at those that are left, and settle who goes next."""
        left = self._order[: self._open].sort().values
        splats = self._splats.subset(left)
        if self._rule == "gradient":
            scores, stays = contribution(self._rasterizer, splats, self._cameras, self._progress), 0
        else:
            scores, stays = self._errors(splats, left), fewer(self._open)
        self._order[: self._open] = left[scores.argsort(descending=True, stable=True)]
        self._open = stays
        self._rounds += 1

    def _errors(
        self,
        splats: Splats,
        left: Tensor,  # [M] int64, their rows
    ) -> Tensor:  # [M] float64
        """What it costs to take one of them away, by this round and those before."""
        original = self._splats if self._rounds else None
        seed = self._seed + self._rounds
        error = removal_error(self._rasterizer, splats, self._cameras, original, seed=seed, progress=self._progress)
        self._own[left] = error.own.lerp(self._own[left], _OF_EARLIER_ROUNDS if self._rounds else 0.0)
        return self._own[left] + _TRUSTED_SHARE * error.shared


def fewer(count: int) -> int:
    """How many are left of so many by a round."""
    return min(count - 1, int(count * LEFT_BY_A_ROUND))


def smallest_within(
    order: RemovalOrder,
    psnr_of: Callable[[Tensor], float],  # of the Gaussians that are kept, [N] bool
    least_psnr: float,
) -> Tensor:  # [N] bool
    """The fewest Gaussians whose PSNR, as measured, is at least ``least_psnr``; all of them if no fewer have it.

    Sizes are gone down as rounds go while the bound holds, and the last step is halved.
    """
    good, bad = len(order), 0
    found = order.kept(good)
    while good > 1:
        size = fewer(good)
        rows = order.kept(size)
        if psnr_of(rows) < least_psnr:
            bad = size
            break
        good, found = size, rows
    while good - bad > max(1, int(_SIZE_TOLERANCE * len(order))):
        size = (good + bad) // 2
        rows = order.kept(size)
        if psnr_of(rows) < least_psnr:
            bad = size
        else:
            good, found = size, rows
    return found


@dataclass(frozen=True)
class Quality:
    """How much renders over black look like pictures; each the mean over views, None where there is no view."""

    psnr: float | None
    """In dB."""

    ssim: float | None

    @staticmethod
    @torch.no_grad()
    def of(rasterizer: Rasterizer, splats: Splats, pictures: Pictures) -> Quality:
        """Pixels that are not to be used do not count; for the similarity they are black in both."""
        ratios, similarities = [], []
        for position in range(len(pictures)):
            picture = pictures.read(position, splats.device)
            colors, drawn = picture.colors, rasterizer.render(splats, picture.camera).colors.clamp(0.0, 1.0)
            ratios.append(psnr_of(drawn, picture))
            if picture.valid is not None:
                colors, drawn = (part * picture.valid[..., None] for part in (colors, drawn))
            similarities.append(float(ssim(drawn, colors)))
        return Quality(mean_of(ratios), mean_of(similarities))


@torch.no_grad()
def largest_difference(rasterizer: Rasterizer, first: Splats, second: Splats, cameras: Sequence[Camera]) -> float:
    """Between the pictures of two splats, of any pixel and channel; 1 is black against white."""
    largest = 0.0
    for camera in cameras:
        colors, others = (rasterizer.render(splats, camera).colors.clamp(0.0, 1.0) for splats in (first, second))
        largest = max(largest, float((colors - others).abs().max()))
    return largest


@torch.no_grad()
def frames_per_second(rasterizer: Rasterizer, scenes: Sequence[Splats], cameras: Sequence[Camera]) -> list[float]:
    """How many of these pictures are drawn in a second of each scene, one after the other; the best of a few rounds.

    The scenes take turns, so that all meet the same disturbances.
    """
    best = [math.inf] * len(scenes)
    for _ in range(_TIMING_ROUNDS):
        for place, splats in enumerate(scenes):
            begin = time.perf_counter()
            for camera in cameras:
                # A picture on its way is not drawn yet.
                rasterizer.render(splats, camera).colors.cpu()
            best[place] = min(best[place], time.perf_counter() - begin)
    return [len(cameras) / seconds for seconds in best]


def _gradient(picture: Tensor, logits: Tensor, weights: Tensor) -> Tensor:  # [N] float64
    """Of the sum of the weighted picture by the logits; the picture can be differentiated again."""
    (found,) = torch.autograd.grad(picture, logits, weights, retain_graph=True)
    return found.double()
