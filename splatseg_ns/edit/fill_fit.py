"""New Gaussians that are fitted to painted views, while all others stay as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splatseg_ns.edit.canvas import projected_points, sampled
from splatseg_ns.edit.fill import Fill
from splatseg_ns.edit.hole import grown
from splatseg_ns.lift import Progress
from splatseg_ns.lift.ssim import ssim
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats
from splatseg_ns.scene.spherical_harmonics import sh_basis

_STRUCTURE_SHARE = 0.2
"""Of structural dissimilarity in the error of a picture; the rest is the mean absolute difference."""

_COARSE = 0.25
"""How wide the blur is that tells shading from detail, as a share of the hole's width."""

_STIFF_CONSTANT, _STIFF_HIGHER = 1e-3, 0.1
"""How much harmonics are held where they were, beside one view each that shows the Gaussian."""

_ODD = 0.05
"""A view that differs from the others by this much of white counts half."""

_ROUNDS = 4

_RATES = {"log_scales": 5e-3, "logit_opacities": 1e-1, "constant": 1e-2, "higher": 1e-2}
_MEANS_RATE = 1e-3
"""As a share of the Gaussians' own size."""


@dataclass(frozen=True, eq=False)
class FillTarget:
    """What the new Gaussians are to look like in one view."""

    fill: Fill
    frozen: Splats
    """The others that are seen there."""

    colors: Tensor  # [H, W, 3]
    shading: Tensor  # [H, W, 3], what is this view's own: how much lighter it is than what all have agreed on
    counted: Tensor  # [H, W] bool


@torch.no_grad()
def fill_targets(rasterizer: Rasterizer, base: Splats, new: Splats, fills: Sequence[Fill]) -> list[FillTarget]:
    """For each painted view what was painted, and how much lighter that is than the colours that all agree on.

    A surface may look lighter from one side than from another; that is no disagreement.
    """
    targets = []
    for fill in fills:
        canvas = fill.canvas
        camera = canvas.camera
        nothing = torch.zeros(camera.height, camera.width, dtype=torch.int64)
        frozen = base.subset(rasterizer.votes(base, camera, nothing).seen > 0)
        drawn = rasterizer.render(Splats.concat([frozen, new]), camera).colors.clamp(0.0, 1.0).cpu()
        width = _COARSE * math.sqrt(int(canvas.hole.sum()))
        shading = _blurred(fill.colors - drawn, canvas.around, width) * canvas.around[..., None]
        wanted = torch.where(canvas.around[..., None], fill.colors, canvas.colors)
        counted = canvas.around | ~grown(canvas.unknown, 1)
        place = rasterizer.device
        targets.append(FillTarget(fill, frozen, wanted.to(place), shading.to(place), counted.to(place)))
    return targets


@torch.no_grad()
def shaded(new: Splats, targets: Sequence[FillTarget]) -> Splats:
    """The new Gaussians with the colours that the targets show of each, which may differ from side to side.

    Of each Gaussian as many harmonics as a degree of one has are fitted to all views that show it, so that what few
    say against many counts little; the constant one stands for those that nobody shows.
    """
    if not targets:
        return new
    degree = min(new.sh_degree, 1)
    means = new.means.cpu().double()
    colors, bases, counts = [], [], []
    for target in targets:
        canvas = target.fill.canvas
        pixels, _, inside = projected_points(canvas.camera, means)
        in_hole = sampled(canvas.around.float()[..., None], pixels.float())[:, 0] > 0.5
        directions = torch.nn.functional.normalize(means - canvas.camera.position.cpu().double(), dim=1)
        colors.append(sampled(target.colors.cpu().double(), pixels) - 0.5)
        bases.append(sh_basis(directions, degree))
        counts.append(inside & in_hole)
    color, basis, counted = torch.stack(colors, 1), torch.stack(bases, 1), torch.stack(counts, 1).double()
    before = torch.nn.functional.pad(new.sh[:, :1].cpu().double(), (0, 0, 0, basis.shape[2] - 1))
    stiffness = torch.diag(torch.tensor([_STIFF_CONSTANT, *[_STIFF_HIGHER] * (basis.shape[2] - 1)])).double()
    found, weight = before, counted
    for _ in range(_ROUNDS):
        weighted = basis * weight[..., None]
        found = torch.linalg.solve(
            weighted.transpose(1, 2) @ basis + stiffness, weighted.transpose(1, 2) @ color + stiffness @ before
        )
        error = (basis @ found - color).abs().mean(dim=2)
        weight = counted / (1.0 + error / _ODD)
    sh = torch.zeros_like(new.sh)
    sh[:, : found.shape[1]] = found.to(new.sh)
    return replace(new, sh=sh)


