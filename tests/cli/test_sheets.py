"""Pictures side by side on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from splatseg_ns.cli.sheets import write_sheet


def test_pictures_stand_beside_each_other_in_folders_of_their_own(tmp_path: Path):
    left, right = torch.full((2, 3, 3), 10, dtype=torch.uint8), torch.full((2, 4, 3), 200, dtype=torch.uint8)
    write_sheet(tmp_path / "sheets", "left/view_01", [left, right])
    found = np.array(Image.open(tmp_path / "sheets" / "left" / "view_01.png"))
    assert found.shape == (2, 7, 3) and (found[:, :3] == 10).all() and (found[:, 3:] == 200).all()
