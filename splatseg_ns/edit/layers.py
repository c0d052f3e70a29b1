"""The layer beside the one that is worked on, when some Gaussians become a scene of their own."""

from __future__ import annotations

from torch import Tensor

from splatseg_ns.edit.added import with_added
from splatseg_ns.edit.part import part_of
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import Segmentation


def remaining_layer(
    layer: Segmentation,
    splats: Splats,
    rows: Tensor,  # [N] bool
    added: Splats | None = None,
) -> Segmentation:
    """A layer of the Gaussians that stay, and of new ones: all in it that still has some of them."""
    present = set(layer.labels[rows].unique().tolist())
    part, kept = part_of(layer, splats, rows, [id for id in layer.ids if id in present])
    return kept if added is None else with_added(part, kept, added)[1]
