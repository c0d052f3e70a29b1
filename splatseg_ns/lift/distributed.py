"""Several processes, each with its share of the views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from splatseg_ns.lift.vote_sum import VoteSum
from splatseg_ns.lift.votes import Votes


@dataclass(frozen=True)
class Ranks:
    """This process among its equals, as torch.distributed counts them."""

    rank: int
    count: int
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    """Where the backend takes tensors from."""

    @staticmethod
    def current() -> Ranks:
        """Those of the process group that was set up, else one rank alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return ONE_RANK
        cuda = "nccl" in dist.get_backend()
        device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
        return Ranks(dist.get_rank(), dist.get_world_size(), device)

    def share(self, count: int) -> range:
        """Which of ``count`` things are this rank's."""
        return range(self.rank, count, self.count)

    def sum_votes(self, votes: Votes) -> Votes:
        """The sum of every rank's votes, the same on every rank; all must call this.

        Ranks add up in pairs, pairs of pairs, and so on; the first then sends the sum to all.
        """
        step = 1
        while step < self.count:
            if self.rank % (2 * step) == step:
                _send(votes, self.rank - step, self.device)
                break
            if self.rank + step < self.count:
                total = VoteSum(len(votes), votes.ids)
                total.add(votes)
                total.add(_receive(votes, self.rank + step, self.device))
                votes = total.votes()
            step *= 2
        return votes if self.count == 1 else _broadcast(votes, self.device)

    def sum_tensor(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's tensor, on every rank; all must call this."""
        if self.count == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)


ONE_RANK = Ranks(0, 1)
"""A process on its own."""


def _parts(votes: Votes) -> list[Tensor]:
    """What differs between the votes of two ranks."""
    return [votes.offsets, votes.columns, votes.mass, votes.seen]


def _buffers(like: Votes, entries: int, device: torch.device) -> list[Tensor]:
    sizes = [len(like) + 1, entries, entries, len(like)]
    return [part.new_empty(size, device=device) for part, size in zip(_parts(like), sizes, strict=True)]


def _send(votes: Votes, to: int, device: torch.device) -> None:
    dist.send(torch.tensor([len(votes.mass)], device=device), to)
    for part in _parts(votes):
        dist.send(part.to(device), to)


def _receive(like: Votes, source: int, device: torch.device) -> Votes:
    entries = torch.zeros(1, dtype=torch.int64, device=device)
    dist.recv(entries, source)
    buffers = _buffers(like, int(entries), device)
    for buffer in buffers:
        dist.recv(buffer, source)
    return Votes(like.ids, *(buffer.cpu() for buffer in buffers))


def _broadcast(votes: Votes, device: torch.device) -> Votes:
    entries = torch.tensor([len(votes.mass)], device=device)
    dist.broadcast(entries, 0)
    if dist.get_rank() == 0:
        buffers = [part.to(device) for part in _parts(votes)]
    else:
        buffers = _buffers(votes, int(entries), device)
    for buffer in buffers:
        dist.broadcast(buffer, 0)
    return Votes(votes.ids, *(buffer.cpu() for buffer in buffers))
