"""Pictures whose pixels are object ids."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.scene.matching import match_names

LABEL_MAP_SUFFIXES = (".png", ".npy")
"""What label maps are looked for as, in this order."""

BACKGROUND = 0
"""The id of pixels, and the label of Gaussians, that belong to no object."""

IGNORED = -1
"""What label maps hold where a pixel is to count for nothing; whoever votes makes a pixel mask of it."""

_PNG_DEPTH_BYTE = 24


def read_label_map(path: str | Path) -> Tensor:  # [H, W] int32
    """The ids in a PNG of any bit depth (grey values or palette indices, as stored) or in an NPY file."""
    path = Path(path)
    if path.suffix.lower() == ".npy":
        ids = _read_npy(path)
    elif path.suffix.lower() == ".png":
        ids = _read_png(path)
    else:
        raise ValueError(f"{path}: label maps are read from {' and '.join(LABEL_MAP_SUFFIXES)} files; convert it")
    if ids.size and (ids.min() < np.iinfo(np.int32).min or ids.max() > np.iinfo(np.int32).max):
        raise ValueError(f"{path}: holds the id {ids.max()}, which does not fit into 32 bits; renumber the ids")
    return torch.from_numpy(ids.astype(np.int32))


def find_label_maps(
    folder: str | Path,
    names: list[str],
) -> dict[str, Path]:
    """The label map of each view that has one, as ``match_names`` finds it."""
    folder = Path(folder)
    files: dict[str, Path] = {}
    for suffix in LABEL_MAP_SUFFIXES:
        for path in sorted(folder.rglob(f"*{suffix}")):
            files.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return match_names(names, files)


def _read_npy(path: Path) -> np.ndarray:  # [H, W]
    try:
        ids = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no readable NPY array ({error}); save it again with numpy.save") from error
    if not isinstance(ids, np.ndarray) or ids.ndim != 2 or ids.dtype.kind not in "biu":
        found = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, np.ndarray) else "an archive"
        raise ValueError(f"{path}: a label map is an [H, W] array of integers, got {found}")
    return ids


def _read_png(path: Path) -> np.ndarray:  # [H, W]
    try:
        with Image.open(path) as picture:
            ids = np.array(picture)
            mode = picture.mode
    except OSError as error:
        if not path.exists():
            raise
        raise ValueError(f"{path}: no readable PNG ({error}); save the label map again") from error
    if ids.ndim != 2:
        raise ValueError(f"{path}: a picture of mode {mode}; a label map has one channel of ids, so save it as grey")
    depth = path.read_bytes()[_PNG_DEPTH_BYTE]
    if mode == "L" and depth < 8:
        # Pillow spreads 2- and 4-bit greys over 0..255.
        ids = ids // (255 // (2**depth - 1))
    return ids
