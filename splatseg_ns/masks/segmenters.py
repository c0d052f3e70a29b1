"""Segmenters by name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from splatseg_ns.masks.segmenter import Segmenter

SegmenterName = Literal["mobile-sam", "sam", "sam2"]


def segmenter_named(
    name: SegmenterName,
    checkpoint: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Segmenter:
    """MobileSAM, which needs no checkpoint; Segment Anything from a file; SAM 2 from a folder or its hub."""
    # Each of them takes seconds to load what it needs.
    if name == "mobile-sam":
        from splatseg_ns.masks.sam import mobile_sam

        if checkpoint is not None:
            raise ValueError(f"mobile-sam brings its weights; for those of {checkpoint} choose sam or sam2")
        return mobile_sam(device)
    if name == "sam":
        from splatseg_ns.masks.sam import sam

        return sam(checkpoint, device)
    if name == "sam2":
        from splatseg_ns.masks.sam2 import sam2

        return sam2(checkpoint, device)
    raise ValueError(f"no segmenter is called {name!r}; there are mobile-sam, sam and sam2")
