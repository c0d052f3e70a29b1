"""Gaussian splats and seed points in .ply files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.scene.ply_file import FIELD_TYPES, PlyBlock, PlyFile, write_ply_file
from splatseg_ns.scene.profile import DEFAULT_PROFILE, RenderProfile
from splatseg_ns.scene.spherical_harmonics import SH_COUNTS
from splatseg_ns.scene.splats import Splats

_NORMALS = ("nx", "ny", "nz")
_ROWS_PER_COPY = 4096
"""So few rows stay in the processor's cache while their columns are copied one by one."""


class PlyScene(NamedTuple):
    """Splats and whatever else their file held."""

    splats: Splats
    extra: dict[str, Tensor]
    """The other fields of each Gaussian by name, normals included, one value per row."""

    blocks: tuple[PlyBlock, ...]
    """The other elements of the file."""


class SeedPoints(NamedTuple):
    """Coloured points on surfaces, as structure from motion finds them."""

    xyz: Tensor  # [P, 3] float32
    rgb: Tensor  # [P, 3] uint8


def read_ply(path: str | Path, *, profile: RenderProfile = DEFAULT_PROFILE) -> Splats:
    """The splats of a file of the common 3DGS layout, their fields in any order; what else it holds is left out."""
    return _splats_of(_open_binary(path).rows("vertex"), Path(path), profile)


def read_ply_scene(path: str | Path, *, profile: RenderProfile = DEFAULT_PROFILE) -> PlyScene:
    """As ``read_ply``, with the other fields and elements of the file, so that ``write_ply`` can keep them."""
    file = _open_binary(path)
    vertex = file.rows("vertex")
    splats = _splats_of(vertex, file.path, profile)
    own = _fields(splats.sh.shape[1])
    extra = {
        name: torch.from_numpy(vertex[name].astype(vertex.dtype[name].newbyteorder("="), copy=True))
        for name in _names(vertex)
        if name not in own
    }
    return PlyScene(splats, extra, file.blocks_besides("vertex"))


def write_ply(
    path: str | Path,
    splats: Splats,
    extra: Mapping[str, Tensor] | None = None,  # each [N]
    *,
    blocks: Sequence[PlyBlock] = (),
    normals: bool = True,
) -> None:
    """Write the standard binary layout of 3DGS in float32; the file is replaced in one step.

    Normals mean nothing for splats, but some readers want them: zeros, unless ``extra`` has nx, ny and nz.
    """
    own = _fields(splats.sh.shape[1])
    beside = {name: _column_of(name, column, len(splats)) for name, column in (extra or {}).items()}
    if clash := [name for name in beside if name in own]:
        raise ValueError(f"{path}: extra field {clash[0]!r} is one of the splats' own; give it another name")
    given_normals = {name: beside.pop(name, np.zeros(len(splats), np.float32)) for name in _NORMALS}
    columns: dict[str, np.ndarray] = {}
    for name, (tensor_name, index) in own.items():
        columns[name] = _flat_rows(getattr(splats, tensor_name).detach().cpu().to(torch.float32).numpy())[:, index]
        if name == "z" and normals:
            columns |= given_normals
    columns |= beside
    vertex = np.empty(len(splats), [(name, column.dtype.newbyteorder("<")) for name, column in columns.items()])
    _copy_columns([(column, vertex[name]) for name, column in columns.items()])
    write_ply_file(path, "vertex", vertex, blocks)


def read_points_ply(path: str | Path) -> SeedPoints:
    """The points of a .ply file, text or binary; grey where the file has no colours."""
    path = Path(path)
    vertex = PlyFile(path).rows("vertex")
    for name in ("x", "y", "z"):
        _require_type(vertex, name, "f", "float or double", path)
    xyz = np.stack([vertex[name] for name in ("x", "y", "z")], axis=-1).astype(np.float32)
    rgb = np.full(xyz.shape, 128, np.uint8)
    if "red" in _names(vertex):
        for column, name in enumerate(("red", "green", "blue")):
            _require_type(vertex, name, "u1", "uchar", path)
            rgb[:, column] = vertex[name]
    return SeedPoints(torch.from_numpy(xyz), torch.from_numpy(rgb))


