"""Real spherical harmonics in the order and sign convention of Gaussian-splat files."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_DEGREE = 3
SH_COUNTS = tuple((degree + 1) ** 2 for degree in range(MAX_DEGREE + 1))
"""How many coefficients a colour channel has at degree 0, 1, 2 and 3."""

_C0 = 0.5 * math.sqrt(1.0 / math.pi)
_C1 = math.sqrt(3.0 / (4.0 * math.pi))
_C2_XY = 0.5 * math.sqrt(15.0 / math.pi)
_C2_ZZ = 0.25 * math.sqrt(5.0 / math.pi)
_C3_33 = 0.25 * math.sqrt(35.0 / (2.0 * math.pi))
_C3_32 = 0.5 * math.sqrt(105.0 / math.pi)
_C3_31 = 0.25 * math.sqrt(21.0 / (2.0 * math.pi))
_C3_30 = 0.25 * math.sqrt(7.0 / math.pi)


def degree_of(count: int) -> int:
    """The degree of a set of ``count`` coefficients; an error for a count that is no square up to 16."""
    if count not in SH_COUNTS:
        raise ValueError(f"spherical harmonics come in sets of 1, 4, 9 or 16 coefficients, not {count}")
    return SH_COUNTS.index(count)


def sh_basis(
    directions: Tensor,  # [..., 3] unit vectors
    degree: int,
) -> Tensor:  # [..., (degree + 1)^2]
    """The basis functions at the given directions, one column each."""
    x, y, z = directions.unbind(-1)
    columns = [torch.full_like(x, _C0)]
    if degree >= 1:
        columns += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        columns += [
            _C2_XY * x * y,
            -_C2_XY * y * z,
            _C2_ZZ * (2 * z * z - x * x - y * y),
            -_C2_XY * x * z,
            0.5 * _C2_XY * (x * x - y * y),
        ]
    if degree >= 3:
        columns += [
            -_C3_33 * y * (3 * x * x - y * y),
            _C3_32 * x * y * z,
            -_C3_31 * y * (4 * z * z - x * x - y * y),
            _C3_30 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -_C3_31 * x * (4 * z * z - x * x - y * y),
            0.5 * _C3_32 * z * (x * x - y * y),
            -_C3_33 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(columns, dim=-1)


def rotate_sh(
    sh: Tensor,  # [N, K, 3]
    rotation: Tensor,  # [3, 3]
) -> Tensor:  # [N, K, 3]
    """Coefficients of the rotated function: looked at along ``rotation @ d`` it has the old colour along ``d``."""
    degree = degree_of(sh.shape[1])
    rotation = rotation.cpu().double()
    # The basis spans a space that rotations map onto itself, so a fit on enough directions is exact.
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator, dtype=torch.float64), dim=-1)
    turned = sh_basis(directions @ rotation.T, degree)  # [64, K]
    mixing = torch.linalg.lstsq(turned, sh_basis(directions, degree)).solution  # [K, K]
    return torch.einsum("jk,nkc->njc", mixing.to(sh), sh)
