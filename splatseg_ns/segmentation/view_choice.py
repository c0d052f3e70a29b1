"""Which views of many are looked at, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from splatseg_ns.scene import Camera

_DIRECTION = 1.0
"""What turning by 60 degrees counts, in multiples of the spread of the cameras' places."""


def spread_out(cameras: Sequence[Camera]) -> list[int]:
    """All cameras in such an order that the first few are as different as few can be, however many these are.

    It begins with the one in the middle of all. Views that are taken from the front of this order, for this object and
    for that, are mostly the same ones: what is known of their pictures is used again.
    """
    if not cameras:
        return []
    stands = torch.stack([camera.position.cpu().double() for camera in cameras])
    looks = torch.stack([camera.viewmat[2, :3].cpu().double() for camera in cameras])
    middle = stands.mean(dim=0)
    spread = float((stands - middle).norm(dim=1).mean())
    places = torch.cat([stands / max(spread, 1e-12), _DIRECTION * looks], dim=1)
    return farthest_first(places, int((places - places.mean(dim=0)).norm(dim=1).argmin()))


def farthest_first(
    places: Tensor,  # [N, D]
    start: int,
) -> list[int]:
    """All places from one of them on, each next one as far away as can be from all before it."""
    chosen = [start]
    distance = (places - places[start]).norm(dim=1)
    while len(chosen) < len(places):
        # Those that have been chosen are never the farthest, even where several are one place.
        distance[chosen[-1]] = -1.0
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (places - places[chosen[-1]]).norm(dim=1))
    return chosen


def step_by_step(
    start: Sequence[Tensor],  # [3] each, directions from which the object is known
    directions: Sequence[Tensor],  # [3] each, directions from which it is to be looked at
) -> list[int]:
    """The directions in such an order that each is near to one before it."""
    if not directions:
        return []
    places = torch.stack(list(directions))
    known = torch.stack(list(start))
    distance = torch.cdist(places, known).min(dim=1).values
    order: list[int] = []
    for _ in directions:
        place = int(distance.argmin())
        order.append(place)
        distance = torch.minimum(distance, (places - places[place]).norm(dim=1))
        distance[order] = torch.inf
    return order
