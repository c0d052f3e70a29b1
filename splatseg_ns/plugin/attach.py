"""Splats that were trained otherwise as runs of splatseg: no training, and no copy of a checkpoint."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from splatseg_ns.plugin.methods import splatseg
from splatseg_ns.plugin.new_run import (
    CHECKPOINT_FOLDER,
    Method,
    check_target,
    config_for,
    folder_beside,
    new_folder,
    write_run_files,
)
from splatseg_ns.plugin.parameters import parameters_of
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import CONFIG_FILE, SplatsegTrainerConfig
from splatseg_ns.scene import Capture, Splats, Split, View, render_profile
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.frames import DATAPARSER_FILE
from splatseg_ns.segmentation.parts import parts_of_splats

METHOD: Method = "splatseg"

_STEP = 29_999
"""Of splats that nobody knows the last step of: splatfacto's."""

_CAMERA_MODELS = {"perspective": "OPENCV", "fisheye": "OPENCV_FISHEYE"}


def time_stamp() -> str:
    """The time as ns-train names runs by it."""
    return f"{datetime.now():%Y-%m-%d_%H%M%S}"


def attach_run(run: Run, folder: Path | None = None, tell: Callable[[str], object] = warnings.warn) -> Path:
    """Make a splatseg run of the same splats, and give its config.yml.

    The checkpoint is shared: a second name for the same file, or a link to it where the file system has no such thing.
    By default the new run's folder stands beside that of the old one's method, under ``splatseg``. A segmentation that
    the old run has comes along; ``tell`` is told if its parts do not.
    """
    checkpoint, config = run.checkpoint, config_for(run, METHOD)
    splats = run.splats()
    document = run.store.load(splats) if run.store.exists() else None
    parts = parts_of_splats(run.store, splats, tell)
    folder = check_target(run, folder or folder_beside(run, METHOD, f"{run.folder.name}-{time_stamp()}"), METHOD)
    with new_folder(folder) as written:
        (written / CHECKPOINT_FOLDER).mkdir()
        _share(checkpoint, written / CHECKPOINT_FOLDER / checkpoint.name)
        write_run_files(written, folder, config, run, document, parts)
    return folder / CONFIG_FILE


def attach_splats(
    splats: Splats,
    capture: Capture,  # in the frame of the splats
    folder: Path,
    document: Segmentation | None = None,
    parts: Segmentation | None = None,
) -> Path:
    """Make a splatseg run of splats that Nerfstudio has not trained, and give its config.yml.

    The run's own transforms.json states the cameras where the splats are, and pictures by their full paths.
    """
    folder = folder.absolute()
    config = _config_of(splats, folder)
    parameters = parameters_of(splats)
    tensors = {f"_model.gauss_params.{name}": tensor.cpu().contiguous() for name, tensor in parameters.items()}
    with new_folder(folder) as written:
        (written / CHECKPOINT_FOLDER).mkdir()
        path = written / CHECKPOINT_FOLDER / f"step-{_STEP:09d}.ckpt"
        torch.save({"step": _STEP, "pipeline": tensors}, path)
        (written / "transforms.json").write_text(json.dumps(_transforms_of(capture), indent=1), encoding="utf-8")
        same = {"transform": torch.eye(4)[:3].tolist(), "scale": 1.0}
        (written / DATAPARSER_FILE).write_text(json.dumps(same, indent=1), encoding="utf-8")
        write_run_files(written, folder, config, document=document, parts=parts)
    return folder / CONFIG_FILE


def _config_of(splats: Splats, folder: Path) -> SplatsegTrainerConfig:
    """As ns-train writes it, for these splats; the frame stays as it is."""
    config = deepcopy(splatseg.config)
    assert isinstance(config, SplatsegTrainerConfig)
    model, profile = config.pipeline.model, splats.profile
    # Colours that do not depend on direction are kept with a first degree of zeros.
    model.sh_degree = max(splats.sh_degree, 1)
    # As most train; splatfacto's random ones leave another colour behind what is empty.
    model.background_color = "black"
    known: Any = profile.name
    model.render_profile = known
    model.rasterize_mode = "antialiased" if profile.antialiased else "classic"
    if render_profile(profile.name, antialiased=profile.antialiased) != profile:
        raise ValueError(f"a run cannot state a render profile of its own making as {profile.name!r} is")
    config.pipeline.datamanager.dataparser = NerfstudioDataParserConfig(
        data=folder,
        orientation_method="none",
        center_method="none",
        auto_scale_poses=False,
        downscale_factor=1,
    )
    config.data = config.pipeline.datamanager.data = folder
    config.experiment_name = folder.parents[1].name or folder.name
    return config


def _transforms_of(capture: Capture) -> dict[str, Any]:
    """What a transforms.json says of these views."""
    kinds = sorted({view.lens.kind for view in capture})
    if len(kinds) > 1:
        raise ValueError(
            f"{capture.folder}: some pictures are {', others '.join(kinds)}; a run of Nerfstudio has one kind of lens"
        )
    masked = [view for view in capture if view.mask_path is not None]
    if masked and len(masked) < len(capture):
        raise ValueError(
            f"{capture.folder}: {len(masked)} of {len(capture)} pictures have a mask; a run of Nerfstudio has one for "
            "each picture or for none"
        )
    names: dict[Split, list[str]] = {
        split: [str(view.image_path.absolute()) for view in capture.with_split(split)]
        for split in ("train", "val", "test")
    }
    # Nerfstudio judges a run by one of both, and cannot load it without.
    held_out = names["val"] or names["test"] or names["train"]
    return {
        "camera_model": _CAMERA_MODELS[kinds[0]],
        "frames": [_frame_of(view) for view in capture],
        "train_filenames": names["train"] or held_out,
        "val_filenames": names["val"] or held_out,
        "test_filenames": names["test"] or held_out,
    }


def _frame_of(view: View) -> dict[str, Any]:
    pose = torch.linalg.inv(view.viewmat.double())
    pose[:3, 1:3] *= -1.0
    lens = asdict(view.lens)
    numbers = {"fl_x": lens.pop("fx"), "fl_y": lens.pop("fy"), "cx": lens.pop("cx"), "cy": lens.pop("cy")}
    kept = {name: lens[name] for name in ("k1", "k2", "k3", "k4", "p1", "p2")}
    mask = {} if view.mask_path is None else {"mask_path": str(view.mask_path.absolute())}
    return {
        "file_path": str(view.image_path.absolute()),
        "w": view.width,
        "h": view.height,
        **numbers,
        **kept,
        "transform_matrix": pose.tolist(),
        **mask,
    }


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source.resolve())
