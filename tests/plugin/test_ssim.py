"""Structural similarity against the package that Nerfstudio uses."""

from __future__ import annotations

import pytest
import torch
from pytorch_msssim import SSIM

from splatseg_ns.plugin.ssim import StructuralSimilarity


def pictures(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand(1, 3, height, width, generator=generator)
    return truth, (truth + 0.2 * torch.randn(truth.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("size", [(11, 11), (24, 31), (96, 128)])
def test_value_and_gradient_are_those_of_the_package(size: tuple[int, int]):
    truth, picture = pictures(*size)
    ours, theirs = picture.clone().requires_grad_(), picture.clone().requires_grad_()
    value = StructuralSimilarity()(truth, ours)
    expected = SSIM(data_range=1.0, size_average=True, channel=3)(truth, theirs)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
    (2.0 * value).backward()
    (2.0 * expected).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4 * float(theirs.grad.abs().max()), rtol=1e-3)


def test_it_takes_views_of_pictures_with_channels_last():
    truth, picture = pictures(20, 30)
    expected = StructuralSimilarity()(truth, picture)
    last = [part[0].permute(1, 2, 0).contiguous() for part in (truth, picture)]
    views = [part.permute(2, 0, 1)[None] for part in last]
    assert float(StructuralSimilarity()(*views)) == pytest.approx(float(expected), abs=1e-7)


def test_equal_pictures_have_a_similarity_of_one():
    truth, _ = pictures(16, 16)
    assert float(StructuralSimilarity()(truth, truth)) == pytest.approx(1.0, abs=1e-6)


def test_what_is_out_of_the_ordinary_goes_to_the_package():
    truth, picture = pictures(16, 16)
    both = StructuralSimilarity()(truth.repeat(2, 1, 1, 1), picture.repeat(2, 1, 1, 1))
    torch.testing.assert_close(both, StructuralSimilarity()(truth, picture), atol=1e-6, rtol=1e-5)
    truth.requires_grad_()
    StructuralSimilarity()(truth, picture).backward()
    assert bool(truth.grad.any())
