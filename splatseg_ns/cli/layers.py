"""What commands are given that work on objects, or on parts of objects."""

from __future__ import annotations

from dataclasses import dataclass

from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import Segmentation, SegmentationStore


@dataclass(kw_only=True)
class LayerInputs(SceneInputs):
    """Splats, their capture and one layer of their segmentation."""

    parts: bool = False
    """Take the parts that 'splatseg transfer' has found for objects."""

    def store(self) -> SegmentationStore:
        """Where the layer is kept."""
        return super().store().parts if self.parts else super().store()

    def document(self) -> Segmentation:
        """The layer that was saved."""
        if self.parts and not self.store().exists():
            raise FileNotFoundError(
                f"{self.store().folder}: no parts are there; find some with 'splatseg transfer', or leave --parts out"
            )
        return super().document()

    def objects_beside(self, splats: Splats) -> Segmentation | None:
        """The objects to which the parts belong, if there are any."""
        beside = super().store()
        return beside.load(splats) if self.parts and beside.exists() else None
