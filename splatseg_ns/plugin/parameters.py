"""Splatfacto's parameters, and the same Gaussians as ``Splats``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from nerfstudio.models.splatfacto import RGB2SH, num_sh_bases, random_quat_tensor
from torch import Tensor

from splatseg_ns.scene import RenderProfile, Splats

PARAMETERS = ("means", "scales", "quats", "features_dc", "features_rest", "opacities")
"""The names in ``gauss_params``, and of the optimizers."""

_START_OPACITY = 0.1
_LEAST_DISTANCE = 1e-7
"""Between seed points, so that the size of those in one place has a logarithm."""


def splats_of(
    parameters: Mapping[str, Tensor],  # means [N, 3], scales [N, 3], quats [N, 4], features_dc [N, 3],
    # features_rest [N, K - 1, 3], opacities [N, 1]
    profile: RenderProfile,
) -> Splats:
    """The Gaussians, differentiable in their parameters."""
    return Splats(
        means=parameters["means"],
        raw_quats=parameters["quats"],
        log_scales=parameters["scales"],
        logit_opacities=parameters["opacities"].squeeze(-1),
        sh=torch.cat((sh_constant(parameters)[:, None], parameters["features_rest"]), dim=1),
        profile=profile,
    )


def sh_constant(parameters: Mapping[str, Tensor]) -> Tensor:  # [N, 3]
    """The first coefficients. Splatfacto trains logits of colours instead where colours do not depend on direction."""
    constant = parameters["features_dc"]
    return constant if parameters["features_rest"].shape[1] else RGB2SH(constant.sigmoid())


def parameters_of(splats: Splats) -> dict[str, Tensor]:
    """The parameters that splatfacto has for these Gaussians.

    Colours that do not depend on direction get a first degree of zeros: as logits they would lose what is out of range.
    """
    sh = splats.sh if splats.sh_degree else torch.nn.functional.pad(splats.sh, (0, 0, 0, num_sh_bases(1) - 1))
    return {
        "means": splats.means,
        "scales": splats.log_scales,
        "quats": splats.raw_quats,
        "features_dc": sh[:, 0],
        "features_rest": sh[:, 1:],
        "opacities": splats.logit_opacities[:, None],
    }


def starting_parameters(
    means: Tensor,  # [N, 3]
    distances: Tensor,  # [N, k] to the nearest others
    rgb: Tensor | None,  # [N, 3] from 0 to 255; random by default
    sh_degree: int,
) -> dict[str, Tensor]:
    """Round Gaussians in these places, as large as the space between them, and nearly transparent."""
    count = len(means)
    sizes = distances.mean(dim=-1, keepdim=True).clamp_min(_LEAST_DISTANCE)
    if rgb is None:
        constant = torch.rand(count, 3)
    elif sh_degree:
        constant = RGB2SH(rgb.float() / 255)
    else:
        constant = torch.logit(rgb.float() / 255, eps=1e-10)
    return {
        "means": means.float(),
        "scales": sizes.log().repeat(1, 3),
        "quats": random_quat_tensor(count),
        "features_dc": constant,
        "features_rest": torch.zeros(count, num_sh_bases(sh_degree) - 1, 3),
        "opacities": torch.logit(torch.full((count, 1), _START_OPACITY)),
    }
