"""What the ids of label maps are called, and the files that say so."""

from __future__ import annotations

import colorsys
import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splatseg_ns.scene import BACKGROUND, atomic_write

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255 each."""

LABEL_NAME_FILES = ("labels.json", "labels.csv")
"""What a file with names is called in a folder of label maps."""

_GOLDEN_RATIO = 0.618033988749895
_HEX_COLOR = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


@dataclass(frozen=True)
class LabelName:
    """The name and the colour of an id."""

    id: int
    name: str
    color: Color

    @staticmethod
    def default(id: int) -> LabelName:
        """What an id is called that no file names."""
        return LabelName(id, f"object_{id}", default_color(id))


def default_color(id: int) -> Color:
    """A colour for an id, far from those of the ids next to it."""
    # Steps of the golden ratio leave no two of the first hues close together.
    hue = id * _GOLDEN_RATIO % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def find_label_names(folder: Path) -> Path | None:
    """The file with the names: labels.json or labels.csv in the folder, or a file beside it that is called like it."""
    inside = [folder / name for name in LABEL_NAME_FILES]
    beside = [Path(f"{folder.resolve()}{suffix}") for suffix in (".json", ".csv")]
    return next((path for path in inside + beside if path.is_file()), None)


def read_label_names(path: str | Path) -> dict[int, LabelName]:
    """The names and colours by id, without the background.

    JSON: ``{"3": {"name": "bear", "color": [230, 25, 75]}}``, ``{"3": "bear"}`` or a list of objects with an id.
    CSV: a header with id, name and, if wanted, color (``#e6194b``) or red, green and blue.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        records = _csv_records(text) if path.suffix.lower() == ".csv" else _json_records(text)
        names: dict[int, LabelName] = {}
        for id, name, color in records:
            if id in names:
                raise ValueError(f"the id {id} stands there twice")
            default = LabelName.default(id)
            names[id] = LabelName(id, name or default.name, default.color if color is None else as_color(color))
    except ValueError as error:
        example = '{"1": {"name": "bear", "color": [230, 25, 75]}}'
        raise ValueError(f"{path}: no readable names of labels ({error}); write them like {example}") from error
    names.pop(BACKGROUND, None)
    return names


def write_label_names(path: str | Path, names: Iterable[LabelName]) -> None:
    """A labels.json that ``read_label_names`` takes back."""
    records: dict[str, Any] = {str(BACKGROUND): {"name": "background", "color": [0, 0, 0]}}
    for name in sorted(names, key=lambda name: name.id):
        records[str(name.id)] = {"name": name.name, "color": list(name.color)}
    with atomic_write(path) as stream:
        stream.write(json.dumps(records, indent=1, ensure_ascii=False).encode())


def as_color(value: object) -> Color:
    """Three numbers from 0 to 255, or ``#rrggbb``."""
    if isinstance(value, str) and (parts := _HEX_COLOR.fullmatch(value.strip())):
        red, green, blue = (int(part, 16) for part in parts.groups())
        return red, green, blue
    if isinstance(value, list | tuple) and len(value) == 3 and all(type(part) is int for part in value):
        red, green, blue = value
        if all(0 <= part <= 255 for part in value):
            return red, green, blue
    raise ValueError(f"a colour is three whole numbers from 0 to 255 or #rrggbb, got {value!r}")


def as_label_id(value: object) -> int:
    """A whole number of at least zero, also as text."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if type(value) is int and value >= 0:
        return value
    raise ValueError(f"an id is a whole number of at least 0, got {value!r}")


def _json_records(text: str) -> Iterable[tuple[int, str | None, object]]:
    content = json.loads(text)
    if isinstance(content, dict):
        records = [(id, entry if isinstance(entry, Mapping) else {"name": entry}) for id, entry in content.items()]
    elif isinstance(content, list) and all(isinstance(entry, dict) for entry in content):
        records = [(entry.get("id"), entry) for entry in content]
    else:
        raise ValueError("neither an object with ids as keys nor a list of objects")
    for key, entry in records:
        id, name = as_label_id(key), entry.get("name")
        if name is not None and not isinstance(name, str):
            raise ValueError(f"the name of {id} is {name!r}, no text")
        yield id, name, entry.get("color")


def _csv_records(text: str) -> Iterable[tuple[int, str | None, object]]:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {"id", "name"} <= set(rows.fieldnames or []):
        raise ValueError("the first line of a CSV names the columns id and name")
    for row in rows:
        channels = [row.get(channel) for channel in ("red", "green", "blue")]
        color: object = row.get("color") or None
        if color is None and all(channels):
            color = [as_label_id(channel) for channel in channels]
        yield as_label_id(row["id"]), row["name"], color
