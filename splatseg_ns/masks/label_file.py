"""Single files that hold ids or the mask of one object."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.scene import IGNORED, read_label_map

PICTURE_SUFFIXES = (".png", ".npy", ".npz")
"""Files with one number per pixel."""

_PNG_DEPTH_BYTE = 24


def read_ids(path: Path, ignore: int | None = None) -> Tensor:  # [H, W] int32
    """The ids in a PNG, NPY or NPZ file, ``IGNORED`` where the file holds the value ``ignore``.

    Grey values and palette indices are ids as stored. Of colours, R + 256 G + 65536 B is the id, unless all three are
    equal everywhere: such a picture is grey.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        ids = _read_npz(path)
    elif suffix == ".png" and _has_channels(path):
        ids = _read_colors(path)
    else:
        ids = read_label_map(path)
    ignored = torch.zeros_like(ids, dtype=torch.bool) if ignore is None else ids == ignore
    negative = ids[(ids < 0) & ~ignored]
    if len(negative):
        raise ValueError(f"{path}: holds the id {int(negative.min())}; ids are 0 or more, unless named as ignored")
    return torch.where(ignored, IGNORED, ids)


def read_object_mask(path: Path, ignore: int | None = None) -> Tensor:  # [H, W] int32
    """The mask of one object: 1 where the file is not zero, ``IGNORED`` where it holds the value ``ignore``."""
    ids = read_ids(path, ignore)
    values = ids[ids > 0].unique()
    if len(values) > 1:
        raise ValueError(
            f"{path}: the mask of one object has two values, this one {len(values) + 1}; "
            f"make it black and white, or, if it holds ids of several objects, give the folder {path.parent} instead"
        )
    return ids.clamp(max=1)


def _has_channels(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return len(picture.getbands()) > 1
    except OSError:
        # The reader of grey pictures says what is wrong with the file.
        return False


def _read_colors(path: Path) -> Tensor:  # [H, W] int32
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            channels = np.array(picture.convert("RGBA"), np.int32)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: no readable PNG ({error}); save the label map again") from error
    with path.open("rb") as stream:
        depth = stream.read(_PNG_DEPTH_BYTE + 1)[_PNG_DEPTH_BYTE]
    if depth > 8:
        raise ValueError(f"{path}: a picture of mode {mode} with {depth} bits per channel; ids are read from 8")
    red, green, blue, alpha = np.moveaxis(channels, -1, 0)
    if (alpha != 255).any():
        raise ValueError(f"{path}: is transparent in places, so its ids are in doubt; save it without alpha")
    is_grey = (red == green).all() and (green == blue).all()
    return torch.from_numpy(red if is_grey else red + 256 * green + 65536 * blue)


def _read_npz(path: Path) -> Tensor:  # [H, W] int32
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: no readable NPZ archive ({error}); save it again with numpy.savez") from error
    maps = [array for array in arrays.values() if array.ndim == 2 and array.dtype.kind in "biu"]
    if len(maps) != 1:
        found = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in arrays.items()) or "nothing"
        raise ValueError(f"{path}: a label map is the only [H, W] array of integers in its archive, found {found}")
    if maps[0].size and int(maps[0].max()) > np.iinfo(np.int32).max:
        raise ValueError(f"{path}: holds the id {maps[0].max()}, which does not fit into 32 bits; renumber the ids")
    return torch.from_numpy(maps[0].astype(np.int32))
