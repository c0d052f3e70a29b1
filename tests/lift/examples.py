"""Toy views and votes that are the same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.lift import Votes, VoteSum
from splatseg_ns.raster import ViewVotes
from splatseg_ns.scene import Camera, Splats
from tests.raster.scenes import camera, cloud, generator, label_map


@dataclass(frozen=True)
class ToyView:
    camera: Camera
    labels: Tensor  # [H, W]
    valid: Tensor | None = None  # [H, W] bool
    name: str = "toy"

    def label_map(self) -> Tensor:
        return self.labels

    def valid_mask(self) -> Tensor | None:
        return self.valid


@dataclass(frozen=True)
class BlankView:
    camera: Camera

    def label_map(self) -> None:
        return None


def toy_views(count: int = 6, labels: int = 4) -> list[ToyView]:
    """Views of a cloud from several sides, of two sizes, with blobs of labels."""
    views = []
    for number in range(count):
        width, height = ((48, 40), (33, 29))[number % 2]
        seen_from = camera(
            width, height, focal=(30.0, 30.0), turn=0.1 * (number - 2), shift=(0.1 * number - 0.3, 0.05 * number, 0.3)
        )
        views.append(ToyView(seen_from, label_map(seen_from, labels, seed=number), name=f"toy{number}"))
    return views


def toy_splats(count: int = 150, seed: int = 7) -> Splats:
    return cloud(count, seed, size=0.15, degree=0)


def votes_of(
    rows: Sequence[Sequence[float]],  # [N, L] masses
    ids: Sequence[int],
    seen: Sequence[float] | None = None,  # [N], the sums of the rows by default
) -> Votes:
    """Votes written as a matrix."""
    total = VoteSum(len(rows), ids)
    total.add(view_votes(torch.tensor(rows, dtype=torch.float64), torch.tensor(ids), seen))
    return total.votes()


def view_votes(matrix: Tensor, ids: Tensor, seen: Sequence[float] | None = None) -> ViewVotes:
    """What an engine would give for a matrix [N, L] of masses."""
    row, column = matrix.nonzero(as_tuple=True)
    offsets = torch.nn.functional.pad(torch.bincount(row, minlength=len(matrix)).cumsum(0), (1, 0))
    summed = matrix.sum(dim=1) if seen is None else torch.tensor(seen, dtype=matrix.dtype)
    return ViewVotes(ids, offsets, column, matrix[row, column], summed)


def random_view_votes(count: int, ids: Sequence[int], seed: int) -> ViewVotes:
    """Sparse float32 masses over many orders of magnitude."""
    random = generator(seed)
    matrix = torch.exp(4 * torch.randn(count, len(ids), generator=random))
    matrix *= torch.rand(count, len(ids), generator=random) < 0.3
    return view_votes(matrix.float(), torch.tensor(ids))


def identical(left: Votes, right: Votes) -> bool:
    """The same in every bit."""
    return all(
        getattr(left, name).dtype == getattr(right, name).dtype
        and torch.equal(getattr(left, name), getattr(right, name))
        for name in vars(left)
    )
