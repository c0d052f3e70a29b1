"""New Gaussians that are fitted to painted views, while all others stay as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splatseg_ns.edit.fill import Fill
from splatseg_ns.edit.pixels import grown, projected_points, sampled
from splatseg_ns.lift import Progress, seen_in
from splatseg_ns.lift.leaves import assembled, detached, leaves_of, optimizer_of
from splatseg_ns.lift.refine import Picture, picture_error
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

_RATES = {"raw_quats": 1e-3, "log_scales": 5e-3, "logit_opacities": 1e-1, "constant": 1e-2, "higher": 1e-2}
_MEANS_RATE = 1e-3
"""As a share of the Gaussians' own size."""

_LAST_RATE = 0.1
"""What share of the learning rates is left at the last step."""


@dataclass(frozen=True, eq=False)
class FillTarget:
    """What the new Gaussians are to look like in one view."""

    fill: Fill
    frozen: Splats
    """The others that are seen there."""

    picture: Picture
    shading: Tensor  # [H, W, 3], what is this view's own: how much lighter it is than what all have agreed on


@torch.no_grad()
def fill_targets(rasterizer: Rasterizer, base: Splats, new: Splats, fills: Sequence[Fill]) -> list[FillTarget]:
    """For each painted view what was painted, and how much lighter that is than the colours that all agree on.

    A surface may look lighter from one side than from another; that is no disagreement.
    """
    targets = []
    for fill in fills:
        canvas = fill.canvas
        camera = canvas.camera
        frozen = base.subset(seen_in(rasterizer, base, camera) > 0)
        drawn = rasterizer.render(Splats.concat([frozen, new]), camera).colors.clamp(0.0, 1.0).cpu()
        width = _COARSE * math.sqrt(int(canvas.hole.sum()))
        shading = _blurred(fill.colors - drawn, canvas.around, width) * canvas.around[..., None]
        wanted = torch.where(canvas.around[..., None], fill.colors, canvas.colors)
        counted = canvas.around | ~grown(canvas.unknown, 1)
        place = rasterizer.device
        picture = Picture(camera, wanted.to(place), counted.to(place))
        targets.append(FillTarget(fill, frozen, picture, shading.to(place)))
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
        colors.append(sampled(target.picture.colors.cpu().double(), pixels) - 0.5)
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
    leaves = leaves_of(new)
    rates = {**_RATES, "means": _MEANS_RATE * float(new.scales.max(dim=1).values.median())}
    optimizer, schedule = optimizer_of(leaves, rates, steps, _LAST_RATE)
    random = torch.Generator().manual_seed(seed)
    for step in range(steps):
        current = assembled(new, leaves)
        pair = [targets[place] for place in torch.randperm(len(targets), generator=random)[:2].tolist()]
        drawn = [
            rasterizer.render(Splats.concat([target.frozen, current]), target.fill.canvas.camera).colors
            for target in pair
        ]
        errors = [
            picture_error(picture, target.picture, _STRUCTURE_SHARE)
            for picture, target in zip(drawn, pair, strict=True)
        ]
        error = torch.stack(errors).mean()
        if len(pair) == 2 and consistency:
            error = error + consistency * _disagreement(drawn, pair, new.means)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
    return detached(new, leaves)


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
