"""The .ply format: a header in text, then rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from splatseg_ns.scene.atomic_file import atomic_write

FIELD_TYPES = {
    "char": "int8",
    "uchar": "uint8",
    "short": "int16",
    "ushort": "uint16",
    "int": "int32",
    "uint": "uint32",
    "float": "float32",
    "double": "float64",
}
"""The format's types and numpy's names for them, which files may use as well."""

_BYTE_ORDERS: dict[str, Literal["<", ">", "="]] = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}


class PlyBlock(NamedTuple):
    """An element of a file, or the rest of a file from an element with lists on, as it stands there."""

    header: bytes
    content: bytes


@dataclass
class _Element:
    name: str
    count: int
    header: bytes
    fields: dict[str, str]
    """Numpy's type name of each field; empty for a list."""

    @property
    def has_lists(self) -> bool:
        return "" in self.fields.values()


class PlyFile:
    """An opened header; rows are read when asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.format = ""
        self._elements: list[_Element] = []
        with self.path.open("rb") as stream:
            self._read_header(stream)
            self._content_start = stream.tell()

    @property
    def names(self) -> list[str]:
        """The elements in their order."""
        return [element.name for element in self._elements]

    def rows(self, name: str) -> np.ndarray:
        """An element's rows as a structured array; the file is mapped, not copied."""
        element, start = self._find(name)
        for field, dtype in element.fields.items():
            if not dtype:
                raise ValueError(f"{self.path}: field {field!r} of element {name!r} holds lists; export it without")
        dtype = self._dtype_of(element)
        if self.format == "ascii":
            return self._text_rows(element, dtype)
        if start + element.count * dtype.itemsize > self.path.stat().st_size:
            raise ValueError(f"{self.path}: cut short within element {name!r}; copy or export the file again")
        if element.count * dtype.itemsize == 0:
            return np.empty(element.count, dtype)
        return np.memmap(self.path, dtype, mode="r", offset=start, shape=(element.count,))

    def blocks_besides(self, name: str) -> tuple[PlyBlock, ...]:
        """All other elements of a binary file, to be written again."""
        if self.names == [name]:
            return ()
        content = memoryview(self.path.read_bytes())
        blocks = []
        for number, element in enumerate(self._elements):
            if element.name == name:
                continue
            _, start = self._find(element.name)
            if element.has_lists:
                rest = self._elements[number:]
                blocks.append(PlyBlock(b"".join(part.header for part in rest), bytes(content[start:])))
                break
            stop = start + element.count * self._dtype_of(element).itemsize
            blocks.append(PlyBlock(element.header, bytes(content[start:stop])))
        return tuple(blocks)

    def _read_header(self, stream: BinaryIO) -> None:
        if stream.readline(16).strip() != b"ply":
            raise ValueError(f"{self.path}: no .ply file: it does not begin with the line 'ply'")
        for line in iter(lambda: stream.readline(4096), b""):
            if not line.endswith(b"\n"):
                raise ValueError(f"{self.path}: cut short within its header; copy or export the file again")
            words = line.decode("ascii", "replace").split()
            match words:
                case ["end_header"]:
                    break
                case ["format", str(name), _]:
                    self.format = name
                case ["element", str(name), str(count)] if count.isdecimal():
                    self._elements.append(_Element(name, int(count), line, {}))
                case ["property", *kind, str(name)] if kind and self._elements:
                    self._add_field(self._elements[-1], kind, name, line)
                case [] | ["comment" | "obj_info", *_]:
                    pass
                case _:
                    raise ValueError(f"{self.path}: damaged .ply header at {line.strip()!r}; export the file again")
        else:
            raise ValueError(f"{self.path}: cut short within its header; copy or export the file again")
        if self.format not in _BYTE_ORDERS:
            raise ValueError(f"{self.path}: the .ply header names no known format; export the file again")

    def _add_field(self, element: _Element, kind: list[str], name: str, line: bytes) -> None:
        dtype = "" if kind[0] == "list" else FIELD_TYPES.get(kind[0], kind[0])
        if dtype and (dtype not in FIELD_TYPES.values() or len(kind) > 1):
            raise ValueError(f"{self.path}: field {name!r} has the unknown type {kind[0]!r}; export the file again")
        if name in element.fields:
            raise ValueError(f"{self.path}: element {element.name!r} has the field {name!r} twice; rename one")
        element.fields[name] = dtype
        element.header += line

    def _find(self, name: str) -> tuple[_Element, int]:
        """An element and, in a binary file, where its rows begin."""
        start = self._content_start
        for element in self._elements:
            if element.name == name:
                return element, start
            if element.has_lists:
                raise ValueError(
                    f"{self.path}: element {element.name!r} holds lists and stands before {name!r}; "
                    f"export the file with {name!r} first"
                )
            start += element.count * self._dtype_of(element).itemsize
        found = ", ".join(map(repr, self.names)) or "none"
        raise ValueError(f"{self.path}: no {name!r} element (found: {found}); this is no point or splat file")

    def _dtype_of(self, element: _Element) -> np.dtype:
        order = _BYTE_ORDERS[self.format]
        return np.dtype([(field, np.dtype(name).newbyteorder(order)) for field, name in element.fields.items()])

    def _text_rows(self, element: _Element, dtype: np.dtype) -> np.ndarray:
        before = sum(other.count for other in self._elements[: self._elements.index(element)])
        rows = np.empty(element.count, dtype)
        with self.path.open("rb") as stream:
            stream.seek(self._content_start)
            lines = [line.decode("ascii", "replace") for line in islice(stream, before, before + element.count)]
        try:
            table = np.loadtxt(lines, ndmin=2) if lines else np.empty((0, len(element.fields)))
            if table.shape != (element.count, len(element.fields)):
                raise ValueError(f"{len(table)} rows of {table.shape[1]} instead of {element.count}")
        except ValueError as error:
            raise ValueError(f"{self.path}: damaged or cut short ({error}); copy or export it again") from error
        for index, field in enumerate(element.fields):
            rows[field] = table[:, index]
        return rows


def write_ply_file(
    path: str | Path,
    name: str,
    rows: np.ndarray,  # structured, little-endian
    blocks: Sequence[PlyBlock] = (),
) -> None:
    """Write one element and blocks of another file as binary_little_endian; the file is replaced in one step."""
    type_names = {numpy_name: ply_name for ply_name, numpy_name in FIELD_TYPES.items()}
    header = ["ply", "format binary_little_endian 1.0", f"element {name} {len(rows)}"]
    header += [f"property {type_names[rows.dtype[field].name]} {field}" for field in rows.dtype.names or ()]
    with atomic_write(path) as stream:
        stream.write("\n".join([*header, ""]).encode("ascii"))
        stream.writelines(block.header for block in blocks)
        stream.write(b"end_header\n")
        stream.write(rows.view(np.uint8).data if len(rows) else b"")
        stream.writelines(block.content for block in blocks)
