"""The parameters of splats while they are fitted: copies that collect gradients, and what changes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from splatseg_ns.scene import Splats

Leaves = dict[str, Tensor]
"""By parameter name; harmonics in two parts, ``constant`` and ``higher``, that learn at their own rates."""


def leaves_of(splats: Splats) -> Leaves:
    """Copies of the parameters that collect gradients."""
    parts = {**splats.tensors(), "constant": splats.sh[:, :1], "higher": splats.sh[:, 1:]}
    # A learning rate means an angle only for quaternions of length one.
    parts["raw_quats"] = splats.quats
    del parts["sh"]
    return {name: part.detach().clone().requires_grad_() for name, part in parts.items()}


def assembled(splats: Splats, leaves: Leaves) -> Splats:
    """The splats with the parameters as they are now."""
    own = {name: leaf for name, leaf in leaves.items() if name not in ("constant", "higher")}
    return replace(splats, **own, sh=torch.cat([leaves["constant"], leaves["higher"]], dim=1))


@torch.no_grad()
def detached(splats: Splats, leaves: Leaves) -> Splats:
    """The same, for good."""
    return assembled(splats, {name: leaf.detach() for name, leaf in leaves.items()})


def optimizer_of(
    leaves: Leaves,
    rates: Mapping[str, float],
    steps: int,
    last_rate: float,
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    """Adam with a learning rate for each leaf; all fall as a cosine does, to a share ``last_rate`` at the last step."""
    # Gradients of a mean over pixels are tiny; Adam's usual epsilon would drown them.
    optimizer = torch.optim.Adam([{"params": [leaves[name]], "lr": rate} for name, rate in rates.items()], eps=1e-15)

    def share_of_rate(step: int) -> float:
        fallen = 0.5 - 0.5 * math.cos(math.pi * step / steps)
        return 1.0 - (1.0 - last_rate) * fallen

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_rate)
