"""The benchmark's scene is a room, and the same every time."""

from __future__ import annotations

import torch

from benchmarks.rooms import ROOM, make_room, patchwork_labels, room_cameras
from splatseg_ns.raster.inputs import drawable_rows


def test_a_room_repeats_and_can_be_drawn() -> None:
    room, again, other = make_room(3000), make_room(3000), make_room(3000, seed=1)
    assert all(torch.equal(room.tensors()[name], again.tensors()[name]) for name in room.tensors())
    assert not torch.equal(room.means, other.means)
    assert len(room) == 3000 and bool(drawable_rows(room).all())


def test_gaussians_lie_flat_on_the_surfaces_of_the_room() -> None:
    room = make_room(20_000)
    size = torch.from_numpy(ROOM).float()
    to_wall = torch.minimum(room.means.abs(), (room.means - size).abs()).min(dim=1).values
    assert 0.5 < float((to_wall < 0.03).float().mean()) < 0.9
    longest, second, thickness = room.scales.unbind(dim=1)
    assert bool((longest >= second).all()) and float((thickness / longest).median()) < 0.2

    # The short axis of a Gaussian on the floor stands upright: the third column of its rotation is (0, 0, +-1).
    _, x, y, _ = room.quats[room.means[:, 2].abs() < 0.02].unbind(dim=1)
    upright = (1 - 2 * (x * x + y * y)).abs()
    assert float((upright > 0.999).float().mean()) > 0.8


def test_half_of_the_gaussians_are_opaque() -> None:
    assert 0.25 < float((make_room(20_000).opacities > 0.7).float().mean()) < 0.5


def test_harmonics_have_the_degree_that_was_asked_for() -> None:
    assert [make_room(100, sh_degree=degree).sh_degree for degree in range(4)] == [0, 1, 2, 3]


def test_cameras_stand_upright_in_the_room() -> None:
    cameras = room_cameras(5, 64, 48)
    assert len(cameras) == 5
    for camera in cameras:
        rotation = camera.viewmat[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
        assert float(torch.linalg.det(rotation)) > 0 and abs(float(rotation[0, 2])) < 1e-6
        assert bool((camera.position > 0).all()) and bool((camera.position < torch.from_numpy(ROOM)).all())


def test_labels_are_patches_of_all_labels() -> None:
    camera = room_cameras(1, 80, 60)[0]
    for count in (2, 30):
        labels = patchwork_labels(camera, count)
        assert labels.unique().tolist() == list(range(count))
        assert float((labels[:, 1:] == labels[:, :-1]).float().mean()) > 0.8
