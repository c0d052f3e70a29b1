"""Pictures annotated with labelme: polygons, rectangles, circles and masks, in a .json beside each picture."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageDraw, ImageOps
from torch import Tensor

from splatseg_ns.scene import BACKGROUND, IGNORED, read_picture

SPECIAL_LABELS = {"_background_": BACKGROUND, "__ignore__": IGNORED}
"""Labels that labelme itself gives a meaning."""


@dataclass(frozen=True)
class Shape:
    """One annotated region."""

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]
    """x and y in pixels, from the picture's corner."""

    mask: str | None = None
    """Of a mask: a PNG in base64, with its corner at the first point."""


@dataclass(frozen=True)
class LabelmeFile:
    """The annotation of one picture."""

    path: Path
    shapes: tuple[Shape, ...]
    image_name: str
    """Of the picture, beside the file."""

    embedded: str | None
    """The picture itself in base64, if the file holds it."""

    @property
    def labels(self) -> list[str]:
        """The names that it uses, sorted, without those that labelme itself gives a meaning."""
        return sorted({shape.label for shape in self.shapes} - SPECIAL_LABELS.keys())

    def image(self) -> Tensor:  # [H, W, 3] uint8
        """The picture: the file beside the annotation, else what the annotation holds."""
        beside = self.path.parent / self.image_name.replace("\\", "/")
        if self.image_name and beside.is_file():
            return _upright(beside)
        if self.embedded is None:
            raise FileNotFoundError(f"{self.path}: its picture {self.image_name!r} is not beside it; put it there")
        try:
            with Image.open(io.BytesIO(base64.b64decode(self.embedded))) as picture:
                return torch.from_numpy(np.array(picture.convert("RGB")))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{self.path}: its picture cannot be read; put {self.image_name!r} beside it") from error

    def label_map(
        self,
        ids: dict[str, int],  # of the labels
        height: int,
        width: int,
    ) -> Tensor:  # [H, W] int32
        """The ids of the regions, later ones over earlier ones, 0 elsewhere."""
        found = np.zeros((height, width), np.int32)
        known = {**ids, **SPECIAL_LABELS}
        for shape in self.shapes:
            found[self._inside(shape, height, width)] = known[shape.label]
        return torch.from_numpy(found)

    def _inside(self, shape: Shape, height: int, width: int) -> np.ndarray:  # [H, W] bool
        canvas = Image.new("1", (width, height))
        draw = ImageDraw.Draw(canvas)
        if shape.kind == "mask":
            corner = round(shape.points[0][0]), round(shape.points[0][1])
            canvas.paste(self._mask(shape), corner)
        elif shape.kind == "circle":
            (x, y), (edge_x, edge_y) = shape.points
            radius = math.hypot(edge_x - x, edge_y - y)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
        elif shape.kind == "rectangle":
            (left, top), (right, bottom) = shape.points
            box = min(left, right), min(top, bottom), max(left, right), max(top, bottom)
            draw.rectangle(box, outline=1, fill=1)
        else:
            draw.polygon(list(shape.points), outline=1, fill=1)
        return np.array(canvas)

    def _mask(self, shape: Shape) -> Image.Image:
        try:
            with Image.open(io.BytesIO(base64.b64decode(shape.mask or ""))) as picture:
                return picture.convert("L").point(lambda value: 255 if value else 0).convert("1")
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{self.path}: the mask of {shape.label!r} cannot be read; draw it again") from error


_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 1, "oriented_rectangle": 4}
"""How many points a shape needs; a circle has its centre and a point of its edge."""


def is_labelme(path: Path) -> bool:
    """Whether a .json is an annotation by labelme, well-formed or not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and "shapes" in content


def read_labelme(path: str | Path) -> LabelmeFile:
    """Read an annotation; its picture is read when asked for."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        shapes = tuple(_shape(entry) for entry in content["shapes"])
        name, embedded = content.get("imagePath") or "", content.get("imageData")
        if not isinstance(name, str) or not isinstance(embedded, str | None):
            raise ValueError("imagePath and imageData are text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: no readable annotation by labelme ({reason}); save it again") from error
    return LabelmeFile(path, shapes, name, embedded)


def _shape(entry: dict[str, Any]) -> Shape:
    label, kind = entry["label"], entry.get("shape_type") or "polygon"
    points: Sequence[Sequence[float]] = entry["points"]
    if not isinstance(label, str) or not label.strip():
        raise ValueError("a shape has no label")
    if kind not in _POINTS:
        raise ValueError(f"{label!r} is a {kind}, which has no inside; draw a {', '.join(_POINTS)}")
    if len(points) < _POINTS[kind] or (kind in ("rectangle", "circle") and len(points) != 2):
        raise ValueError(f"{label!r}: a {kind} of {len(points)} points")
    corners = tuple((float(x), float(y)) for x, y in points)
    if not all(math.isfinite(number) for corner in corners for number in corner):
        raise ValueError(f"{label!r} has a point that is not finite")
    mask = entry.get("mask")
    if not isinstance(mask, str | None):
        raise ValueError(f"the mask of {label!r} is no text")
    return Shape(label.strip(), kind, corners, mask)


def _upright(path: Path) -> Tensor:  # [H, W, 3] uint8
    """A picture as labelme shows it, which goes by what the camera noted about how it was held."""
    image = read_picture(path)
    with Image.open(path) as picture:
        if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return torch.from_numpy(np.array(ImageOps.exif_transpose(picture).convert("RGB")))
