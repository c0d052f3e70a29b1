"""Splatfacto's parameters as splats, and back."""

from __future__ import annotations

import torch

from splatseg_ns.plugin.parameters import PARAMETERS, parameters_of, splats_of, starting_parameters
from splatseg_ns.scene import DEFAULT_PROFILE
from tests.raster.scenes import cloud


def test_nothing_is_lost_in_a_round_trip():
    splats = cloud(7, 1, degree=2)
    parameters = parameters_of(splats)
    assert tuple(parameters) == PARAMETERS
    again = splats_of(parameters, splats.profile)
    for name, tensor in splats.tensors().items():
        assert torch.equal(getattr(again, name), tensor), name


def test_colours_without_direction_come_back_with_a_first_degree_of_zeros():
    splats = cloud(7, 1, degree=0)
    again = splats_of(parameters_of(splats), splats.profile)
    assert again.sh_degree == 1
    assert torch.equal(again.sh[:, :1], splats.sh) and not bool(again.sh[:, 1:].any())


def test_splatfacto_trains_logits_of_colours_where_there_is_no_direction():
    rgb = torch.tensor([[255, 0, 51]], dtype=torch.uint8)
    parameters = starting_parameters(torch.zeros(1, 3), torch.ones(1, 3), rgb, sh_degree=0)
    splats = splats_of(parameters, DEFAULT_PROFILE)
    # Colours are 0.5 + 0.2821 * sh.
    torch.testing.assert_close(0.5 + 0.28209479177387814 * splats.sh[0, 0], torch.tensor([1.0, 0.0, 0.2]))


def test_gaussians_start_round_and_as_large_as_the_space_between_them():
    means = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    distances = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    parameters = starting_parameters(means, distances, None, sh_degree=1)
    # The mean of 1, 2 and 3 is 2; those in one place have a size too.
    torch.testing.assert_close(parameters["scales"][0].exp(), torch.full((3,), 2.0))
    assert bool(parameters["scales"].isfinite().all())
    torch.testing.assert_close(parameters["opacities"].sigmoid(), torch.full((2, 1), 0.1))
    assert parameters["features_rest"].shape == (2, 3, 3)
