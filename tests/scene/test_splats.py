from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from splatseg_ns.scene import PROFILES, Splats
from splatseg_ns.scene.spherical_harmonics import sh_basis
from tests.scene.examples import random_rotation, random_splats


def covariances(splats: Splats) -> torch.Tensor:  # [N, 3, 3]
    w, x, y, z = splats.quats.unbind(-1)
    rotation = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
        ],
        dim=-2,
    )
    return rotation @ torch.diag_embed(splats.scales**2) @ rotation.transpose(-1, -2)


def similarity_of(rotation: torch.Tensor, scale: float, shift: list[float]) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = torch.tensor(shift)
    return matrix


def test_activated_properties():
    splats = Splats(
        means=torch.zeros(1, 3),
        raw_quats=torch.tensor([[0.0, 3.0, 0.0, 4.0]]),
        log_scales=torch.tensor([[0.0, math.log(2.0), math.log(0.5)]]),
        logit_opacities=torch.tensor([math.log(3.0)]),
        sh=torch.zeros(1, 4, 3),
    )
    assert torch.allclose(splats.quats, torch.tensor([[0.0, 0.6, 0.0, 0.8]]))
    assert torch.allclose(splats.scales, torch.tensor([[1.0, 2.0, 0.5]]))
    assert torch.allclose(splats.opacities, torch.tensor([0.75]))  # 1 / (1 + 1/3)
    assert splats.sh_degree == 1
    assert len(splats) == 1


@pytest.mark.parametrize(
    ("name", "shape"),
    [("means", (4, 2)), ("raw_quats", (4, 3)), ("log_scales", (3, 3)), ("logit_opacities", (4, 1)), ("sh", (4, 3))],
)
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]):
    splats = random_splats(4, 0)
    with pytest.raises(ValueError, match=r"Splats\.\w+ must have shape .* got"):
        replace(splats, **{name: torch.zeros(shape)})


def test_wrong_coefficient_count_is_named():
    with pytest.raises(ValueError, match="not 5"):
        replace(random_splats(4, 0), sh=torch.zeros(4, 5, 3))


def test_wrong_types_are_named():
    splats = random_splats(4, 0)
    with pytest.raises(TypeError, match=r"Splats\.sh must hold floating-point numbers, got torch\.int64"):
        replace(splats, sh=torch.zeros(4, 1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"Splats\.sh is torch\.float64.* must agree"):
        replace(splats, sh=torch.zeros(4, 1, 3, dtype=torch.float64))


def test_subset_keeps_bits_and_order():
    splats = random_splats(5, 2)
    splats.means[3] = torch.nan
    for rows in (torch.tensor([3, 1]), torch.tensor([False, True, False, True, False]).nonzero()[:, 0].flip(0)):
        part = splats.subset(rows)
        for name, tensor in splats.tensors().items():
            assert torch.equal(part.tensors()[name].view(torch.int32), tensor[[3, 1]].view(torch.int32))
    assert len(splats.subset(torch.zeros(5, dtype=torch.bool))) == 0


def test_to_changes_every_tensor():
    double = random_splats(3, 1).to(torch.float64)
    assert {tensor.dtype for tensor in double.tensors().values()} == {torch.float64}


def test_concat_pads_lower_degrees_with_zeros():
    low, high = random_splats(2, 0), random_splats(3, 1, seed=1)
    both = Splats.concat([low, high])
    assert both.sh.shape == (5, 4, 3)
    assert torch.equal(both.sh[:2, :1], low.sh)
    assert not both.sh[:2, 1:].any()
    assert torch.equal(both.sh[2:], high.sh)
    assert torch.equal(both.means, torch.cat([low.means, high.means]))


def test_concat_refuses_nothing_and_mixed_profiles():
    with pytest.raises(ValueError, match="nothing to concatenate"):
        Splats.concat([])
    splats = random_splats(2, 0)
    other = replace(splats, profile=PROFILES["inria"])
    with pytest.raises(ValueError, match=r"gsplat-1\.4, inria"):
        Splats.concat([splats, other])


def test_transform_by_a_quarter_turn():
    splats = Splats(
        means=torch.tensor([[1.0, 0.0, 0.0]]),
        raw_quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        log_scales=torch.zeros(1, 3),
        logit_opacities=torch.zeros(1),
        sh=torch.zeros(1, 1, 3),
    )
    quarter_about_z = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = splats.transform(similarity_of(quarter_about_z.double(), 2.0, [0.0, 0.0, 5.0]))
    # x goes to y, twice as far from the origin, then 5 up; a turn by 90 degrees is (cos 45, 0, 0, sin 45).
    assert torch.allclose(moved.means, torch.tensor([[0.0, 2.0, 5.0]]), atol=1e-6)
    assert torch.allclose(moved.quats[0] * moved.quats[0, 0].sign(), torch.tensor([1.0, 0.0, 0.0, 1.0]) / math.sqrt(2))
    assert torch.allclose(moved.scales, torch.full((1, 3), 2.0))


def test_transform_moves_covariances_and_colours():
    splats = random_splats(6, 3).to(torch.float64)
    rotation = random_rotation()
    moved = splats.transform(similarity_of(rotation, 1.7, [1.0, -2.0, 3.0]))
    assert torch.allclose(covariances(moved), 1.7**2 * rotation @ covariances(splats) @ rotation.T)
    direction = torch.nn.functional.normalize(torch.tensor([[0.2, -0.7, 0.4]], dtype=torch.float64), dim=-1)
    seen_before = torch.einsum("dk,nkc->nc", sh_basis(direction, 3), splats.sh)
    seen_after = torch.einsum("dk,nkc->nc", sh_basis(direction @ rotation.T, 3), moved.sh)
    assert torch.allclose(seen_before, seen_after)


def test_transform_and_its_inverse_give_the_splats_back():
    splats = random_splats(6, 3).to(torch.float64)
    similarity = similarity_of(random_rotation(3), 0.3, [5.0, 1.0, -2.0])
    back = splats.transform(similarity).transform(torch.linalg.inv(similarity))
    for name in ("means", "log_scales", "logit_opacities", "sh"):
        assert torch.allclose(getattr(back, name), getattr(splats, name), atol=1e-9), name
    assert torch.allclose(covariances(back), covariances(splats))


def test_transform_refuses_what_is_no_similarity():
    splats = random_splats(2, 0)
    with pytest.raises(ValueError, match="positive determinant"):
        splats.transform(torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])))
    with pytest.raises(ValueError, match="no rotation times one scale"):
        splats.transform(torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0])))
