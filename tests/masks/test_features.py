"""Features of pictures: averaged, kept on disk, and by name."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from splatseg_ns.masks import Averaged, CachedFeatures, CachedSegmenter, FeatureExtractor, features_named
from splatseg_ns.masks.features import on_grid, resized, unit_length
from tests.masks.segmenters import FakeSegmenter, noise_picture, plain_picture

PATCH = 4


class Painted:
    """Features are the mean colours of patches, beside a one; remembers the pictures that it was asked about."""

    def __init__(self, name: str = "painted") -> None:
        self.name = name
        self.asked: list[Tensor] = []
        self._lock = threading.Lock()

    def __call__(self, image: Tensor) -> Tensor:
        with self._lock:
            self.asked.append(image)
        planes = image.permute(2, 0, 1)[None].float() / 255
        means = F.avg_pool2d(planes, PATCH, ceil_mode=True)[0].permute(1, 2, 0)
        return unit_length(torch.cat([means, torch.ones_like(means[..., :1])], dim=-1))


class Slanted(Painted):
    """Sees the left of a patch better than its right."""

    def __call__(self, image: Tensor) -> Tensor:
        return unit_length(super().__call__(image) + super().__call__(image.roll(PATCH // 2, dims=1)))


def sizes(asked: list[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(image.shape[:2]) for image in asked]


def assert_unit(features: Tensor) -> None:
    assert torch.allclose(features.norm(dim=-1), torch.ones(features.shape[:2]), atol=1e-6)


def test_one_scale_and_no_mirror_is_the_extractor_itself():
    painted = Painted()
    image = noise_picture(16, 24)
    averaged = Averaged(painted)
    assert averaged.name == painted.name
    assert torch.equal(averaged(image), painted(image))
    assert len(painted.asked) == 2


def test_the_mirrored_picture_has_the_mirrored_features():
    image = noise_picture(16, 24)
    slanted = Slanted()
    assert not torch.allclose(slanted(image.flip(1)), slanted(image).flip(1), atol=1e-3)
    for scales in ((1.0,), (1.0, 2.0), (0.5,)):
        averaged = Averaged(slanted, scales, flip=True)
        found = averaged(image)
        assert_unit(found)
        assert torch.allclose(averaged(image.flip(1)), found.flip(1), atol=1e-5)


def test_the_mean_is_over_the_picture_in_each_size():
    painted = Painted()
    image = noise_picture(17, 30)
    found = Averaged(painted, (1, 0.5, 2))(image)
    assert sizes(painted.asked) == [(17, 30), (8, 15), (34, 60)]
    grid = (5, 8)
    small, large = (on_grid(painted(resized(image, size)), grid) for size in ((8, 15), (34, 60)))
    assert torch.allclose(found, unit_length(painted(image) + small + large), atol=1e-5)
    assert_unit(found)


def test_the_grid_is_that_of_the_picture_even_if_it_is_not_averaged_over():
    found = Averaged(Painted(), (0.5,))(noise_picture(16, 24))
    assert found.shape == (4, 6, 4)


@pytest.mark.parametrize("scale", [0.01, 3])
def test_no_picture_is_too_small(scale: float):
    assert Averaged(Painted(), (1, scale), flip=True)(plain_picture(9, 1, 5)).shape == (1, 2, 4)


def test_plain_pictures_stay_plain():
    found = Averaged(Painted(), (1, 0.7, 1.6), flip=True)(plain_picture(100, 20, 12))
    assert torch.allclose(found, Painted()(plain_picture(100, 20, 12)), atol=1e-5)


def test_options_show_in_the_name_of_the_averaged_and_of_its_files(tmp_path: Path):
    extractors = [
        Averaged(Painted(), *options)
        for options in (((1,),), ((1,), True), ((1, 2),), ((1, 2), True), ((1.2,),), ((1, 0.5),), ((10.5,),))
    ]
    assert len({extractor.name for extractor in extractors}) == len(extractors)
    for extractor in extractors:
        CachedFeatures(extractor, tmp_path)(plain_picture(3))
    assert len(list(tmp_path.iterdir())) == len(extractors)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,)])
def test_scales_that_are_none(scales: tuple[float, ...]):
    with pytest.raises(ValueError, match="one or more scales above 0"):
        Averaged(Painted(), scales)


def test_a_picture_is_read_once_in_all_runs(tmp_path: Path):
    painted = Painted()
    image = noise_picture(16, 24)
    cached = CachedFeatures(painted, tmp_path)
    first = cached(image)
    later = CachedFeatures(painted, tmp_path)
    assert torch.equal(cached(image.clone()), first) and torch.equal(later(image), first)
    assert len(painted.asked) == 1
    assert cached.name == painted.name
    assert first.dtype == torch.float32
    assert_unit(first)
    assert (first - painted(image)).abs().max() < 1e-3


def test_a_damaged_file_is_read_anew(tmp_path: Path):
    painted = Painted()
    first = CachedFeatures(painted, tmp_path)(plain_picture(7))
    (path,) = tmp_path.glob("*/*")
    path.write_bytes(path.read_bytes()[:-40])
    for _ in range(2):
        assert torch.equal(CachedFeatures(painted, tmp_path)(plain_picture(7)), first)
    assert len(painted.asked) == 2


def test_other_extractors_and_segmenters_of_the_same_name_are_told_apart(tmp_path: Path):
    image = plain_picture(7)
    fake, painted, other = FakeSegmenter("fake"), Painted("fake"), Painted("other")
    embedding = CachedSegmenter(fake, tmp_path).embed(image)
    for extractor in (painted, other):
        assert CachedFeatures(extractor, tmp_path)(image).shape == (1, 2, 4)
        assert len(extractor.asked) == 1
    again = CachedSegmenter(fake, tmp_path).embed(image)
    assert fake.read == [7] and torch.equal(again.features[0], embedding.features[0])
    assert len(list(tmp_path.iterdir())) == 3


def test_pictures_are_read_ahead(tmp_path: Path):
    painted = Painted()
    cached = CachedFeatures(painted, tmp_path)
    with cached.prefetch(plain_picture(value) for value in range(10)):
        for value in range(10):
            assert torch.allclose(cached(plain_picture(value)), painted(plain_picture(value)), atol=1e-3)
    assert len(painted.asked) == 20
    assert not [thread for thread in threading.enumerate() if thread.name == "splatseg-reader"]


class Refusing(Painted):
    def __call__(self, image: Tensor) -> Tensor:
        raise RuntimeError("out of memory")


def test_what_goes_wrong_ahead_comes_out_where_it_is_wanted(tmp_path: Path):
    cached = CachedFeatures(Refusing(), tmp_path)
    with cached.prefetch([plain_picture(1)]), pytest.raises(RuntimeError, match="out of memory"):
        cached(plain_picture(1))


def test_the_packaged_network_is_the_one_called_efficientnet(tmp_path: Path):
    extractor: FeatureExtractor = features_named("efficientnet")
    image = noise_picture(40, 60)
    found = extractor(image)
    assert extractor.name.startswith("efficientnet-lite0-") and found.shape == (5, 8, 112 + 192)
    cached = CachedFeatures(Averaged(extractor, (1, 1.5), flip=True), tmp_path)
    assert cached(image).shape == found.shape


@pytest.fixture(scope="module")
def mobile_sam():
    return features_named("sam")


@pytest.mark.parametrize(("size", "grid"), [((60, 100), (38, 64)), ((100, 50), (64, 32)), ((1, 200), (1, 64))])
def test_mobile_sam_s_features_cover_the_picture_alone(size: tuple[int, int], grid: tuple[int, int], mobile_sam):
    image = noise_picture(*size)
    found = mobile_sam(image)
    assert mobile_sam.name.startswith("mobile-sam-") and mobile_sam.name != mobile_sam.segmenter.name
    assert found.shape == (*grid, 256) and found.dtype == torch.float32
    assert_unit(found)


def test_mobile_sam_s_features_are_those_of_its_embedding(mobile_sam):
    image = noise_picture(48, 64)
    (square,) = mobile_sam.segmenter.embed(image).features
    expected = unit_length(square.float().permute(1, 2, 0))[:48]
    assert torch.allclose(mobile_sam(image), expected, atol=0.02)


def test_dinov2_is_read_from_folders(tmp_path: Path):
    pytest.importorskip("transformers", reason="DINOv2 needs transformers (the extra dino)")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        features_named("dinov2", tmp_path)


@pytest.mark.parametrize("name", ["efficientnet", "sam"])
def test_a_checkpoint_that_would_not_be_read_is_not_passed_over(name, tmp_path: Path):
    with pytest.raises(ValueError, match=f"{name} brings its weights; .* choose dinov2"):
        features_named(name, tmp_path)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="no features are called 'clip'"):
        features_named("clip")  # pyright: ignore[reportArgumentType]
