"""The sums of alpha * T by which every Gaussian belongs to labels, over any number of views."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.raster import ViewVotes
from splatseg_ns.scene import atomic_write

GRID = 2.0**-24
"""What one view adds is rounded to multiples of this, so that float64 adds without rounding.

The sums are then exact below 2**53 * GRID = 5e8 pixels per Gaussian and label. Exact sums are the same, bit for bit,
whatever the order of the views and however folds and ranks share them out. The rounding itself, 3e-8 of a pixel, is a
tenth of the least that a renderer draws: alpha 1/255 behind a transmittance of 1e-4.
"""

ROUNDING = 1e-5
"""Of two sums of one view over the same pixels, taken in another order, at most this fraction differs (float32)."""

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Votes:
    """For every Gaussian the mass of each label, as sparse rows, and the mass over all pixels that count (``seen``).

    12 bytes per entry (a Gaussian and a label that share a pixel) and 16 per Gaussian. A Gaussian touches few labels:
    with 5 million Gaussians, 500 labels and 5 entries in a row that is 380 MB, and 1.1 GB at the peak of summing.
    """

    ids: Tensor  # [L] int64, the label of each column, ascending
    offsets: Tensor  # [N + 1] int64, row n holds the entries offsets[n] : offsets[n + 1]
    columns: Tensor  # [M] int32, ascending in each row
    mass: Tensor  # [M] float64, > 0
    seen: Tensor  # [N] float64

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.seen) + 1 or int(self.offsets[-1]) != len(self.mass):
            raise ValueError(
                f"votes of {len(self.seen)} Gaussians with {len(self.mass)} entries need {len(self.seen) + 1} offsets "
                f"that end at {len(self.mass)}, got {len(self.offsets)}"
            )
        if len(self.columns) != len(self.mass):
            raise ValueError(f"each of {len(self.mass)} masses needs a column, got {len(self.columns)}")
        if bool((self.ids.diff() <= 0).any()):
            raise ValueError("the ids of votes must ascend")

    @staticmethod
    def zero(count: int, ids: Sequence[int] | Tensor) -> Votes:
        """Of no view: nothing has been seen."""
        return Votes(
            as_ids(ids),
            torch.zeros(count + 1, dtype=torch.int64),
            torch.zeros(0, dtype=torch.int32),
            torch.zeros(0, dtype=torch.float64),
            torch.zeros(count, dtype=torch.float64),
        )

    @staticmethod
    def of(view: ViewVotes) -> Votes:
        """Of one view."""
        from splatseg_ns.lift.vote_sum import VoteSum

        total = VoteSum(len(view.seen), view.ids)
        total.add(view)
        return total.votes()

    def __len__(self) -> int:
        return len(self.seen)

    def __add__(self, other: Votes) -> Votes:
        """Of the views of both; labels that only one of them knows keep its mass."""
        from splatseg_ns.lift.vote_sum import VoteSum

        total = VoteSum(len(self), torch.cat([self.ids, other.ids]).unique())
        total.add(self)
        total.add(other)
        return total.votes()

    @property
    def rows(self) -> Tensor:  # [M] int64
        """The Gaussian of each entry."""
        return torch.repeat_interleave(torch.arange(len(self)), self.offsets.diff())

    def of_rows(
        self,
        rows: Tensor,  # [R] int64
    ) -> Votes:
        """The votes of some Gaussians, in the given order."""
        offsets, chosen = self.offsets.numpy(), rows.numpy()
        counts = np.diff(offsets)[chosen]
        ends = counts.cumsum()
        entries = np.arange(counts.sum()) + np.repeat(offsets[chosen] - (ends - counts), counts)
        return Votes(
            self.ids,
            torch.from_numpy(np.concatenate([[0], ends])),
            torch.from_numpy(self.columns.numpy()[entries]),
            torch.from_numpy(self.mass.numpy()[entries]),
            self.seen[rows],
        )

    def column(self, label: int) -> Tensor:  # [N] float64
        """The mass of one label; zeros if it has no column."""
        return self.shares_of([label], of_seen=False)[:, 0]

    def dense(self) -> Tensor:  # [N, L] float64
        """The mass as a full matrix, for small scenes and few labels."""
        return self.shares_of(self.ids, of_seen=False)

    def shares_of(
        self,
        ids: Sequence[int] | Tensor,  # [C]
        *,
        of_seen: bool = True,
    ) -> Tensor:  # [N, C] float64
        """How much of what was seen of each Gaussian belongs to each of some labels; the mass if not ``of_seen``."""
        wanted = torch.as_tensor(ids, dtype=torch.int64)
        chosen = column_of(wanted, self.ids)[self.columns.long()]
        kept = chosen >= 0
        matrix = torch.zeros(len(self), len(wanted), dtype=torch.float64)
        matrix[self.rows[kept], chosen[kept]] = self.mass[kept]
        return matrix / self.seen.clamp_min(GRID)[:, None] if of_seen else matrix

    def share_of_each(
        self,
        labels: Tensor,  # [N] int64
    ) -> Tensor:  # [N] float64
        """How much of what was seen of each Gaussian belongs to its own label here; 0 if that has no column."""
        own = self.ids[self.columns.long()] == labels[self.rows]
        mass = torch.zeros_like(self.seen).index_add_(0, self.rows[own], self.mass[own])
        return mass / self.seen.clamp_min(GRID)

    def with_only(self, ids: Sequence[int] | Tensor) -> Votes:
        """The votes for some labels; those for others count for ``seen`` alone."""
        wanted = as_ids(ids)
        column = column_of(wanted, self.ids)[self.columns.long()]
        kept = column >= 0
        return _sorted_votes(wanted, self.rows[kept], wanted[column[kept]], self.mass[kept], self.seen)

    def relabelled(
        self,
        labels: Tensor,  # [M] int64, of each entry; in a row each at most once
        silent: Tensor | None = None,  # [M] bool, entries that count for nothing
    ) -> Votes:
        """The same entries for other labels; those that get -1 count for ``seen`` alone, or not even for that."""
        kept, seen = labels >= 0, self.seen
        if silent is not None:
            kept = kept & ~silent
            seen = seen.index_add(0, self.rows[silent], -self.mass[silent]).clamp_min(0.0)
        return _sorted_votes(labels[kept].unique(), self.rows[kept], labels[kept], self.mass[kept], seen)

    def with_share(
        self,
        label: int,
        share: Tensor,  # [N] float64 in [0, 1]
        seen: Tensor,  # [N] float64, where nothing was seen before
    ) -> Votes:
        """The votes with this share of each Gaussian for an object, in place of what it had.

        The background has what all objects leave. Nothing is taken from other objects: shares may overlap.
        """
        if label < 1:
            raise ValueError(f"shares are those of objects, whose labels are 1 or more, got {label}")
        total = torch.where(self.seen > 0, self.seen, _on_grid(seen))
        of_entry = self.ids[self.columns.long()]
        kept = (of_entry != label) & (of_entry != 0)
        given = _on_grid(share * total)
        objects = given.index_add(0, self.rows[kept], self.mass[kept])
        left = total - objects
        left = torch.where(left > ROUNDING * total, left, 0.0)
        everyone = torch.arange(len(self))
        rows = torch.cat([self.rows[kept], everyone, everyone])
        labels = torch.cat([of_entry[kept], torch.full_like(everyone, label), torch.zeros_like(everyone)])
        ids = torch.cat([self.ids, torch.tensor([0, label])]).unique()
        return _sorted_votes(ids, rows, labels, torch.cat([self.mass[kept], given, left]), total)

    def background(self) -> Tensor:  # [N] float64
        """The mass of label 0 and of the pixels whose label has no column."""
        listed = torch.zeros_like(self.seen).index_add_(0, self.rows, self.mass)
        unlisted = self.seen - listed
        return self.column(0) + torch.where(unlisted > ROUNDING * self.seen, unlisted, 0.0)

    def save(self, path: str | Path) -> None:
        """Write an .npz file, which is there whole or not at all."""
        arrays = {name: tensor.numpy() for name, tensor in vars(self).items()}
        with atomic_write(path) as stream:
            np.savez(stream, format=np.int64(FORMAT), **arrays)

    @staticmethod
    def load(path: str | Path) -> Votes:
        """Read what ``save`` wrote."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                if int(archive["format"]) != FORMAT:
                    raise ValueError(f"format {int(archive['format'])}, this version reads {FORMAT}")
                names = ("ids", "offsets", "columns", "mass", "seen")
                return Votes(*(torch.from_numpy(archive[name]) for name in names))
        except FileNotFoundError:
            raise
        except (ValueError, KeyError, EOFError, OSError, AttributeError, IndexError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: no readable votes ({error}); count them again") from error


def _sorted_votes(
    ids: Tensor,  # [L]
    rows: Tensor,  # [M], in any order
    labels: Tensor,  # [M], all of them among the ids
    mass: Tensor,  # [M], entries of none are left out
    seen: Tensor,  # [N]
) -> Votes:
    columns = torch.searchsorted(ids, labels)
    order = (rows * len(ids) + columns).argsort()
    order = order[mass[order] > 0]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), rows[order].bincount(minlength=len(seen)).cumsum(0)])
    return Votes(ids, offsets, columns[order].int(), mass[order], seen)


def _on_grid(mass: Tensor) -> Tensor:  # float64, shape of mass
    return (mass / GRID).round() * GRID


def as_ids(ids: Sequence[int] | Tensor) -> Tensor:  # [L] int64
    """Labels in ascending order; negative or repeated ones are errors."""
    ordered = torch.as_tensor(ids).to("cpu", torch.int64).sort().values
    if ordered.dim() != 1 or (len(ordered) and int(ordered[0]) < 0) or bool((ordered.diff() == 0).any()):
        raise ValueError(f"ids are different integers, 0 or more, got {ordered.tolist()}")
    return ordered


def column_of(
    ids: Tensor,  # [C] int64, in any order, without repetition
    labels: Tensor,  # any shape, integer
) -> Tensor:  # shape of labels, int64
    """The place of each label among the ids, -1 if it is not there."""
    if len(ids) == 0:
        return torch.full(labels.shape, -1, dtype=torch.int64, device=labels.device)
    ordered, order = ids.sort()
    labels = labels.to(ids.dtype)
    place = torch.searchsorted(ordered, labels).clamp_max(len(ids) - 1)
    return torch.where(ordered[place] == labels, order[place], -1)
