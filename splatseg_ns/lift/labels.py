"""What the solvers decide: one label for each Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from splatseg_ns.scene import BACKGROUND

UNSEEN = -1
"""No view says anything about the Gaussian."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The label of each Gaussian, and how clear the decision was."""

    ids: Tensor  # [N] int64: -1 never seen, 0 background, k >= 1 objects
    margin: Tensor  # [N] float64 in [0, 1], the lead over the second best as a share of what was seen

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, label: int) -> Tensor:  # [N] bool
        """Which Gaussians have this label."""
        return self.ids == label

    @property
    def objects(self) -> Tensor:  # [K] int64
        """The objects that have at least one Gaussian, ascending."""
        return self.ids[self.ids > BACKGROUND].unique()

    def shares_of(self, ids: Tensor) -> Tensor:  # [N, C] float64
        """1 where a Gaussian has the label, else 0."""
        return (self.ids[:, None] == ids).double()
