"""What all views but one say, drawn into that one: a view must not vouch for itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.lift.labels import UNSEEN, Labels
from splatseg_ns.lift.votes import Votes
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats

COVERED = 0.5
"""The least share of a pixel that must come from Gaussians with a label, for the pixel to have one."""


def votes_without(
    total: Votes,
    part: Votes,  # of some of the views behind ``total``, over the same labels
    rows: Tensor,  # [R] int64, ascending
) -> Votes:  # of R Gaussians
    """What the rest of the views says of some Gaussians."""
    whole, taken = total.of_rows(rows), part.of_rows(rows)
    width = max(len(total.ids), 1)
    keys, taken_keys = (votes.rows.numpy() * width + votes.columns.numpy().astype(np.int64) for votes in (whole, taken))
    # Sums are exact, so what is taken away leaves exactly the sum of the others.
    mass = whole.mass.numpy()
    mass[np.searchsorted(keys, taken_keys)] -= taken.mass.numpy()
    left = mass > 0
    offsets = np.concatenate([[0], np.bincount(keys[left] // width, minlength=len(rows)).cumsum()])
    return Votes(
        total.ids,
        torch.from_numpy(offsets),
        torch.from_numpy(whole.columns.numpy()[left]),
        torch.from_numpy(mass[left]),
        whole.seen - taken.seen,
    )


def labels_without(
    decided: Labels,  # by ``total``
    total: Votes,
    part: Votes,
    decide: Callable[[Votes], Labels],
) -> Tensor:  # [N] int64
    """The label of each Gaussian by all votes but a part of them."""
    # A label can only change if what is taken away makes up the lead: the lead loses at most the mass that goes, and
    # with a background bias, which is a share of the whole, as much again.
    doubtful = (part.seen > 0) & (2.0 * part.seen >= decided.margin * total.seen)
    rows = doubtful.nonzero().flatten()
    ids = decided.ids.clone()
    ids[rows] = decide(votes_without(total, part, rows)).ids
    return ids


@torch.no_grad()
def render_decided(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    labels: Tensor,  # [N] int64
    ids: Tensor,  # [K] int64, those that may show, the background among them if it may
) -> Tensor:  # [H, W] int64
    """The strongest label at each pixel, the background's Gaussians included; UNSEEN where they cover too little."""
    shape = (camera.height, camera.width)
    strongest = torch.full(shape, UNSEEN)
    best, covered = torch.zeros(shape), torch.zeros(shape)
    for part in ids.split(16):
        one_hot = (labels[:, None] == part).float().to(splats.device)
        weights = rasterizer.render(splats, camera, features=one_hot).colors.cpu()
        weight, place = weights.max(dim=-1)
        strongest = torch.where(weight > best, part[place], strongest)
        best = torch.maximum(best, weight)
        covered += weights.sum(dim=-1)
    return torch.where(covered > COVERED, strongest, UNSEEN)
