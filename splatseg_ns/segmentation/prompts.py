"""What a user points at: clicks and boxes in views, object by object."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from splatseg_ns.scene import Camera
from splatseg_ns.segmentation.scene_object import check_name

Level = Literal["auto", "part", "object", "group"]
"""How much is meant: ``auto`` and ``object`` what views agree on best; ``part`` less, ``group`` more than that."""

_LONGEST_SIDE = 16_384
"""Of the picture from a free camera, which is drawn as large as that; what anybody sees is far smaller."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FreeCamera:
    """A camera that is no view of the capture, in the frame of the splats and in plain numbers."""

    viewmat: tuple[tuple[float, ...], ...]  # [4, 4] world to camera
    K: tuple[tuple[float, ...], ...]  # [3, 3]
    width: int
    height: int

    @staticmethod
    def of(camera: Camera) -> FreeCamera:
        """The same camera, in single precision."""
        viewmat, K = (_rows(matrix.float().tolist()) for matrix in (camera.viewmat, camera.K))
        return FreeCamera(viewmat, K, camera.width, camera.height)

    def camera(self) -> Camera:
        """As engines take it."""
        return Camera(torch.tensor(self.viewmat), torch.tensor(self.K), self.width, self.height)

    @property
    def name(self) -> str:
        """A name for the view from there, which no other camera has."""
        numbers = repr((self.viewmat, self.K, self.width, self.height)).encode()
        return f"camera {hashlib.blake2b(numbers, digest_size=4).hexdigest()}"


@dataclass(frozen=True)
class ViewPrompts:
    """Clicks in one view, in pixels of its undistorted picture; the first pixel's centre is at 0.5, 0.5."""

    view: str
    points: tuple[Point, ...] = ()
    """On the object."""

    negative: tuple[Point, ...] = ()
    """Off the object."""

    box: Box | None = None
    """Left, top, right, bottom around the object."""

    camera: FreeCamera | None = None
    """Where the view was taken from, if it is none of the capture's."""

    def __post_init__(self) -> None:
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(f"view {self.view}: a box is left top right bottom, got {list(self.box)}")
        if both := set(self.points) & set(self.negative):
            raise ValueError(f"view {self.view}: {list(both.pop())} is said to be on the object and off it; which?")

    def check_size(self, width: int, height: int) -> None:
        """Stop if a prompt is outside the picture."""
        corners = [] if self.box is None else [self.box[:2], self.box[2:]]
        for x, y in (*self.points, *self.negative, *corners):
            if not (0 <= x <= width and 0 <= y <= height):
                raise ValueError(f"view {self.view}: {x:g} {y:g} is outside its picture of {width}x{height} pixels")


@dataclass(frozen=True)
class ObjectPrompts:
    """All that was pointed at for one object."""

    name: str
    views: tuple[ViewPrompts, ...]
    level: Level = "auto"

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.level not in get_args(Level):
            raise ValueError(f"object {self.name!r}: level is one of {', '.join(get_args(Level))}, got {self.level!r}")

    def checked(self, level: Level) -> ObjectPrompts:
        """The same at a level; stop if nothing says where the object is."""
        if not any(entry.points or entry.box is not None for entry in self.views):
            what = "are only clicks off it" if any(entry.negative for entry in self.views) else "is no click"
            raise ValueError(f"object {self.name!r}: there {what}; click on the object, or draw a box around it")
        return replace(self, level=level)

    def with_clicks(self, more: ViewPrompts) -> ObjectPrompts:
        """The same object after further clicks in a view."""
        views = {entry.view: entry for entry in self.views}
        if (before := views.get(more.view)) is not None:
            if more.camera and before.camera and more.camera != before.camera:
                raise ValueError(f"view {more.view}: two cameras have views of this name; each needs one of its own")
            box = before.box if more.box is None else more.box
            # Clicks that are repeated, as when a prompts file is read again, say nothing new.
            points, negative = (
                tuple(dict.fromkeys(part)) for part in (before.points + more.points, before.negative + more.negative)
            )
            more = ViewPrompts(more.view, points, negative, box, more.camera or before.camera)
        return replace(self, views=tuple((views | {more.view: more}).values()))

    def as_json(self) -> dict[str, Any]:
        """As a prompts file has it."""
        views = [{key: value for key, value in asdict(entry).items() if value} for entry in self.views]
        return {"name": self.name, "level": self.level, "views": views}