def _fields(sh_count: int) -> dict[str, tuple[str, int]]:
    """Each field of the standard layout, in its order: the tensor it belongs to and its place in a flattened row."""
    table = {name: ("means", index) for index, name in enumerate("xyz")}
    table |= {f"f_dc_{channel}": ("sh", channel) for channel in range(3)}
    # Files hold all coefficients of red, then of green, then of blue; a tensor holds three channels per coefficient.
    rest = [(channel, k) for channel in range(3) for k in range(1, sh_count)]
    table |= {f"f_rest_{number}": ("sh", 3 * k + channel) for number, (channel, k) in enumerate(rest)}
    table["opacity"] = ("logit_opacities", 0)
    table |= {f"scale_{index}": ("log_scales", index) for index in range(3)}
    table |= {f"rot_{index}": ("raw_quats", index) for index in range(4)}
    return table


def _splats_of(vertex: np.ndarray, path: Path, profile: RenderProfile) -> Splats:
    sh_count = _sh_count(vertex, path)
    fields = _fields(sh_count)
    for name in fields:
        _require_type(vertex, name, "f4", "float", path)
    count = len(vertex)
    tensors = {
        "means": torch.empty(count, 3),
        "raw_quats": torch.empty(count, 4),
        "log_scales": torch.empty(count, 3),
        "logit_opacities": torch.empty(count),
        "sh": torch.empty(count, sh_count, 3),
    }
    flat = {name: _flat_rows(tensor.numpy()) for name, tensor in tensors.items()}
    _copy_columns([(vertex[name], flat[tensor_name][:, index]) for name, (tensor_name, index) in fields.items()])
    return Splats(**tensors, profile=profile)


def _sh_count(vertex: np.ndarray, path: Path) -> int:
    """How many colour coefficients per channel the fields tell of."""
    names = _names(vertex)
    if any(name.startswith("packed_") for name in names):
        raise ValueError(f"{path}: a compressed splat; save it as a standard (uncompressed) .ply first")
    if "x" in names and "f_dc_0" not in names:
        raise ValueError(f"{path}: no field 'f_dc_0', so no splat with colour coefficients; export it with them")
    rest_count = sum(1 for name in names if re.fullmatch(r"f_rest_\d+", name))
    if rest_count % 3 or rest_count // 3 + 1 not in SH_COUNTS:
        wanted = ", ".join(str(3 * (count - 1)) for count in SH_COUNTS)
        raise ValueError(f"{path}: {rest_count} f_rest fields fit no colour degree; there must be one of {wanted}")
    return rest_count // 3 + 1


def _open_binary(path: str | Path) -> PlyFile:
    """The file, if it is of the one byte order that splats come in."""
    file = PlyFile(path)
    if file.format != "binary_little_endian":
        raise ValueError(f"{path}: format {file.format!r}; save the splats as binary_little_endian")
    return file


def _require_type(vertex: np.ndarray, name: str, kind: str, wanted: str, path: Path) -> None:
    """``kind`` is a numpy type without its byte order, or the letter of a family of types."""
    if name not in _names(vertex):
        raise ValueError(f"{path}: the vertex element lacks the field {name!r}; export the file again with it")
    dtype = vertex.dtype[name]
    if kind not in (dtype.kind, dtype.str[1:]):
        raise ValueError(f"{path}: field {name!r} is of type {dtype.name}, not {wanted}; export it as {wanted}")


def _names(vertex: np.ndarray) -> tuple[str, ...]:
    return vertex.dtype.names or ()


def _column_of(name: str, column: Tensor, count: int) -> np.ndarray:  # [N]
    """The values of an extra field in a type that a .ply can hold."""
    if not name.isascii() or len(name.split()) != 1:
        raise ValueError(f"extra field {name!r}: the name must be one word of ASCII letters; rename it")
    if tuple(column.shape) != (count,):
        raise ValueError(f"extra field {name!r} must have shape [{count}], one value per row, got {list(column.shape)}")
    values = column.detach().cpu().numpy()
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        narrow = values.astype(np.int32)
        if not np.array_equal(narrow, values):
            raise ValueError(
                f"extra field {name!r} holds integers beyond 32 bits, which no .ply can hold; renumber them"
            )
        return narrow
    if values.dtype.name not in FIELD_TYPES.values():
        wanted = ", ".join(FIELD_TYPES.values())
        raise ValueError(f"extra field {name!r} is {values.dtype}; convert it to one of {wanted}")
    return values


def _flat_rows(array: np.ndarray) -> np.ndarray:
    """A view with one flat row per Gaussian."""
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def _copy_columns(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Copy each first array of a pair into the second; all have the same length."""
    for start in range(0, len(pairs[0][0]), _ROWS_PER_COPY):
        rows = slice(start, start + _ROWS_PER_COPY)
        for source, target in pairs:
            target[rows] = source[rows]
