"""Runs of splatfacto as runs of splatseg, without training and without copying a checkpoint."""

from __future__ import annotations

import os
import shutil
from copy import deepcopy
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from nerfstudio.configs.base_config import InstantiateConfig
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig

from splatseg_ns.plugin.datamanager import SplatsegDatamanagerConfig
from splatseg_ns.plugin.model import SplatsegModelConfig
from splatseg_ns.plugin.pipeline import SplatsegPipelineConfig
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import CONFIG_FILE, SplatsegTrainerConfig

METHOD = "splatseg"

_DATAPARSER_FILE = "dataparser_transforms.json"


def attach_run(run: Run, folder: Path | None = None) -> Path:
    """Make a splatseg run of the same splats, and give its config.yml.

    The checkpoint is shared: a second name for the same file, or a link to it where the file system has no such thing.
    By default the new run's folder stands beside that of the old one's method, under ``splatseg``.
    """
    checkpoint = run.checkpoint
    config = splatseg_config(run)
    if folder is None:
        config.timestamp = f"{run.folder.name}-{datetime.now():%Y-%m-%d_%H%M%S}"
        folder = run.folder.parent.with_name(METHOD) / config.timestamp
    if (folder / CONFIG_FILE).exists():
        raise FileExistsError(f"{folder}: a run is there already; name another folder")
    config.pipeline.run_folder = folder.absolute()
    target = config.get_checkpoint_dir()
    target.mkdir(parents=True, exist_ok=True)
    _share(checkpoint, target / checkpoint.name)
    transforms = run.folder / _DATAPARSER_FILE
    if transforms.is_file():
        shutil.copyfile(transforms, folder / _DATAPARSER_FILE)
    config.save_config()
    return folder / CONFIG_FILE


def splatseg_config(run: Run) -> SplatsegTrainerConfig:
    """The same configuration with the parts that know of segmentation."""
    old = deepcopy(run.config)
    pipeline = old.pipeline
    datamanager: Any = pipeline.datamanager
    if isinstance(datamanager, FullImageDatamanagerConfig):
        datamanager = _as(SplatsegDatamanagerConfig, datamanager)
    datamanager.data = datamanager.dataparser.data = run.data
    new = _as(SplatsegTrainerConfig, old)
    new.pipeline = _as(SplatsegPipelineConfig, pipeline)
    new.pipeline.datamanager = datamanager
    new.pipeline.model = _as(SplatsegModelConfig, pipeline.model)
    new.pipeline.run_folder = None
    new.method_name = METHOD
    new.data = run.data
    # Of a run that was resumed; this one starts from its own checkpoint.
    new.load_dir = new.load_checkpoint = new.load_config = new.load_step = None
    return new


def _as(kind: type[Any], config: InstantiateConfig) -> Any:
    """A configuration of another kind with all that both have. Old files lack the fields of newer versions."""
    shared = {field.name for field in fields(kind)} - {"_target"}
    return kind(**{name: getattr(config, name) for name in shared if hasattr(config, name)})


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source.resolve())