def read_prompts(path: str | Path) -> list[ObjectPrompts]:
    """The objects of a prompts file.

    ``{"objects": [{"name": "mug", "views": [{"view": "frame_00001", "points": [[310, 140]], "negative": [[5, 5]],
    "box": [250, 90, 380, 200]}]}]}``; an object needs points or a box in one view, all else may be left away.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text in UTF-8 ({error})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    try:
        objects = [prompts_from_json(entry) for entry in _list(_known(content, "objects"), "objects")]
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not objects:
        raise ValueError(f"{path}: there is no object; see 'splatseg click --help' for what a prompts file holds")
    names = [entry.name for entry in objects]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path}: two objects are called {repeated[0]!r}")
    return objects


def prompts_from_json(entry: Any) -> ObjectPrompts:
    """One object of a prompts file, or of what ``ObjectPrompts.as_json`` gave."""
    entry = _known(entry, "name", "level", "views")
    prompts = ObjectPrompts(entry["name"], (), entry.get("level", "auto"))
    for part in _list(entry, "views"):
        # A view that comes twice has the clicks of both.
        prompts = prompts.with_clicks(_view(part))
    return prompts


def _view(entry: Any) -> ViewPrompts:
    entry = _known(entry, "view", "points", "negative", "box", "camera")
    if not isinstance(entry["view"], str):
        raise ValueError(f"view is the name of a view, got {_shown(entry['view'])}")
    points, negative = (
        tuple((x, y) for x, y in (_numbers(point, 2) for point in _list(entry, key))) if key in entry else ()
        for key in ("points", "negative")
    )
    box = None
    if entry.get("box") is not None:
        left, top, right, bottom = _numbers(entry["box"], 4)
        box = (left, top, right, bottom)
    camera = None if entry.get("camera") is None else _camera(entry["camera"])
    return ViewPrompts(entry["view"], points, negative, box, camera)


def _camera(entry: Any) -> FreeCamera:
    entry = _known(entry, "viewmat", "K", "width", "height")
    viewmat, K = (tuple(_numbers(row, size) for row in _list(entry, key)) for key, size in (("viewmat", 4), ("K", 3)))
    camera = FreeCamera(viewmat, K, entry["width"], entry["height"])
    if not all(type(side) is int and 0 < side <= _LONGEST_SIDE for side in (camera.width, camera.height)):
        raise ValueError(
            f"the sides of a camera's picture are 1 to {_LONGEST_SIDE} pixels, got {camera.width!r}x{camera.height!r}"
        )
    camera.camera()
    return camera


def _rows(matrix: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix))


def _known(entry: Any, *keys: str) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"{keys[0]} is looked for in {_shown(entry)}, which is not a JSON object")
    if unknown := entry.keys() - set(keys):
        raise ValueError(f"unknown {sorted(unknown)[0]!r}; there are {', '.join(keys)}")
    return entry


def _list(entry: Mapping[str, Any], key: str) -> Sequence[Any]:
    if not isinstance(entry[key], list | tuple):
        raise ValueError(f"{key} is a list, got {_shown(entry[key])}")
    return entry[key]


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    try:
        if isinstance(values, list | tuple) and all(type(value) in (int, float) for value in values):
            numbers = tuple(float(value) for value in values)
            if len(numbers) == count and all(math.isfinite(number) for number in numbers):
                return numbers
    except OverflowError:
        pass
    raise ValueError(f"{_shown(values)} is not a list of {count} numbers")


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]
