"""A run of Nerfstudio as the scene of a command. Whoever imports this waits seconds for Nerfstudio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import CONFIG_FILE
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, RenderProfile, Splats
from splatseg_ns.segmentation import SegmentationStore
from splatseg_ns.segmentation.frames import Frame


@dataclass(frozen=True)
class RunScene:
    """The splats of a run's newest checkpoint, and the pictures it was trained on, in the poses it trained."""

    run: Run

    @staticmethod
    def open(config_file: Path, data: Path | None) -> RunScene:
        """The run of a config.yml, with its capture elsewhere if that is said."""
        return RunScene(Run.open(config_file, data))

    @property
    def file(self) -> Path:
        """config.yml."""
        return self.run.folder / CONFIG_FILE

    @property
    def data(self) -> Path:
        """Where the capture is now."""
        return self.run.data

    @property
    def store(self) -> SegmentationStore:
        """Beside config.yml."""
        return self.run.store

    def splats(self, profile: RenderProfile) -> Splats:
        """With the render profile that they were trained with, whatever another file says."""
        return self.run.splats()

    def capture(self) -> Capture:
        """Where the splats are."""
        return self.run.capture()

    def frame(self, rasterizer: Rasterizer, splats: Splats, capture: Capture) -> Frame:
        """Nothing is left to move."""
        return Frame("the run's", torch.eye(4, dtype=torch.float64))

    def to_world(self, frame: Frame) -> Tensor:  # [4, 4]
        """What the run's dataparser did, undone."""
        return torch.linalg.inv(self.run.frame().from_capture)
