"""Runs of the bundled capture and its splats, which no test has to train."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from splatseg_ns.demo.bundle import MASKS, bundled_capture, bundled_splats
from splatseg_ns.demo.run import label_by_masks
from splatseg_ns.masks.folder import LabelFolder
from splatseg_ns.plugin.attach import attach_splats
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import one_torch_thread, rasterizer_for
from splatseg_ns.scene import View
from splatseg_ns.segmentation import Segmentation

HERE = bundled_capture().view("frame_00021")
"""From where panels look at the scene."""


def write_demo_run(folder: Path, document: Segmentation | None = None) -> Run:
    """A run in a folder that is not there yet, as ``splatseg attach`` makes it."""
    return Run.open(attach_splats(bundled_splats(), bundled_capture(), folder, document))


def viewer_of(run: Run) -> list[str]:
    """The command. No training cameras are drawn: they are in the way where pictures are compared, and take clicks."""
    return ["ns-viewer", "--load-config", str(run.folder / "config.yml"), "--viewer.max-num-display-images", "0"]


@one_torch_thread()
def demo_document() -> Segmentation:
    """The objects that ``splatseg label`` makes of the bundled masks."""
    capture = bundled_capture()
    masks = LabelFolder.open(MASKS, capture.names)
    return label_by_masks(rasterizer_for("cpu"), bundled_splats(), capture.with_split("train"), masks)


def inside_of(view: View, id: int) -> tuple[int, int]:
    """The column and row of the pixel that is deepest inside an object, in the true masks of a bundled picture."""
    labels = view.label_map()
    assert labels is not None and bool((labels == id).any()), f"{view.name} does not show object {id}"
    depth = cv2.distanceTransform((labels == id).numpy().astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(column), int(row)
