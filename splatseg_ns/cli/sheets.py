"""Pictures of a view side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.scene import atomic_write


def write_sheet(
    folder: Path,
    name: str,
    pictures: Sequence[Tensor],  # each [H, W, 3] uint8
) -> None:
    """Write them into a folder, as one .png of this name."""
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        Image.fromarray(torch.cat(list(pictures), dim=1).numpy()).save(stream, format="png")
