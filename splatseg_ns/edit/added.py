"""New Gaussians in a scene that has a segmentation, and removed ones found again in the scene they were taken from."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from splatseg_ns.lift import BACKGROUND, Votes
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.document import fingerprint_of


def with_added(splats: Splats, document: Segmentation, new: Splats) -> tuple[Splats, Segmentation]:
    """The scene with new Gaussians at its end, which are background and have no votes."""
    together = Splats.concat([splats, new.to(splats.device)])
    votes = document.votes()
    grown = replace(
        document,
        labels=torch.cat([document.labels, torch.full((len(new),), BACKGROUND)]),
        fingerprint=fingerprint_of(together.means),
        votes_source=None,
    )
    return together, grown.with_votes(None if votes is None else _with_unseen(votes, len(new)))


def rows_of_part(
    means: Tensor,  # [K, 3], some of them in their order
    of: Tensor,  # [N, 3]
) -> Tensor | None:  # [N] bool
    """Which Gaussians of a scene a part of it is made of, by their centres; None if it is no part of the scene."""
    wanted, there = (_as_bytes(centres) for centres in (means, of))
    rows = torch.zeros(len(there), dtype=torch.bool)
    place = 0
    for centre in wanted:
        while place < len(there) and there[place] != centre:
            place += 1
        if place == len(there):
            return None
        rows[place] = True
        place += 1
    return rows


def _as_bytes(centres: Tensor) -> list[bytes]:
    numbers = centres.detach().cpu().float().contiguous().numpy()
    return [row.tobytes() for row in numbers]


def _with_unseen(votes: Votes, count: int) -> Votes:
    """The same votes, and so many Gaussians more that have none."""
    return replace(
        votes,
        offsets=torch.cat([votes.offsets, votes.offsets[-1:].expand(count)]),
        seen=torch.cat([votes.seen, torch.zeros(count, dtype=votes.seen.dtype)]),
    )
