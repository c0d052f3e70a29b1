"""Folders of label maps to test with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_ids(path: Path, ids: np.ndarray) -> None:
    """A PNG of the ids as grey values, of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8 if ids.max(initial=0) < 256 else np.uint16)).save(path)


def runs_of(mask: np.ndarray) -> list[int]:
    """The lengths of the runs of a mask, column by column, zeros first."""
    lengths, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return lengths


def compressed(lengths: list[int]) -> str:
    """Run lengths as COCO's string: differences from the one two before, in 5-bit groups of two's complement."""
    text = ""
    for place, length in enumerate(lengths):
        rest = length - lengths[place - 2] if place > 2 else length
        while True:
            group, rest = rest & 31, rest >> 5
            # Done once what is left only repeats the sign bit of the group.
            done = rest == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if done else 32))
            if done:
                break
    return text


def rle(mask: np.ndarray, compress: bool = False) -> dict:
    counts = runs_of(mask)
    return {"size": list(mask.shape), "counts": compressed(counts) if compress else counts}
