"""Adds up votes, one view after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.lift.votes import GRID, Votes, as_ids, column_of
from splatseg_ns.raster import ViewVotes

_LEAST_WAITING = 1 << 18


class VoteSum:
    """A running sum of votes, held as ascending keys ``row * L + column`` and their mass.

    Most entries of a view were there before and are added in place. New ones wait until they are half as many as the
    old, so that merging costs a constant factor in all. The scratch of a view is proportional to its own entries and
    to N, never to N x L.
    """

    # In numpy: between views, short steps on torch's threads would fight over the cores with those of the engine.

    def __init__(self, count: int, ids: Sequence[int] | Tensor) -> None:
        """``count`` Gaussians; votes for labels that are not among ``ids`` count for ``seen`` alone."""
        self.ids = as_ids(ids)
        self._keys = np.zeros(0, dtype=np.int64)
        self._mass = np.zeros(0)
        self._seen = np.zeros(count)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, votes: Votes | ViewVotes) -> None:
        """Add one view, or the sum of several."""
        if len(votes.seen) != len(self._seen):
            raise ValueError(f"votes of {len(votes.seen)} Gaussians cannot be added to those of {len(self._seen)}")
        self._seen += _on_grid(votes.seen)
        column = column_of(self.ids, votes.ids.cpu()).numpy()[votes.columns.cpu().numpy()]
        mass = _on_grid(votes.mass)
        keys = _rows(votes.offsets) * len(self.ids) + column
        kept = (column >= 0) & (mass > 0)
        if not kept.all():
            keys, mass = keys[kept], mass[kept]
        if len(self._keys):
            place = np.searchsorted(self._keys, keys)
            known = self._keys.take(place, mode="clip") == keys
            self._mass[place[known]] += mass[known]
            keys, mass = keys[~known], mass[~known]
        self._waiting.append((keys, mass))
        if sum(len(waiting) for waiting, _ in self._waiting) > max(_LEAST_WAITING, len(self._keys) // 2):
            self._merge()

    def votes(self) -> Votes:
        """The sum so far."""
        self._merge()
        width = max(len(self.ids), 1)
        entries_of_row = np.bincount(self._keys // width, minlength=len(self._seen))
        return Votes(
            self.ids,
            torch.from_numpy(np.concatenate([[0], entries_of_row.cumsum()])),
            torch.from_numpy((self._keys % width).astype(np.int32)),
            torch.from_numpy(self._mass.copy()),
            torch.from_numpy(self._seen.copy()),
        )

    def _merge(self) -> None:
        if not self._waiting:
            return
        waiting = np.concatenate([keys for keys, _ in self._waiting])
        keys, place = np.unique(waiting, return_inverse=True)
        mass = np.bincount(place, np.concatenate([mass for _, mass in self._waiting]), minlength=len(keys))
        self._waiting = []
        # Both lists ascend and share no key: each entry moves up by how many of the other list come before it.
        moved = np.searchsorted(keys, self._keys) + np.arange(len(self._keys))
        inserted = np.searchsorted(self._keys, keys) + np.arange(len(keys))
        self._keys = _merged(self._keys, moved, keys, inserted)
        self._mass = _merged(self._mass, moved, mass, inserted)


def _merged(old: np.ndarray, moved: np.ndarray, new: np.ndarray, inserted: np.ndarray) -> np.ndarray:
    """Both lists in one, each entry at its place."""
    merged = np.empty(len(old) + len(new), dtype=old.dtype)
    merged[moved], merged[inserted] = old, new
    return merged


def _rows(offsets: Tensor) -> np.ndarray:  # [M] int64
    """The Gaussian of each entry."""
    counts = np.diff(offsets.cpu().numpy())
    return np.repeat(np.arange(len(counts)), counts)


def _on_grid(mass: Tensor) -> np.ndarray:  # float64
    """The mass rounded to multiples of GRID; sums of such are left as they are."""
    scaled = mass.detach().cpu().numpy() * (1.0 / GRID)
    return np.rint(scaled, out=scaled).astype(np.float64) * GRID
