"""How one view votes: by mass, and in the ways that the masked-gradient method adds.

A ballot takes the engine, the splats, a view and the labels that count, and gives the votes of that view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from splatseg_ns.lift.views import LabelledView
from splatseg_ns.lift.votes import column_of
from splatseg_ns.raster import Rasterizer, ViewVotes
from splatseg_ns.scene import Camera, Splats

Ballot = Callable[[Rasterizer, Splats, LabelledView, Tensor], ViewVotes]


def by_mass(rasterizer: Rasterizer, splats: Splats, view: LabelledView, ids: Tensor) -> ViewVotes:
    """Each label gets the sum of alpha * T over its pixels: the gradient of the masked picture by the colour."""
    return rasterizer.votes(splats, view.camera, view.labels, ids, pixel_mask=view.pixel_mask)


def by_weighted_mass(
    pixel_weight: Callable[[LabelledView], Tensor | None],  # gives [H, W] >= 0, None: all pixels count alike
) -> Ballot:
    """As ``by_mass``, with a weight for each pixel."""

    def ballot(rasterizer: Rasterizer, splats: Splats, view: LabelledView, ids: Tensor) -> ViewVotes:
        weight = pixel_weight(view)
        return rasterizer.votes(splats, view.camera, view.labels, ids, pixel_mask=view.pixel_mask, pixel_weight=weight)

    return ballot


def by_area(reference: Camera) -> Ballot:
    """As ``by_mass``, with all views scaled to the number of pixels of one: the mean over pixels instead of the sum."""

    def pixel_weight(view: LabelledView) -> Tensor | None:
        camera = view.camera
        weight = reference.width * reference.height / (camera.width * camera.height)
        return None if weight == 1.0 else torch.full((camera.height, camera.width), weight)

    return by_weighted_mass(pixel_weight)


def by_presence(rasterizer: Rasterizer, splats: Splats, view: LabelledView, ids: Tensor) -> ViewVotes:
    """One vote for each Gaussian that is seen; to a label that has all of it 1, to one that shares it one half.

    Twice a label's mass less ``seen`` is then +1 where only the label's pixels see the Gaussian, -1 where only others
    do, and 0 where both do: the sum of the signs of the two masked gradients.
    """
    votes = rasterizer.votes(splats, view.camera, view.labels, pixel_mask=view.pixel_mask)
    alone = votes.offsets.diff()[votes.rows] == 1
    kept = column_of(ids.to(votes.ids.device), votes.ids)[votes.columns] >= 0
    return _selected(replace(votes, mass=torch.where(alone, 1.0, 0.5), seen=(votes.seen > 0).float()), kept)


def by_center(rasterizer: Rasterizer, splats: Splats, view: LabelledView, ids: Tensor) -> ViewVotes:
    """One vote for each Gaussian that is seen and whose centre is in the picture, to the label of the pixel there."""
    device = view.labels.device
    seen = rasterizer.votes(splats, view.camera, view.labels, ids[:0], pixel_mask=view.pixel_mask).seen
    row, column, inside = _center_pixels(splats.means.detach().to(device), view.camera.to(device))
    counts = inside & (seen.to(device) > 0)
    if view.pixel_mask is not None:
        counts &= view.pixel_mask[row, column]
    chosen = column_of(ids.to(device), view.labels[row, column])
    voting = counts & (chosen >= 0)
    offsets = torch.nn.functional.pad(voting.long().cumsum(0), (1, 0))
    return ViewVotes(ids, offsets, chosen[voting], torch.ones(int(voting.sum()), device=device), counts.float())


def dilated(ballot: Ballot, radius: int) -> Ballot:
    """The ballot on masks that have grown over the background by some pixels, in squares."""

    def on_grown_masks(rasterizer: Rasterizer, splats: Splats, view: LabelledView, ids: Tensor) -> ViewVotes:
        return ballot(rasterizer, splats, replace(view, labels=dilate_objects(view.labels, radius)), ids)

    return on_grown_masks if radius else ballot


def dilate_objects(
    labels: Tensor,  # [H, W] integer, 0 is background
    radius: int,
) -> Tensor:  # [H, W] int64
    """Objects grown over the background; where two meet each keeps the pixels nearer to it, at a tie the lower id."""
    # Pooling takes the greatest of floating-point numbers: ids are exact in float64, and their signs are turned.
    grown = labels.double()
    for _ in range(radius):
        lowest = -torch.nn.functional.max_pool2d(-grown.where(grown > 0, torch.inf)[None], 3, stride=1, padding=1)[0]
        grown = torch.where((grown == 0) & lowest.isfinite(), lowest, grown)
    return grown.long()


def _selected(votes: ViewVotes, kept: Tensor) -> ViewVotes:
    """Only some of the entries."""
    counts = torch.bincount(votes.rows[kept], minlength=len(votes.seen))
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return replace(votes, offsets=offsets, columns=votes.columns[kept], mass=votes.mass[kept])


def _center_pixels(means: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:  # [N] int64, int64, bool
    """Row and column of the pixel that each centre projects to, and whether it is in the picture."""
    in_camera = means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    depth = in_camera[:, 2]
    projected = in_camera @ camera.K.T / depth[:, None]
    column, row = projected[:, 0].floor(), projected[:, 1].floor()
    inside = (depth > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    return torch.where(inside, row, 0).long(), torch.where(inside, column, 0).long(), inside
