"""Painted pictures of the surface behind, and the new Gaussians that carry their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from splatseg_ns.edit.canvas import Canvas
from splatseg_ns.edit.pixels import grown, pixels_of, points_at, projected_points, sampled
from splatseg_ns.lift import Progress
from splatseg_ns.masks.inpainter import Inpainter, painted
from splatseg_ns.scene import RenderProfile, Splats, error_line
from splatseg_ns.scene.spherical_harmonics import sh_basis

_SEAM = 1
"""Pixels by which the new Gaussians reach over the edge of the hole, so that no gap is left."""

_SPREAD = 0.6
"""Standard deviation of a new Gaussian along the surface, in pixels of the canvas that it was seeded on."""

_THICKNESS = 0.1
"""The same across the surface, as a share of the smaller one along it."""

_OPACITY = 0.5
"""Of new Gaussians before they are fitted, as a logit: layers below, by which gloss is drawn, are still to be seen."""


@dataclass(frozen=True, eq=False)
class Fill:
    """A canvas that was painted."""

    canvas: Canvas
    colors: Tensor  # [H, W, 3] float32 in [0, 1]


def paint(
    inpainter: Inpainter, canvases: Sequence[Canvas], progress: Progress | None = None
) -> tuple[list[Fill], dict[str, str]]:
    """The canvases without what is unknown; and why some, by their names, could not be painted, which are left out."""
    fills: list[Fill] = []
    left_out: dict[str, str] = {}
    for done, canvas in enumerate(canvases):
        picture = (canvas.colors * 255.0).round().to(torch.uint8)
        try:
            filled = painted(inpainter, picture, canvas.unknown)
        # It may be anybody's program.
        except Exception as error:
            left_out[canvas.name] = error_line(error)
        else:
            fills.append(Fill(canvas, torch.where(canvas.unknown[..., None], filled.float() / 255.0, canvas.colors)))
        if progress is not None:
            progress(done + 1, len(canvases))
    if not fills:
        name, reason = next(iter(left_out.items()))
        raise ValueError(f"the inpainter failed on all {len(canvases)} pictures, first on {name}: {reason}")
    return fills, left_out


def seeded(
    canvases: Sequence[Canvas],
    coefficients: int,  # of each colour's harmonics
    profile: RenderProfile,
) -> Splats:
    """Flat grey Gaussians on the surface, one for each pixel of the holes; later canvases add what is lacking."""
    parts: list[Splats] = []
    for canvas in canvases:
        wanted = grown(canvas.hole, _SEAM) & canvas.depth.isfinite()
        for part in parts:
            wanted &= ~_covered(canvas, part.means.double())
        if bool(wanted.any()):
            parts.append(_flat_gaussians(canvas, wanted, coefficients, profile))
    if not parts:
        raise ValueError("no surface was found behind what was removed, so nothing can be filled in")
    return Splats.concat(parts)


def agreed_colors(
    means: Tensor,  # [M, 3]
    fills: Sequence[Fill],
    tolerance: float,
) -> Tensor:  # [M, 3]
    """For each place of the surface the median of what the fills show there: what one of them invents is outvoted.

    Grey where no fill shows it.
    """
    colors = torch.full((len(fills), len(means), 3), torch.nan)
    for place, fill in enumerate(fills):
        pixels, shown = _shown(fill.canvas, means.double(), tolerance)
        colors[place, shown] = sampled(fill.colors, pixels[shown])
    return colors.nanmedian(dim=0).values.nan_to_num(0.5)


def with_colors(
    splats: Splats,
    colors: Tensor,  # [M, 3]
) -> Splats:
    """The Gaussians with these colours, the same from everywhere."""
    sh = torch.zeros_like(splats.sh)
    sh[:, 0] = (colors.to(splats.sh) - 0.5) / float(sh_basis(torch.zeros(1, 3), 0))
    return replace(splats, sh=sh)


def _shown(
    canvas: Canvas,
    points: Tensor,  # [P, 3] float64
    tolerance: float,
) -> tuple[Tensor, Tensor]:  # [P, 2] pixels, [P] bool
    """Where the canvas shows the points, and which of them it does."""
    pixels, depth, inside = projected_points(canvas.camera, points)
    rows, columns = pixels_of(canvas.camera, pixels)
    near = (canvas.depth[rows, columns] - depth).abs() < tolerance
    return pixels, inside & near & canvas.around[rows, columns]


def _covered(
    canvas: Canvas,
    points: Tensor,  # [P, 3] float64
) -> Tensor:  # [H, W] bool
    """The pixels that the points are seen at, and those next to them."""
    pixels, _, inside = projected_points(canvas.camera, points)
    rows, columns = pixels_of(canvas.camera, pixels[inside])
    hit = torch.zeros(canvas.hole.shape, dtype=torch.bool)
    hit[rows, columns] = True
    return grown(hit, _SEAM)


def _flat_gaussians(canvas: Canvas, wanted: Tensor, coefficients: int, profile: RenderProfile) -> Splats:
    """One for each wanted pixel, as large as the pixel is on the surface, and lying in it."""
    points = points_at(canvas.camera, canvas.depth)
    rows, columns = wanted.nonzero(as_tuple=True)
    centre = points[rows, columns]
    across = _step(points, centre, rows, columns, 0, 1)
    down = _step(points, centre, rows, columns, 1, 0)
    spread = _SPREAD**2 * (across[:, :, None] * across[:, None] + down[:, :, None] * down[:, None])
    squares, axes = torch.linalg.eigh(spread)
    along = squares[:, 1:].clamp_min(1e-20).sqrt()
    scales = torch.cat([_THICKNESS * along[:, :1], along], dim=1)
    axes = axes * torch.linalg.det(axes)[:, None, None].sign()
    quats = torch.from_numpy(np.roll(Rotation.from_matrix(axes.numpy()).as_quat(), 1, axis=1))
    count = len(centre)
    return Splats(
        centre.float(),
        quats.float(),
        scales.log().float(),
        torch.full((count,), _OPACITY),
        torch.zeros(count, coefficients, 3),
        profile,
    )


def _step(
    points: Tensor,  # [H, W, 3]
    centre: Tensor,  # [M, 3]
    rows: Tensor,  # [M]
    columns: Tensor,  # [M]
    down: int,
    right: int,
) -> Tensor:  # [M, 3]
    """From one pixel to the next on the surface; where the next one is elsewhere, the way from the one before."""
    height, width = points.shape[:2]
    after = points[(rows + down).clamp_max(height - 1), (columns + right).clamp_max(width - 1)] - centre
    before = centre - points[(rows - down).clamp_min(0), (columns - right).clamp_min(0)]
    lengths = [
        torch.where((step.norm(dim=1) > 0) & step.isfinite().all(dim=1), step.norm(dim=1), torch.inf)
        for step in (after, before)
    ]
    return torch.where((lengths[0] <= lengths[1])[:, None], after, before).nan_to_num(0.0, 0.0, 0.0)
