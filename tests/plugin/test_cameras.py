"""Nerfstudio's cameras, and gradients of poses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from splatseg_ns.plugin.cameras import camera_of, seen_from, viewmat_of
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import Splats
from tests.plugin.examples import nerfstudio_camera
from tests.raster.scenes import camera, cloud


def test_a_camera_comes_back_from_nerfstudios_axes():
    original = camera(64, 48, focal=(50.0, 60.0), center=(30.0, 20.0), turn=0.4, shift=(0.1, -0.2, 0.3))
    theirs = nerfstudio_camera(original)
    again = camera_of(theirs, theirs.camera_to_worlds[0])
    torch.testing.assert_close(again.viewmat, original.viewmat)
    torch.testing.assert_close(again.K, original.K)
    assert (again.width, again.height) == (64, 48)


def test_a_shrunk_camera_is_rounded_down_as_nerfstudio_does():
    theirs = nerfstudio_camera(camera(67, 49))
    ours = camera_of(theirs, theirs.camera_to_worlds[0], downscale=4)
    theirs.rescale_output_resolution(1 / 4)
    assert (ours.width, ours.height) == (int(theirs.width), int(theirs.height)) == (16, 12)
    torch.testing.assert_close(ours.K, theirs.get_intrinsics_matrices()[0])


def motion(twist: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """A pose turned and shifted a little, as the camera optimizer does it."""
    x, y, z = twist[:3]
    zero = torch.zeros_like(x)
    skew = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    return torch.cat([torch.linalg.matrix_exp(skew) @ pose[:, :3], (pose[:, 3] + twist[3:])[:, None]], dim=1)


@pytest.mark.parametrize("degree", [0, 2])
def test_the_gradient_of_a_pose_is_that_of_moving_the_camera(degree: int):
    splats = cloud(12, 3, size=0.2, degree=2).to(torch.float64)
    view = camera(24, 20, focal=(20.0, 20.0)).to(torch.float64)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(20, 24, 3, generator=generator, dtype=torch.float64)
    engine = OracleRasterizer()

    def rendered(twist: torch.Tensor) -> torch.Tensor:
        moved = replace(view, viewmat=viewmat_of(motion(twist, pose)))
        return (engine.render(splats, moved, sh_degree=degree).colors * weight).sum()

    twist = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    moved, colors = seen_from(splats, motion(twist, pose), degree)
    loss = (engine.render(moved, view, features=colors).colors * weight).sum()
    assert float(loss.detach()) == pytest.approx(float(rendered(torch.zeros(6, dtype=torch.float64))), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, twist)
    step = 1e-5 * torch.eye(6, dtype=torch.float64)
    numeric = torch.stack([(rendered(row) - rendered(-row)) / 2e-5 for row in step])
    torch.testing.assert_close(gradient, numeric, rtol=2e-3, atol=2e-3 * float(numeric.abs().max()))


def test_gaussians_themselves_are_where_they_were():
    splats = cloud(5, 4)
    pose = torch.eye(4)[:3].requires_grad_()
    moved, _ = seen_from(splats, pose, 1)
    assert isinstance(moved, Splats)
    torch.testing.assert_close(moved.means, splats.means)
    torch.testing.assert_close(moved.raw_quats, splats.raw_quats)
