from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.masks.label_file import read_ids, read_object_mask
from splatseg_ns.scene import IGNORED
from tests.masks.examples import write_ids

IDS = np.array([[0, 1, 300], [70_000, 2**24 - 1, 0]])


def rgb_of(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_are_ids_in_base_256(tmp_path: Path, mode: str):
    Image.fromarray(rgb_of(IDS)).convert(mode).save(tmp_path / "a.png")
    ids = read_ids(tmp_path / "a.png")
    assert ids.dtype == torch.int32
    assert ids.tolist() == IDS.tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_grey_picture_in_color_is_grey(tmp_path: Path, mode: str):
    grey = np.array([[0, 3], [200, 255]], np.uint8)
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    assert read_ids(tmp_path / "a.png").tolist() == grey.tolist()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_npz_of_every_integer_type(tmp_path: Path, dtype: type):
    np.savez_compressed(tmp_path / "a.npz", anything=np.array([[0, 1], [1, 0]], dtype), scale=np.float32(2.0))
    assert read_ids(tmp_path / "a.npz").tolist() == [[0, 1], [1, 0]]


def test_ignored_values_become_one(tmp_path: Path):
    write_ids(tmp_path / "a.png", np.array([[0, 255, 7]]))
    assert read_ids(tmp_path / "a.png", ignore=255).tolist() == [[0, IGNORED, 7]]
    np.save(tmp_path / "a.npy", np.array([[0, -1, 7]]))
    assert read_ids(tmp_path / "a.npy", ignore=-1).tolist() == [[0, IGNORED, 7]]


@pytest.mark.parametrize("ignore", [None, 255])
def test_other_negative_ids_are_refused(tmp_path: Path, ignore: int | None):
    np.save(tmp_path / "a.npy", np.array([[0, -1, 7]]))
    with pytest.raises(ValueError, match=r"a\.npy: holds the id -1; ids are 0 or more, unless named as ignored"):
        read_ids(tmp_path / "a.npy", ignore)


@pytest.mark.parametrize("value", [1, 7, 255, 40_000])
def test_the_mask_of_an_object_is_what_is_not_zero(tmp_path: Path, value: int):
    write_ids(tmp_path / "a.png", np.array([[0, value], [value, 0]]))
    assert read_object_mask(tmp_path / "a.png").tolist() == [[0, 1], [1, 0]]


def test_masks_of_one_value_are_empty_or_full(tmp_path: Path):
    write_ids(tmp_path / "none.png", np.zeros((2, 2)))
    write_ids(tmp_path / "all.png", np.full((2, 2), 255))
    write_ids(tmp_path / "some.png", np.array([[0, 128, 255]]))
    assert read_object_mask(tmp_path / "none.png").sum() == 0
    assert read_object_mask(tmp_path / "all.png").sum() == 4
    assert read_object_mask(tmp_path / "some.png", ignore=128).tolist() == [[0, IGNORED, 1]]


def test_ids_are_no_mask(tmp_path: Path):
    write_ids(tmp_path / "a.png", np.array([[0, 1, 2, 3]]))
    with pytest.raises(
        ValueError, match=r"a\.png: the mask of one object has two values, this one 4; .* give the fold"
    ):
        read_object_mask(tmp_path / "a.png")


def test_bad_files_are_refused(tmp_path: Path):
    for name in ("broken.png", "broken.npy", "broken.npz"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(ValueError, match=f"{name}: no readable"):
            read_ids(tmp_path / name)
    for name in ("missing.png", "missing.npz"):
        with pytest.raises(FileNotFoundError):
            read_ids(tmp_path / name)
    Image.fromarray(rgb_of(IDS)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-25])
    with pytest.raises(ValueError, match=r"cut\.png: no readable PNG"):
        read_ids(tmp_path / "cut.png")


def test_pictures_whose_ids_are_in_doubt_are_refused(tmp_path: Path):
    Image.new("RGBA", (2, 2), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    with pytest.raises(ValueError, match=r"clear\.png: is transparent in places"):
        read_ids(tmp_path / "clear.png")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 2), int), "b": np.zeros((2, 2), int)}, r"found a int64 \[2, 2\], b int64 \[2, 2\]"),
        ({"a": np.zeros((2, 2))}, r"found a float64 \[2, 2\]"),
        ({}, "found nothing"),
        ({"a": np.array([["x"]], object)}, "no readable NPZ archive"),
        ({"a": np.array([[2**40]])}, "holds the id 1099511627776, which does not fit"),
    ],
)
def test_archives_without_one_label_map_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    np.savez(tmp_path / "a.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=message):
        read_ids(tmp_path / "a.npz")
