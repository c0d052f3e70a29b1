from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.scene import find_label_maps, read_label_map


def write_grey_png(path: Path, ids: np.ndarray, depth: int) -> None:
    """A grey PNG of 1, 2, 4, 8 or 16 bits per pixel; the last ones of a row's bits that fill no byte are zero."""
    height, width = ids.shape
    bits = (ids[..., None] >> np.arange(depth - 1, -1, -1) & 1).astype(np.uint8).reshape(height, width * depth)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), np.packbits(bits, axis=1)], axis=1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth(tmp_path: Path, depth: int):
    ids = np.random.default_rng(depth).integers(0, 2**depth, (7, 11))
    write_grey_png(tmp_path / "ids.png", ids, depth)
    read = read_label_map(tmp_path / "ids.png")
    assert read.dtype == torch.int32
    assert np.array_equal(read.numpy(), ids)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png_gives_indices_not_colours(tmp_path: Path, bits: int):
    ids = np.random.default_rng(bits).integers(0, 2**bits, (7, 11), dtype=np.uint8)
    picture = Image.fromarray(ids)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    picture.save(tmp_path / "ids.png", bits=bits)
    assert np.array_equal(read_label_map(tmp_path / "ids.png").numpy(), ids)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_npy_of_every_integer_type(tmp_path: Path, dtype: type):
    ids = np.array([[0, 1], [1, 0]], dtype)
    np.save(tmp_path / "ids.npy", ids)
    assert read_label_map(tmp_path / "ids.npy").tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros((2, 2)), r"ids\.npy: a label map is an \[H, W\] array of integers, got float64 \[2, 2\]"),
        (np.zeros((2, 2, 1), int), r"got int64 \[2, 2, 1\]"),
        (np.array([[2**40]]), "holds the id 1099511627776, which does not fit into 32 bits"),
        (np.array([["a"]], object), "no readable NPY array"),
    ],
)
def test_bad_npy_files_are_refused(tmp_path: Path, ids: np.ndarray, message: str):
    np.save(tmp_path / "ids.npy", ids)
    with pytest.raises(ValueError, match=message):
        read_label_map(tmp_path / "ids.npy")


def test_bad_pictures_are_refused(tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png: a picture of mode RGB; a label map has one channel"):
        read_label_map(tmp_path / "rgb.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.png: no readable PNG"):
        read_label_map(tmp_path / "broken.png")
    with pytest.raises(ValueError, match=r"ids\.jpg: label maps are read from \.png and \.npy files"):
        read_label_map(tmp_path / "ids.jpg")
    with pytest.raises(FileNotFoundError):
        read_label_map(tmp_path / "missing.png")


def test_label_maps_are_found_by_path_then_by_unique_stem(tmp_path: Path):
    for place in ("left/1.png", "right/1.npy", "2.png", "deep/3.png", "other.png", "2.npy"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    found = find_label_maps(tmp_path, ["left/1", "right/1", "left/2", "3", "middle/1", "4"])
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.items()} == {
        "left/1": "left/1.png",
        "right/1": "right/1.npy",
        "left/2": "2.png",
        "3": "deep/3.png",
    }


def test_a_stem_that_two_views_share_matches_neither(tmp_path: Path):
    (tmp_path / "1.png").touch()
    assert find_label_maps(tmp_path, ["left/1", "right/1"]) == {}
