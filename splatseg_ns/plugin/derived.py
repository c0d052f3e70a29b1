"""Runs of some of another run's Gaussians, and of new ones, which Nerfstudio's commands take as they take any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from nerfstudio.models.splatfacto import SH2RGB
from torch import Tensor

from splatseg_ns.plugin.new_run import CHECKPOINT_FOLDER, Method, check_target, config_for, new_folder, write_run_files
from splatseg_ns.plugin.parameters import PARAMETERS, parameters_of
from splatseg_ns.plugin.runs import Run, name_in_model
from splatseg_ns.plugin.trainer import CONFIG_FILE
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import Segmentation

_LEAST_COLOR = 1e-4
"""Of colours that are kept as logits, which black and white do not have."""


def derive_run(
    run: Run,
    folder: Path,
    rows: Tensor,  # [N] bool
    method: Method,
    document: Segmentation | None = None,
    added: Splats | None = None,
    parts: Segmentation | None = None,
) -> Path:
    """Write a run of these Gaussians, and of those that are ``added`` at their end, and give its config.yml.

    ``document`` is the segmentation of all of them, ``parts`` its layer of parts.

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
        new = {} if added is None else _parameters_in(run, added)
        kept = {name: _rows_of(name, tensor, rows, new) for name, tensor in run.tensors.items()}
        torch.save({"step": run.step, "pipeline": kept}, written / CHECKPOINT_FOLDER / run.checkpoint.name)
        write_run_files(written, folder, config, run, document, parts)
    return folder / CONFIG_FILE


def _rows_of(name: str, tensor: Tensor, rows: Tensor, new: Mapping[str, Tensor]) -> Tensor:
    """What the chosen Gaussians keep of a tensor of the checkpoint, and what new ones have of it: zeros if unknown."""
    known = name_in_model(name).removeprefix("gauss_params.")
    # Old checkpoints have them without the prefix, methods made from splatfacto have more of them.
    if known == name_in_model(name) and known not in PARAMETERS:
        # A copy, because the file of the other run stands behind it.
        return tensor.clone()
    if not new:
        return tensor[rows]
    zeros = tensor.new_zeros((len(new["means"]), *tensor.shape[1:]))
    return torch.cat([tensor[rows], new[known].to(tensor) if known in new else zeros])


def _parameters_in(run: Run, splats: Splats) -> dict[str, Tensor]:
    """The parameters of other Gaussians in the form that the run has them: with as many harmonics."""
    parameters = parameters_of(splats)
    coefficients = run.splats().sh.shape[1]
    rest = parameters["features_rest"][:, : coefficients - 1]
    missing = coefficients - 1 - rest.shape[1]
    parameters["features_rest"] = torch.nn.functional.pad(rest, (0, 0, 0, missing))
    if coefficients == 1:
        # Splatfacto has logits of colours where they do not depend on direction.
        parameters["features_dc"] = torch.logit(SH2RGB(parameters["features_dc"]), eps=_LEAST_COLOR)
    return parameters
