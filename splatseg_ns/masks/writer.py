"""Label maps written so that this project and others can read them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from torch import Tensor

from splatseg_ns.masks.label_file import PICTURE_SUFFIXES
from splatseg_ns.masks.label_name import LabelName, write_label_names
from splatseg_ns.scene import IGNORED, atomic_write


def write_label_folder(
    folder: str | Path,
    maps: Iterable[tuple[str, Tensor]],  # names of views and [H, W] integer
    names: Iterable[LabelName],
    ignore: int | None = None,
) -> None:
    """A label map per view, and labels.json after all of them; ``LabelFolder`` takes the folder back."""
    folder = Path(folder)
    for view, label_map in maps:
        write_label_map(folder, view, label_map, ignore)
    folder.mkdir(parents=True, exist_ok=True)
    write_label_names(folder / "labels.json", names)


def write_label_map(
    folder: str | Path,
    view: str,
    label_map: Tensor,  # [H, W] integer
    ignore: int | None = None,
) -> Path:
    """The map as grey PNG of 8 or 16 bits, or as NPY if an id needs more.

    Ignored pixels are written as the value ``ignore``, by which the reader will know them.
    """
    path = _path_of(Path(folder), view)
    ids = label_map.cpu().numpy().astype(np.int64)
    if (ids == IGNORED).any():
        if ignore is None:
            raise ValueError(f"{path}: the map of view {view} has ignored pixels; say which value stands for them")
        ids = np.where(ids == IGNORED, ignore, ids)
    if ids.size and ids.min() < 0:
        raise ValueError(f"{path}: the map of view {view} holds {ids.min()}; ids are 0 or more")
    highest = int(ids.max(initial=0))
    content = io.BytesIO()
    if highest > np.iinfo(np.uint16).max:
        suffix = ".npy"
        np.save(content, ids.astype(np.int32) if highest <= np.iinfo(np.int32).max else ids)
    else:
        suffix = ".png"
        Image.fromarray(ids.astype(np.uint8 if highest <= 255 else np.uint16)).save(content, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(path.name + suffix)
    with atomic_write(written) as stream:
        stream.write(content.getvalue())
    for other in PICTURE_SUFFIXES:
        if other != suffix:
            path.with_name(path.name + other).unlink(missing_ok=True)
    return written


def _path_of(folder: Path, view: str) -> Path:
    """Where the map of a view belongs, still without suffix."""
    parts = PurePosixPath(view).parts
    if not parts or view.startswith("/") or ".." in parts or "\\" in view or "\0" in view:
        raise ValueError(f"{view!r} is no name of a view below {folder}; use a relative path")
    return folder.joinpath(*parts)
