from __future__ import annotations

import pytest
import torch

from splatseg_ns.scene import Camera, PixelRect

K = torch.tensor([[100.0, 0.0, 32.0], [0.0, 90.0, 24.0], [0.0, 0.0, 1.0]])


def test_position_is_where_the_camera_maps_to_its_origin():
    viewmat = torch.tensor([[0.0, -1.0, 0.0, 2.0], [1.0, 0.0, 0.0, 3.0], [0.0, 0.0, 1.0, 4.0], [0.0, 0.0, 0.0, 1.0]])
    camera = Camera(viewmat, K, 64, 48)
    # -R^T t with R^T = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert torch.equal(camera.position, torch.tensor([-3.0, 2.0, -4.0]))
    assert torch.equal(viewmat @ torch.cat([camera.position, torch.ones(1)]), torch.tensor([0.0, 0.0, 0.0, 1.0]))


def test_rect_and_its_slices():
    camera = Camera(torch.eye(4), K, 64, 48)
    assert camera.rect == PixelRect(0, 0, 64, 48)
    picture = torch.arange(48 * 64).reshape(48, 64)
    window = picture[PixelRect(left=5, top=2, width=3, height=4).slices]
    assert window.shape == (4, 3)
    assert window[0, 0] == 2 * 64 + 5


def test_resized_keeps_what_lies_at_each_fraction_of_the_picture():
    camera = Camera(torch.eye(4), K, 64, 48).resized(32, 12)
    expected = torch.tensor([[50.0, 0.0, 16.0], [0.0, 22.5, 6.0], [0.0, 0.0, 1.0]])
    assert torch.equal(camera.K, expected)
    assert (camera.width, camera.height) == (32, 12)


def test_at_most_shrinks_what_is_longer_and_nothing_else():
    camera = Camera(torch.eye(4), K, 64, 3)
    assert camera.at_most(64) is camera
    small = camera.at_most(8)
    # A side never goes.
    assert (small.width, small.height) == (8, 1)
    assert torch.equal(small.K, camera.resized(8, 1).K)


def test_to_changes_both_matrices():
    camera = Camera(torch.eye(4), K, 64, 48).to(torch.float64)
    assert camera.viewmat.dtype == camera.K.dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.eye(3), K, 4, 4), r"Camera\.viewmat must have shape \[4, 4\], got \[3, 3\]"),
        ((torch.eye(4), torch.eye(4), 4, 4), r"Camera\.K must have shape \[3, 3\], got \[4, 4\]"),
        ((torch.eye(4) * torch.nan, K, 4, 4), r"Camera\.viewmat must hold finite"),
        ((torch.eye(4), K.long(), 4, 4), r"Camera\.K must hold finite floating-point"),
        ((torch.eye(4), K, 0, 4), "at least one pixel, got 0x4"),
        ((torch.eye(4), -K, 4, 4), "focal lengths must be positive"),
    ],
)
def test_bad_cameras_are_refused(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        Camera(*arguments)
