"""Segmenters by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch

from splatseg_ns.masks.embedding_cache import CachedSegmenter
from splatseg_ns.masks.segmenter import Segmenter

CHECKPOINT_VARIABLE = "SPLATSEG_SAM_CHECKPOINT"
"""The environment variable that names a checkpoint of Segment Anything."""

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


def default_segmenter(device: torch.device | str = "cpu") -> CachedSegmenter:
    """Segment Anything if the user has named its checkpoint in the environment, else MobileSAM."""
    return CachedSegmenter(
        segmenter_named("sam" if os.environ.get(CHECKPOINT_VARIABLE) else "mobile-sam", None, device)
    )
