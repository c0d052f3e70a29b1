"""Votes kept apart in several parts, so that each can be judged by the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from splatseg_ns.lift.vote_sum import VoteSum
from splatseg_ns.lift.votes import Votes


@dataclass(frozen=True)
class Folds:
    """The votes of all views, in parts. The view at position p belongs to part p mod K."""

    parts: tuple[Votes, ...]

    def __len__(self) -> int:
        return len(self.parts)

    @cached_property
    def total(self) -> Votes:
        """Of all views."""
        return self.parts[0] if len(self) == 1 else add_up(len(self.parts[0]), self.parts[0].ids, self.parts)

    @cached_property
    def others(self) -> tuple[Votes, ...]:
        """For each part the votes of all views that are not in it."""
        count, ids = len(self.parts[0]), self.parts[0].ids
        return tuple(add_up(count, ids, self.parts[:place] + self.parts[place + 1 :]) for place in range(len(self)))


def add_up(count: int, ids: Tensor, parts: Sequence[Votes]) -> Votes:
    """The sum of any number of votes over the same Gaussians and labels."""
    total = VoteSum(count, ids)
    for part in parts:
        total.add(part)
    return total.votes()
