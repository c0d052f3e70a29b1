"""Pictures whose pixels are object ids."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LABEL_MAP_SUFFIXES = (".png", ".npy")
"""What label maps are looked for as, in this order."""

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
    """The label map of each view that has one: under the view's name, else under the last part of it if unique."""
    folder = Path(folder)
    files: dict[str, Path] = {}
    for suffix in LABEL_MAP_SUFFIXES:
        for path in sorted(folder.rglob(f"*{suffix}")):
            files.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    file_stems, view_stems = _by_last_part(list(files)), _by_last_part(names)
    found = {}
    for name in names:
        stem = name.rpartition("/")[2]
        if name in files:
            found[name] = files[name]
        elif len(view_stems[stem]) == 1 and len(file_stems.get(stem, [])) == 1:
            found[name] = files[file_stems[stem][0]]
    return found


def _by_last_part(names: list[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("/")[2], []).append(name)
    return groups


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
