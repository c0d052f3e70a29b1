from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.scene import Lens, View, read_label_map
from splatseg_ns.scene.view import view_names
from tests.scene.examples import write_picture

LENS = Lens(fx=5.0, fy=5.0, cx=4.0, cy=3.0)


def make_view(image_path: Path, **changes: Any) -> View:
    view = View(name="a", split="train", viewmat=torch.eye(4), lens=LENS, width=8, height=6, image_path=image_path)
    return replace(view, **changes)


def test_a_view_without_distortion_shows_its_files(tmp_path: Path):
    picture = write_picture(tmp_path / "a.png", 8, 6)
    ids = np.arange(48, dtype=np.int64).reshape(6, 8) * 100_000
    np.save(tmp_path / "ids.npy", ids)
    view = make_view(tmp_path / "a.png", label_source=partial(read_label_map, tmp_path / "ids.npy"))
    assert torch.equal(view.image(), torch.from_numpy(picture))
    label_map = view.label_map()
    assert label_map is not None
    assert label_map.dtype == torch.int32
    assert np.array_equal(label_map.numpy(), ids)
    assert (view.camera.width, view.camera.height) == (8, 6)
    assert torch.equal(view.camera.K, torch.tensor([[5.0, 0.0, 4.0], [0.0, 5.0, 3.0], [0.0, 0.0, 1.0]]))


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path):
    view = make_view(tmp_path / "missing.png", mask_path=tmp_path / "missing_mask.png")
    assert view.camera.width == 8
    assert view.label_map() is None
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        view.image()
    with pytest.raises(FileNotFoundError, match=r"missing_mask\.png"):
        view.valid_mask()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_every_mode_come_as_rgb(tmp_path: Path, mode: str):
    write_picture(tmp_path / "rgb.png", 8, 6)
    converted = Image.open(tmp_path / "rgb.png").convert(mode)
    converted.save(tmp_path / "a.png")
    image = make_view(tmp_path / "a.png").image()
    assert image.shape == (6, 8, 3)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), np.array(converted.convert("RGB")))


def test_pictures_of_16_bits_are_refused(tmp_path: Path):
    Image.fromarray(np.full((6, 8), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: .* convert it to 8 bits"):
        make_view(tmp_path / "a.png").image()


def test_sizes_that_do_not_fit_are_named(tmp_path: Path):
    write_picture(tmp_path / "a.png", 9, 6)
    with pytest.raises(ValueError, match=r"a\.png: the picture is 9x6, its camera 8x6"):
        make_view(tmp_path / "a.png").image()
    view = make_view(tmp_path / "a.png", label_source=lambda: torch.zeros(6, 7, dtype=torch.int64))
    with pytest.raises(ValueError, match="view a: the label map is 7x6, its camera 8x6"):
        view.label_map()


@pytest.mark.parametrize("bad", [torch.zeros(6, 8), torch.zeros(6, 8, 1, dtype=torch.int64)])
def test_label_sources_must_give_integers_of_two_dimensions(tmp_path: Path, bad: torch.Tensor):
    with pytest.raises(ValueError, match=re.escape("view a: a label map is an [H, W] tensor of integers")):
        make_view(tmp_path / "a.png", label_source=lambda: bad).label_map()


def test_the_valid_mask_is_where_the_file_is_not_zero(tmp_path: Path):
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    valid = make_view(tmp_path / "a.png", mask_path=tmp_path / "mask.png").valid_mask()
    assert valid is not None
    assert np.array_equal(valid.numpy(), mask > 0)
    write_picture(tmp_path / "mask.png", 8, 6)
    with pytest.raises(ValueError, match=r"mask\.png: a mask has one channel"):
        make_view(tmp_path / "a.png", mask_path=tmp_path / "mask.png").valid_mask()


def test_names_are_paths_without_suffixes_unless_they_clash():
    assert view_names([PurePosixPath("a/1.jpg"), PurePosixPath("b/1.v2.jpg")]) == ["a/1", "b/1.v2"]
    assert view_names([PurePosixPath("1.jpg"), PurePosixPath("1.png")]) == ["1.jpg", "1.png"]
