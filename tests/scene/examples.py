"""Small splats and captures to test with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from splatseg_ns.scene import Splats
from splatseg_ns.scene.spherical_harmonics import SH_COUNTS

PLY_TYPES = {"u1": "uchar", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float", "f8": "double"}

IDENTITY_POSE = np.eye(4).tolist()


def random_splats(count: int, degree: int, seed: int = 0) -> Splats:
    """Gaussians with parameters of no special value."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Splats(
        means=numbers(count, 3),
        raw_quats=numbers(count, 4),
        log_scales=numbers(count, 3),
        logit_opacities=numbers(count),
        sh=numbers(count, SH_COUNTS[degree], 3),
    )


def random_rotation(seed: int = 0) -> torch.Tensor:  # [3, 3] float64
    """A rotation about no special axis."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return q * torch.linalg.det(q)


def write_picture(path: Path, width: int, height: int, seed: int = 0) -> np.ndarray:  # [height, width, 3] uint8
    """A lossless picture of noise, so that every pixel tells where it came from."""
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return picture


def write_transforms(folder: Path, frames: list[dict[str, Any]], **shared: Any) -> Path:
    """A transforms.json; shared intrinsics of an 8x6 picture unless told otherwise, frames at the origin."""
    meta = {"w": 8, "h": 6, "fl_x": 5.0, "fl_y": 5.0, "cx": 4.0, "cy": 3.0, "camera_model": "OPENCV"} | shared
    meta = {key: value for key, value in meta.items() if value is not None}
    meta["frames"] = [{"transform_matrix": IDENTITY_POSE} | frame for frame in frames]
    path = folder / "transforms.json"
    path.write_text(json.dumps(meta))
    return path


def write_ply_by_hand(
    path: Path,
    columns: dict[str, np.ndarray],
    *,
    file_format: str = "binary_little_endian",
    element: str = "vertex",
    before: tuple[bytes, bytes] = (b"", b""),
    after: tuple[bytes, bytes] = (b"", b""),
) -> Path:
    """A .ply of the given columns; header lines and content may go before and after them."""
    count = len(next(iter(columns.values())))
    order = ">" if file_format == "binary_big_endian" else "<"
    rows = np.empty(count, [(name, column.dtype.newbyteorder(order)) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    content = rows.tobytes()
    if file_format == "ascii":
        content = "".join(" ".join(str(value) for value in row.item()) + "\n" for row in rows).encode()
    fields = [f"property {PLY_TYPES[column.dtype.str[1:]]} {name}" for name, column in columns.items()]
    header = "\n".join([f"element {element} {count}", *fields, ""]).encode()
    start = f"ply\nformat {file_format} 1.0\n".encode()
    path.write_bytes(start + before[0] + header + after[0] + b"end_header\n" + before[1] + content + after[1])
    return path


def read_rows_by_hand(path: Path) -> np.ndarray:  # structured, all float32
    """The rows of a .ply whose only element has nothing but floats."""
    header, _, content = path.read_bytes().partition(b"end_header\n")
    lines = [line.split() for line in header.decode().splitlines()]
    assert all(line[1] == "float" for line in lines if line[0] == "property")
    return np.frombuffer(content, [(line[2], "<f4") for line in lines if line[0] == "property"])
