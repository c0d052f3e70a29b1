"""What commands are given that ask a segmenter about pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.masks.embedding_cache import CachedSegmenter
from splatseg_ns.masks.segmenters import SegmenterName, segmenter_named


@dataclass(kw_only=True)
class SegmenterInputs(SceneInputs):
    """Splats, their capture, and what is asked about its pictures."""

    segmenter: SegmenterName = "mobile-sam"
    """What finds masks; mobile-sam comes with this program."""

    sam_checkpoint: Path | None = None
    """The weights for --segmenter sam, or the folder of a model for sam2."""

    def segmenter_model(self) -> CachedSegmenter:
        """The segmenter on the device; it reads no picture twice, in this run or a later one."""
        return CachedSegmenter(segmenter_named(self.segmenter, self.sam_checkpoint, self.torch_device()))
