from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatseg_ns.scene.spherical_harmonics import degree_of, rotate_sh, sh_basis
from tests.scene.examples import random_rotation


def directions_on_sphere(count: int) -> torch.Tensor:  # [count, 3] float64
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def test_degree_of():
    assert [degree_of(count) for count in (1, 4, 9, 16)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="not 25"):
        degree_of(25)


def test_values_at_the_pole():
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    basis = sh_basis(up, 3)
    # At the pole only the functions that do not depend on the azimuth are left: sqrt((2 l + 1) / (4 pi)).
    expected = torch.zeros(16, dtype=torch.float64)
    for degree, column in enumerate((0, 2, 6, 12)):
        expected[column] = math.sqrt((2 * degree + 1) / (4 * math.pi))
    assert torch.allclose(basis, expected)


def test_first_order_is_minus_y_z_minus_x():
    directions = directions_on_sphere(5)
    x, y, z = directions.unbind(-1)
    expected = math.sqrt(3 / (4 * math.pi)) * torch.stack([-y, z, -x], dim=-1)
    assert torch.allclose(sh_basis(directions, 1)[:, 1:], expected)


def test_the_basis_is_orthonormal():
    # Gauss-Legendre in z and even steps in azimuth integrate polynomials of degree 6 on the sphere exactly.
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
    azimuth = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    z, angle = torch.meshgrid(nodes, azimuth, indexing="ij")
    radius = (1 - z * z).sqrt()
    basis = sh_basis(torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1), 3)
    area = weights[:, None].expand_as(z) * (2 * math.pi / 16)
    assert torch.allclose(torch.einsum("ij,ijk,ijl->kl", area, basis, basis), torch.eye(16, dtype=torch.float64))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_rotated_function_shows_the_old_colour_in_the_rotated_direction(degree: int):
    rotation = random_rotation(degree)
    sh = torch.randn(7, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    directions = directions_on_sphere(20)
    before = torch.einsum("dk,nkc->ndc", sh_basis(directions, degree), sh)
    after = torch.einsum("dk,nkc->ndc", sh_basis(directions @ rotation.T, degree), rotate_sh(sh, rotation))
    assert torch.allclose(before, after)


def test_rotations_compose():
    first, second = random_rotation(0), random_rotation(1)
    sh = torch.randn(3, 16, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.allclose(rotate_sh(rotate_sh(sh, first), second), rotate_sh(sh, second @ first))
    assert rotate_sh(sh.float(), first).dtype == torch.float32
