"""Captures that are COLMAP models, read by pycolmap."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.scene.capture import Capture
from splatseg_ns.scene.ply import SeedPoints
from splatseg_ns.scene.undistort import LENS_PARAMETERS, Lens
from splatseg_ns.scene.view import View, view_names

if TYPE_CHECKING:
    import pycolmap

_MODEL_FOLDERS = (".", "0", "sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse")
_PICTURE_FOLDER = "images"
_LEVELS_UP = 3
"""How far above the model the pictures may lie: colmap/sparse/0 is the deepest of the usual places."""


def find_model(folder: str | Path) -> Path | None:
    """The folder of the COLMAP model in or below this folder, in the usual places."""
    for place in _MODEL_FOLDERS:
        candidate = Path(folder) / place
        if any((candidate / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt")):
            return candidate
    return None


def read_colmap(
    model: str | Path,
    pictures: str | Path | None = None,
) -> Capture:
    """The capture a COLMAP model describes, in COLMAP's own frame; every view is for training.

    The pictures are in ``pictures``, else in the nearest folder ``images`` beside or above the model.
    """
    model = Path(model)
    try:
        import pycolmap
    except ImportError as error:
        raise ImportError(f"{model}: reading COLMAP needs pycolmap; pip install 'splatseg_ns[colmap]'") from error
    try:
        reconstruction = pycolmap.Reconstruction(str(model))
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ValueError(f"{model}: no readable COLMAP model ({reason[0]}); export it again") from error
    folder = Path(pictures) if pictures is not None else _find_pictures(model)
    images = sorted(
        (reconstruction.image(image_id) for image_id in reconstruction.reg_image_ids()), key=lambda image: image.name
    )
    if not images:
        raise ValueError(f"{model}: the model has no image with a pose; run COLMAP's mapper first")
    names = view_names([PurePosixPath(image.name) for image in images])
    lenses = {number: _lens_of(camera, model) for number, camera in reconstruction.cameras.items()}
    views = [
        View(
            name=name,
            split="train",
            viewmat=_viewmat_of(image),
            lens=lenses[image.camera_id],
            width=reconstruction.camera(image.camera_id).width,
            height=reconstruction.camera(image.camera_id).height,
            image_path=folder / image.name,
        )
        for name, image in zip(names, images, strict=True)
    ]
    seeds = _seed_points(reconstruction)
    return Capture(folder=folder.parent, views=tuple(views), seed_source=(lambda: seeds) if len(seeds.xyz) else None)


def _find_pictures(model: Path) -> Path:
    model = model.resolve()
    for folder in [model, *model.parents[:_LEVELS_UP]]:
        if (folder / _PICTURE_FOLDER).is_dir():
            return folder / _PICTURE_FOLDER
    raise FileNotFoundError(f"{model}: no folder '{_PICTURE_FOLDER}' beside or above the model; put the pictures there")


def _lens_of(camera: pycolmap.Camera, model: Path) -> Lens:
    name = camera.model.name
    if name not in LENS_PARAMETERS:
        known = ", ".join(LENS_PARAMETERS)
        raise ValueError(f"{model}: camera model {name} is not supported ({known}); run colmap image_undistorter")
    values = dict(zip(LENS_PARAMETERS[name], map(float, camera.params), strict=True))
    if "f" in values:
        values["fx"] = values["fy"] = values.pop("f")
    return Lens(**values, kind="fisheye" if name.endswith("FISHEYE") else "perspective")


def _viewmat_of(image: pycolmap.Image) -> Tensor:  # [4, 4] float32
    viewmat = np.eye(4)
    viewmat[:3] = image.cam_from_world().matrix()
    return torch.from_numpy(viewmat).float()


def _seed_points(reconstruction: pycolmap.Reconstruction) -> SeedPoints:
    points = [point for _, point in sorted(reconstruction.points3D.items())]
    xyz = np.array([point.xyz for point in points], np.float32).reshape(-1, 3)
    rgb = np.array([point.color for point in points], np.uint8).reshape(-1, 3)
    return SeedPoints(torch.from_numpy(xyz), torch.from_numpy(rgb))
