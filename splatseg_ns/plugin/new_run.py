"""Runs that are made of others: their folder, and their configuration in the classes of one method or another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import yaml
from nerfstudio.configs.base_config import PrintableConfig
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.models.splatfacto import SplatfactoModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

from splatseg_ns.plugin.datamanager import SplatsegDatamanagerConfig
from splatseg_ns.plugin.model import SplatsegModelConfig
from splatseg_ns.plugin.pipeline import SEGMENTATION_FOLDER, SplatsegPipelineConfig
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import CONFIG_FILE, SplatsegTrainerConfig
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from splatseg_ns.segmentation.frames import DATAPARSER_FILE

Method = Literal["splatseg", "splatfacto"]
"""Of a run that is made of another: ours, or Nerfstudio's own."""

CHECKPOINT_FOLDER = Path("nerfstudio_models")


def folder_beside(run: Run, method: Method, name: str) -> Path:
    """Where Nerfstudio would put a run of another method on the same experiment."""
    at_home = run.folder.parent.name == run.config.method_name
    experiment = run.folder.parents[1] if at_home else run.folder.parent
    return experiment / method / name


def check_target(run: Run, folder: Path, method: Method) -> Path:
    """The full path of a folder that a run of this method can be written to, beside the run that it is made from."""
    folder = folder.absolute()
    if run.folder.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ValueError(f"{folder}: is in the run that it is made from, which stays as it is; name another folder")
    _check_new(folder)
    if method == "splatfacto" and (folder.parent.name != method or not folder.parents[1].name):
        raise ValueError(
            f"{folder}: stock Nerfstudio finds the checkpoint of a run only in EXPERIMENT/{method}/NAME; give --out "
            f"such a folder, as {folder / 'scene' / method / folder.name}"
        )
    return folder


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which gets its name when the block ends without an error; nothing is ever replaced."""
    _check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check_new(folder: Path) -> None:
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder}: is there already; name another folder, or remove this one")


def config_for(run: Run, method: Method) -> TrainerConfig:
    """The configuration of a run in the classes of this method, for a run that starts from its own checkpoint."""
    config = _splatseg_config(run.config) if method == "splatseg" else _splatfacto_config(run.config)
    datamanager: Any = config.pipeline.datamanager
    config.data = datamanager.data = datamanager.dataparser.data = run.data
    config.method_name = method
    # Of a run that was resumed.
    config.load_dir = config.load_checkpoint = config.load_config = config.load_step = None
    return config


def write_run_files(
    written: Path,
    folder: Path,
    config: TrainerConfig,
    source: Run | None = None,
    document: Segmentation | None = None,
    parts: Segmentation | None = None,
) -> None:
    """All of a run but its checkpoint, into a folder that will be called ``folder``."""
    config.relative_model_dir = CHECKPOINT_FOLDER
    config.timestamp = folder.name
    if isinstance(config, SplatsegTrainerConfig):
        config.pipeline.run_folder = folder
    else:
        # Stock Nerfstudio puts the folder together from these.
        config.output_dir, config.experiment_name = folder.parents[2], folder.parents[1].name
    if source is not None and (transforms := source.folder / DATAPARSER_FILE).is_file():
        shutil.copyfile(transforms, written / DATAPARSER_FILE)
    store = SegmentationStore(written / SEGMENTATION_FOLDER)
    if document is not None:
        store.save(document)
    if parts is not None:
        store.parts.save(parts)
    (written / CONFIG_FILE).write_text(yaml.dump(config), encoding="utf-8")


def _splatseg_config(config: TrainerConfig) -> SplatsegTrainerConfig:
    """The same configuration with the parts that know of segmentation."""
    old = deepcopy(config)
    new = _as(SplatsegTrainerConfig, old)
    new.pipeline = _as(SplatsegPipelineConfig, old.pipeline)
    new.pipeline.datamanager = _full_images(SplatsegDatamanagerConfig, old.pipeline.datamanager)
    new.pipeline.model = _as(SplatsegModelConfig, old.pipeline.model)
    return new


def _splatfacto_config(config: TrainerConfig) -> TrainerConfig:
    """The same configuration in Nerfstudio's own classes, so that it loads where nothing else is installed."""
    old = deepcopy(config)
    new = _as(TrainerConfig, old)
    new.pipeline = _as(VanillaPipelineConfig, old.pipeline)
    new.pipeline.datamanager = _full_images(FullImageDatamanagerConfig, old.pipeline.datamanager)
    new.pipeline.model = _as(SplatfactoModelConfig, old.pipeline.model)
    new.optimizers = {
        name: {part: _of_nerfstudio(chosen) for part, chosen in parts.items()} for name, parts in old.optimizers.items()
    }
    return new


def _full_images(kind: type[FullImageDatamanagerConfig], config: Any) -> Any:
    """Datamanagers of other kinds stay as they are."""
    return _as(kind, config) if isinstance(config, FullImageDatamanagerConfig) else config


def _of_nerfstudio(config: PrintableConfig | None) -> PrintableConfig | None:
    """The same in the nearest of its classes that comes with Nerfstudio."""
    if config is None:
        return None
    kind = next(kind for kind in type(config).__mro__ if kind.__module__.startswith("nerfstudio."))
    return config if kind is type(config) else _as(kind, config)


def _as(kind: type[Any], config: PrintableConfig) -> Any:
    """A configuration of another kind with all that both have. Old files lack the fields of newer versions."""
    shared = {field.name for field in fields(kind)} - {"_target"}
    return kind(**{name: getattr(config, name) for name in shared if hasattr(config, name)})
