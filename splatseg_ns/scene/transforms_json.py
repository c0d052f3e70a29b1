"""Captures in nerfstudio's format: a transforms.json beside its pictures."""

from __future__ import annotations

import json
import math
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.scene.capture import Capture
from splatseg_ns.scene.ply import read_points_ply
from splatseg_ns.scene.undistort import LENS_PARAMETERS, Lens
from splatseg_ns.scene.view import Split, View, view_names

TRAIN_FRACTION = 0.9
"""The part of the frames that nerfstudio trains on where a capture does not say which."""

_COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
"""In the order of ``distortion_params``."""

_OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0])

# What ns-process-data did to COLMAP's frame before it began to write applied_transform.
_UNWRITTEN_TRANSFORM = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]


def read_transforms_json(path: str | Path) -> Capture:
    """The capture a transforms.json describes, split as nerfstudio splits it.

    With lists of file names a frame is of the first of train, test and val that names it, and left out if none does.
    Without lists nine tenths are train and the others, evenly spaced, test.
    """
    path = Path(path)
    try:
        return _capture_of(json.loads(path.read_text(encoding="utf-8")), path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no valid JSON ({error}); repair or make it again with ns-process-data") from error


def _capture_of(meta: Any, path: Path) -> Capture:
    if not isinstance(meta, dict) or not isinstance(meta.get("frames"), list) or not meta["frames"]:
        raise ValueError(f"{path}: has no list of 'frames'; is it a nerfstudio transforms.json?")
    folder = path.parent
    frames: dict[Path, Mapping[str, Any]] = {}
    for number, frame in enumerate(meta["frames"]):
        if not isinstance(frame, dict) or not {"file_path", "transform_matrix"} <= frame.keys():
            raise ValueError(f"{path}: frame {number} lacks file_path or transform_matrix; add it or remove the frame")
        picture = _picture_path(folder, frame["file_path"])
        if picture in frames:
            raise ValueError(f"{path}: two frames have the picture {frame['file_path']}; remove one")
        frames[picture] = frame
    pictures = sorted(frames)
    splits = _splits(meta, pictures, path)
    common_folder = _common_folder(pictures)
    names = view_names([picture.relative_to(common_folder) for picture in pictures])
    views = [
        _view_of(name, splits[picture], picture, frames[picture], meta, path)
        for name, picture in zip(names, pictures, strict=True)
        if picture in splits
    ]
    seeds = meta.get("ply_file_path")
    return Capture(
        folder=folder,
        views=tuple(views),
        seed_source=partial(read_points_ply, folder / seeds) if seeds else None,
        applied_transform=_applied_transform(meta, folder),
        applied_scale=float(meta.get("applied_scale", 1.0)),
    )


def _picture_path(folder: Path, file_path: str) -> Path:
    """The path of a frame's picture; old captures leave out the suffix of their PNGs."""
    path = folder / file_path
    return path if path.suffix else path.with_suffix(".png")


def _common_folder(paths: Sequence[Path]) -> Path:
    parents = [path.parent.parts for path in paths]
    count = 0
    for parts in zip(*parents, strict=False):
        if len(set(parts)) > 1:
            break
        count += 1
    return Path(*parents[0][:count])


def _splits(meta: Mapping[str, Any], pictures: Sequence[Path], path: Path) -> dict[Path, Split]:
    """The split of each picture that takes part, the pictures being sorted."""
    order: tuple[Split, ...] = ("train", "test", "val")
    if not any(f"{split}_filenames" in meta for split in order):
        train = np.linspace(0, len(pictures) - 1, math.ceil(TRAIN_FRACTION * len(pictures)), dtype=int)
        return {picture: "train" if number in train else "test" for number, picture in enumerate(pictures)}
    known = set(pictures)
    splits: dict[Path, Split] = {}
    for split in order:
        for file_path in meta.get(f"{split}_filenames", []):
            picture = _picture_path(path.parent, file_path)
            if picture not in known:
                raise ValueError(f"{path}: {split}_filenames names {file_path}, which no frame has; correct the list")
            splits.setdefault(picture, split)
    return splits


def _view_of(
    name: str, split: Split, picture: Path, frame: Mapping[str, Any], meta: Mapping[str, Any], path: Path
) -> View:
    # What is stated for all frames comes first, as in nerfstudio.
    values = ChainMap(dict(meta), dict(frame))
    try:
        width, height = _picture_size(values, picture)
        mask = frame.get("mask_path")
        return View(
            name=name,
            split=split,
            viewmat=_viewmat_of(frame["transform_matrix"]),
            lens=_lens_of(values, width, height),
            width=width,
            height=height,
            image_path=picture,
            mask_path=path.parent / mask if mask else None,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: frame {frame['file_path']}: {error}") from error


def _picture_size(values: Mapping[str, Any], picture: Path) -> tuple[int, int]:
    """Width and height as stated, else from the header of the picture."""
    if "w" in values and "h" in values:
        return int(values["w"]), int(values["h"])
    with Image.open(picture) as image:
        return image.size


def _lens_of(values: Mapping[str, Any], width: int, height: int) -> Lens:
    model = values.get("camera_model", "OPENCV")
    if model not in LENS_PARAMETERS:
        raise ValueError(f"camera_model {model!r} is not supported; use one of {', '.join(LENS_PARAMETERS)}")
    if "fl_x" in values:
        fx = float(values["fl_x"])
    elif "camera_angle_x" in values:
        fx = 0.5 * width / math.tan(0.5 * float(values["camera_angle_x"]))
    else:
        raise ValueError("no focal length; state fl_x or camera_angle_x")
    if "fl_y" in values:
        fy = float(values["fl_y"])
    elif "camera_angle_y" in values:
        fy = 0.5 * height / math.tan(0.5 * float(values["camera_angle_y"]))
    else:
        fy = fx
    stated = values.get("distortion_params", [values.get(name, 0.0) for name in _COEFFICIENTS])
    if len(stated) != len(_COEFFICIENTS):
        raise ValueError(f"distortion_params must hold {', '.join(_COEFFICIENTS)}, got {len(stated)} numbers")
    return Lens(
        fx=fx,
        fy=fy,
        cx=float(values.get("cx", 0.5 * width)),
        cy=float(values.get("cy", 0.5 * height)),
        **{name: float(value) for name, value in zip(_COEFFICIENTS, stated, strict=True)},
        kind="fisheye" if model.endswith("FISHEYE") else "perspective",
    )


def _viewmat_of(transform_matrix: Any) -> Tensor:  # [4, 4] float32
    """World to camera in OpenCV axes from camera to world in OpenGL axes."""
    pose = np.asarray(transform_matrix, dtype=np.float64)
    if pose.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"transform_matrix must be 4x4 or 3x4, got shape {list(pose.shape)}")
    rotation = pose[:3, :3] @ _OPENGL_TO_OPENCV
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0.0:
        raise ValueError("transform_matrix is no rotation and translation; remove its scale or mirroring")
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation.T
    viewmat[:3, 3] = -rotation.T @ pose[:3, 3]
    return torch.from_numpy(viewmat).float()


def _applied_transform(meta: Mapping[str, Any], folder: Path) -> Tensor:  # [3, 4]
    if "applied_transform" in meta:
        return torch.tensor(meta["applied_transform"], dtype=torch.float32)[:3]
    if (folder / "colmap" / "sparse" / "0").is_dir():
        return torch.tensor(_UNWRITTEN_TRANSFORM, dtype=torch.float32)
    return torch.eye(4)[:3]
