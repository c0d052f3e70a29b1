"""Runs of some of another run's Gaussians, which Nerfstudio's commands take as they take any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splatseg_ns.plugin.new_run import CHECKPOINT_FOLDER, Method, check_target, config_for, new_folder, write_run_files
from splatseg_ns.plugin.parameters import PARAMETERS
from splatseg_ns.plugin.runs import Run, name_in_model
from splatseg_ns.plugin.trainer import CONFIG_FILE
from splatseg_ns.segmentation import Segmentation


def derive_run(
    run: Run,
    folder: Path,
    rows: Tensor,  # [N] bool
    method: Method,
    document: Segmentation | None = None,
) -> Path:
    """Write a run of these Gaussians alone, with its own segmentation, and give its config.yml.

    The checkpoint holds the step and the tensors of the pipeline, and nothing that training goes on from. A run of
    splatfacto opens in Nerfstudio without this package, a run of splatseg also without a GPU.
    """
    folder = check_target(run, folder, method)
    config = config_for(run, method)
    datamanager: Any = config.pipeline.datamanager
    dataparser = datamanager.dataparser
    if hasattr(dataparser, "load_3D_points"):
        # They are what training starts from, and stock Nerfstudio needs a GPU to read them.
        dataparser.load_3D_points = False
    with new_folder(folder) as written:
        (written / CHECKPOINT_FOLDER).mkdir()
        kept = {name: _rows_of(name, tensor, rows) for name, tensor in run.tensors.items()}
        torch.save({"step": run.step, "pipeline": kept}, written / CHECKPOINT_FOLDER / run.checkpoint.name)
        write_run_files(written, folder, config, run, document)
    return folder / CONFIG_FILE


def _rows_of(name: str, tensor: Tensor, rows: Tensor) -> Tensor:
    """What the chosen Gaussians keep of a tensor of the checkpoint."""
    known = name_in_model(name)
    # Old checkpoints have them without the prefix, methods made from splatfacto have more of them.
    of_gaussians = known in PARAMETERS or known.startswith("gauss_params.")
    # A copy, because the file of the other run stands behind it.
    return tensor[rows] if of_gaussians else tensor.clone()
