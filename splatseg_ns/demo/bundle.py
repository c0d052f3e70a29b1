"""The capture that comes with the package: a table with nine objects, CC0 (see its README)."""

from __future__ import annotations

from pathlib import Path

from splatseg_ns.scene import Capture, Splats, read_ply

FOLDER = Path(__file__).parent / "capture"
MASKS = FOLDER / "labels"
SPLATS = FOLDER / "splats.ply"


def bundled_capture() -> Capture:
    """Views with pictures and label maps; 48 for training, 12 held out."""
    return Capture.load(FOLDER)


def bundled_splats() -> Splats:
    """Splats in the frame of the capture."""
    return read_ply(SPLATS)
