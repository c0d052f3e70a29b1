"""Where a canvas shows what, and how much of it has changed."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from splatseg_ns.scene import View

SEEN, UNSEEN = 15.0, 3.0
"""Grey levels in the mean: a difference that everybody sees, and one that nobody does. viser's client itself makes one
of 1.3 when the first thing is put into the scene."""

EVERYWHERE = slice(None)


def area_of(
    view: View,
    id: int,
    canvas: np.ndarray,  # [H, W, 3]
    grown: int = 0,
) -> np.ndarray:  # [H, W] bool
    """Where it shows an object, as seen from where a picture was taken; larger by some pixels, or smaller."""
    labels = view.label_map()
    assert labels is not None and bool((labels == id).any()), f"{view.name} does not show object {id}"
    height, width = canvas.shape[:2]
    area = np.asarray(Image.fromarray((labels == id).numpy()).resize((width, height), Image.Resampling.NEAREST))
    if grown:
        area = (ndimage.binary_dilation if grown > 0 else ndimage.binary_erosion)(area, iterations=abs(grown))
    return area


def change(
    before: np.ndarray,  # [H, W, 3]
    after: np.ndarray,  # [H, W, 3]
    where: np.ndarray | slice = EVERYWHERE,  # [H, W] bool
) -> float:
    """The difference of two canvases, in grey levels, in the mean."""
    return float(np.abs(before[where].astype(float) - after[where]).mean())


def changed_share(
    before: np.ndarray,  # [H, W, 3]
    after: np.ndarray,  # [H, W, 3]
    where: np.ndarray,  # [H, W] bool
) -> float:
    """How many of the pixels there look different."""
    return float((np.abs(before[where].astype(float) - after[where]).mean(axis=-1) > SEEN).mean())
