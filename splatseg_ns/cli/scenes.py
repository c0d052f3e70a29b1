"""Where the splats of a command come from: a .ply file, or a run of Nerfstudio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, RenderProfile, Splats, read_ply
from splatseg_ns.segmentation import SegmentationStore
from splatseg_ns.segmentation.frames import DATAPARSER_FILE, Frame, find_frame, read_dataparser_transforms


class Scene(Protocol):
    """Splats, the capture that they show, and where their segmentation is kept."""

    @property
    def file(self) -> Path:
        """What names the splats in messages."""
        ...

    @property
    def data(self) -> Path | None:
        """Where the capture is, if there is one."""
        ...

    @property
    def store(self) -> SegmentationStore:
        """Where their segmentation is kept unless the command says otherwise."""
        ...

    def splats(self, profile: RenderProfile) -> Splats:
        """All Gaussians, on the CPU; a scene that knows their render profile takes no other."""
        ...

    def capture(self) -> Capture:
        """The pictures, in their own frame."""
        ...

    def frame(self, rasterizer: Rasterizer, splats: Splats, capture: Capture) -> Frame:
        """From the frame of that capture to that of the splats."""
        ...

    def to_world(self, frame: Frame) -> Tensor:  # [4, 4]
        """From the frame of the splats to that of the cameras in the capture's files."""
        ...


@dataclass(frozen=True)
class PlyScene:
    """Splats in a file, and a capture that is looked at to find out where they are."""

    file: Path
    data: Path | None
    dataparser_transforms: Path | None

    @property
    def store(self) -> SegmentationStore:
        """Beside the file."""
        return SegmentationStore(segmentation_beside(self.file))

    def splats(self, profile: RenderProfile) -> Splats:
        """Those of the file."""
        return read_ply(self.file, profile=profile)

    def capture(self) -> Capture:
        """The capture of ``--data``."""
        if self.data is None:
            raise ValueError("which pictures? give --data with a transforms.json, its folder or a COLMAP folder")
        return Capture.load(self.data)

    def frame(self, rasterizer: Rasterizer, splats: Splats, capture: Capture) -> Frame:
        """The frame of the splats, found by looking at three pictures."""
        path = self.dataparser_transforms
        if path is None and (beside := self.file.with_name(DATAPARSER_FILE)).is_file():
            path = beside
        dataparser = read_dataparser_transforms(path) if path is not None else None
        return find_frame(rasterizer, splats, capture, dataparser).frame

    def to_world(self, frame: Frame) -> Tensor:  # [4, 4]
        """Back into the capture's frame."""
        return torch.linalg.inv(frame.from_capture)


def segmentation_beside(ply: Path) -> Path:
    """The folder of the segmentation that belongs to a .ply."""
    return ply.with_name(f"{ply.stem}.segmentation")
