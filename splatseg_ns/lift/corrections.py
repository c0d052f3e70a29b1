"""How many masks were put right, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import torch

from splatseg_ns.lift.distributed import Ranks
from splatseg_ns.lift.mask_reading import Verdict


@dataclass(frozen=True)
class Corrections:
    """A mask is one object in one view; one that was renamed may have been moved as well."""

    masks: int = 0
    """All that there are."""

    moved: int = 0
    """Their edges were off."""

    renamed: int = 0
    """They show another object."""

    left_out: int = 0
    """They fit nothing, and say nothing."""

    @staticmethod
    def of(verdicts: Iterable[Verdict]) -> Corrections:
        """Of one view."""
        verdicts = list(verdicts)
        return Corrections(
            masks=len(verdicts),
            moved=sum(verdict.shift != 0 for verdict in verdicts),
            renamed=sum(verdict.object not in (None, verdict.mask) for verdict in verdicts),
            left_out=sum(verdict.object is None for verdict in verdicts),
        )

    def __add__(self, other: Corrections) -> Corrections:
        return Corrections(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def over(self, ranks: Ranks) -> Corrections:
        """The sum of every rank's; all must call this."""
        return Corrections(*ranks.sum_tensor(torch.tensor(astuple(self))).tolist())
