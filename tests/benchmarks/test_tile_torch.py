"""The yardstick of the benchmark must give the right answer too."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import tile_torch
from benchmarks.rooms import make_room, patchwork_labels, room_cameras
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.scene.profile import Extent


@pytest.fixture(params=["three_sigma", "ellipse"])
def splats(request: pytest.FixtureRequest) -> Splats:
    extent: Extent = request.param
    room = make_room(1500, seed=3, sh_degree=1)
    return replace(room, profile=replace(room.profile, name=f"room-{extent}", extent=extent))


@pytest.fixture
def camera() -> Camera:
    return room_cameras(2, 60, 42)[1]


def test_forward_is_the_oracles(splats: Splats, camera: Camera) -> None:
    expected = OracleRasterizer().render(splats, camera)
    clear = ~expected.info["borderline"]
    assert float(clear.double().mean()) > 0.95
    for ours, theirs in zip(
        tile_torch.forward(splats, camera), (expected.colors, expected.alpha, expected.depth), strict=True
    ):
        torch.testing.assert_close(ours[clear].double(), theirs[clear], rtol=1e-4, atol=2e-5)


def test_votes_are_the_oracles(splats: Splats, camera: Camera) -> None:
    clear = ~OracleRasterizer().render(splats, camera).info["borderline"]
    labels = torch.where(clear, patchwork_labels(camera, 9), 9)
    votes = tile_torch.votes(splats, camera, labels, 10)[:, :9]
    expected = OracleRasterizer().votes(splats, camera, labels, list(range(9))).dense()
    error = (votes.double() - expected).abs() / expected.clamp_min(1e-2)
    assert float(error.max()) < 1e-3
    assert float(expected.sum()) > 1000.0


def test_other_profiles_are_refused(splats: Splats, camera: Camera) -> None:
    with pytest.raises(ValueError, match="three_sigma and ellipse"):
        tile_torch.forward(replace(splats, profile=replace(splats.profile, extent="inria")), camera)