def fitted(
    rasterizer: Rasterizer,
    new: Splats,
    targets: Sequence[FillTarget],
    steps: int,
    consistency: float,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splats:
    """The new Gaussians after so many steps, each with a small change towards two of the views.

    To the errors of both it adds ``consistency`` times how much they differ where they show the same place, each
    without its own shading.
    """
    if not targets or steps < 1:
        return new
    leaves = {**new.tensors(), "constant": new.sh[:, :1], "higher": new.sh[:, 1:]}
    del leaves["sh"]
    leaves = {name: part.detach().clone().requires_grad_() for name, part in leaves.items()}
    rates = {**_RATES, "means": _MEANS_RATE * float(new.scales.max(dim=1).values.median()), "raw_quats": 1e-3}
    optimizer = torch.optim.Adam([{"params": [leaves[name]], "lr": rate} for name, rate in rates.items()], eps=1e-15)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.55 + 0.45 * math.cos(math.pi * step / steps))
    random = torch.Generator().manual_seed(seed)
    for step in range(steps):
        current = _assembled(new, leaves)
        pair = [targets[place] for place in torch.randperm(len(targets), generator=random)[:2].tolist()]
        drawn = [
            rasterizer.render(Splats.concat([target.frozen, current]), target.fill.canvas.camera).colors
            for target in pair
        ]
        error = torch.stack([_error(picture, target) for picture, target in zip(drawn, pair, strict=True)]).mean()
        if len(pair) == 2 and consistency:
            error = error + consistency * _disagreement(drawn, pair, new.means)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
    return _assembled(new, {name: leaf.detach() for name, leaf in leaves.items()})


def _assembled(new: Splats, leaves: dict[str, Tensor]) -> Splats:
    own = {name: leaf for name, leaf in leaves.items() if name not in ("constant", "higher")}
    return replace(new, **own, sh=torch.cat([leaves["constant"], leaves["higher"]], dim=1))


def _error(drawn: Tensor, target: FillTarget) -> Tensor:  # [H, W, 3] -> scalar
    counted = target.counted[..., None]
    difference = ((drawn - target.colors) * counted).abs().sum() / (3 * counted.sum().clamp_min(1))
    structure = 1.0 - ssim(drawn * counted, target.colors * counted)
    return (1.0 - _STRUCTURE_SHARE) * difference + _STRUCTURE_SHARE * structure


def _disagreement(
    drawn: Sequence[Tensor],  # two [H, W, 3]
    pair: Sequence[FillTarget],
    means: Tensor,  # [M, 3]
) -> Tensor:  # scalar
    """The mean absolute difference of two views at the places that both show in their holes."""
    looked_at, shown = [], torch.ones(len(means), dtype=torch.bool)
    for picture, target in zip(drawn, pair, strict=True):
        canvas = target.fill.canvas
        pixels, _, inside = projected_points(canvas.camera, means.detach().cpu().double())
        in_hole = sampled(canvas.around.float()[..., None], pixels.float())[:, 0] > 0.99
        shown &= inside & in_hole
        looked_at.append(sampled(picture - target.shading, pixels.to(picture)))
    if not bool(shown.any()):
        return drawn[0].sum() * 0.0
    chosen = shown.to(drawn[0].device)
    return (looked_at[0][chosen] - looked_at[1][chosen]).abs().mean()


def _blurred(
    picture: Tensor,  # [H, W, 3]
    mask: Tensor,  # [H, W] bool
    width: float,
) -> Tensor:  # [H, W, 3]
    """The mean of the masked pixels around each pixel, weighted by a Gaussian."""
    import cv2

    weight = mask.float()
    total = cv2.GaussianBlur((picture * weight[..., None]).numpy(), (0, 0), max(width, 0.5))
    share = cv2.GaussianBlur(weight.numpy(), (0, 0), max(width, 0.5))
    return torch.from_numpy(total) / torch.from_numpy(share).clamp_min(1e-4)[..., None]
