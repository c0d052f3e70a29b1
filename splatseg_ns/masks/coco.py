"""Masks in COCO's JSON: a dataset of many pictures, or the annotations of a single one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from splatseg_ns.masks.label_name import LabelName, as_label_id
from splatseg_ns.masks.overlap import OverlapRule, compose
from splatseg_ns.masks.rle import decode_rle
from splatseg_ns.scene import BACKGROUND, IGNORED

ID_FIELDS = ("object_id", "instance_id", "track_id", "category_id")
"""Fields of an annotation that may say which object it shows; the first one that all annotations have is taken.

An annotation's own ``id`` is none of them, because it differs from picture to picture.
"""


@dataclass(frozen=True)
class CocoPicture:
    """The annotations of one picture."""

    path: Path
    """The JSON file."""

    name: str
    """What the picture is called in it."""

    width: int
    height: int
    annotations: tuple[tuple[int, Mapping[str, Any]], ...]
    """Id of the object and run lengths of its mask."""

    def label_map(self, rule: OverlapRule, ignore: int | None = None) -> Tensor:  # [H, W] int32
        """The masks as one label map, ``IGNORED`` where the winner is the object ``ignore``."""
        masks = [(BACKGROUND, torch.zeros(self.height, self.width, dtype=torch.bool))]
        for number, (id, segmentation) in enumerate(self.annotations):
            try:
                mask = torch.from_numpy(decode_rle(segmentation))
            except ValueError as error:
                raise ValueError(f"{self.path}: mask {number} of {self.name}: {error}") from error
            if tuple(mask.shape) != (self.height, self.width):
                size = f"{mask.shape[1]}x{mask.shape[0]}"
                raise ValueError(
                    f"{self.path}: mask {number} of {self.name} is {size}, the picture {self.width}x{self.height}"
                )
            masks.append((id, mask))
        label_map = compose(masks, rule)
        return label_map if ignore is None else torch.where(label_map == ignore, IGNORED, label_map)


@dataclass(frozen=True)
class CocoDataset:
    """All pictures of a COCO file, by their paths without suffix, and what its categories are called."""

    path: Path
    pictures: Mapping[str, CocoPicture]
    names: Mapping[int, LabelName]
    """Empty unless the categories are the objects."""


def is_coco_dataset(path: Path) -> bool:
    """Whether a JSON file lists pictures and annotations."""
    content = _read_json(path)
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content


def read_coco_dataset(path: Path, id_field: str | None = None) -> CocoDataset:
    """A file with ``images``, ``annotations`` and ``categories``."""
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError(f"{path}: has no lists of 'images' and 'annotations'; is it a COCO dataset?")
    annotations = _annotations_of(content, path)
    field = id_field or _id_field(annotations, path)
    by_picture: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {}
    for annotation in annotations:
        by_picture.setdefault(annotation.get("image_id"), []).append(_entry(annotation, field, path))
    pictures = {}
    for image in content["images"]:
        try:
            name = PurePosixPath(image["file_name"]).with_suffix("").as_posix()
            entries = tuple(by_picture.get(image["id"], ()))
            pictures[name] = CocoPicture(path, name, int(image["width"]), int(image["height"]), entries)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: a picture lacks id, file_name, width or height ({error})") from error
    categories = content.get("categories", []) if field == "category_id" else []
    return CocoDataset(path, pictures, _category_names(categories, path))


def read_coco_picture(path: Path, id_field: str | None = None) -> CocoPicture:
    """A file with the annotations of one picture: a list, or an object that has one as ``annotations``."""
    content = _read_json(path)
    annotations = _annotations_of({"annotations": content} if isinstance(content, list) else content, path)
    if not annotations:
        raise ValueError(f"{path}: has no annotations, so the size of its masks is unknown; remove the file")
    field = id_field or _id_field(annotations, path)
    entries = tuple(_entry(annotation, field, path) for annotation in annotations)
    try:
        height, width = entries[0][1]["size"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the first mask has no size [height, width]") from error
    return CocoPicture(path, path.stem, width, height, entries)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no valid JSON ({error})") from error


def _annotations_of(content: Any, path: Path) -> list[dict[str, Any]]:
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list) or not all(isinstance(entry, dict) for entry in annotations):
        raise ValueError(f"{path}: has no list of 'annotations'; masks in JSON are read as COCO writes them")
    return annotations


def _id_field(annotations: list[dict[str, Any]], path: Path) -> str:
    for field in ID_FIELDS:
        if all(annotation.get(field) is not None for annotation in annotations):
            return field
    raise ValueError(
        f"{path}: the annotations do not say which object they show; give all of them one of {', '.join(ID_FIELDS)}, "
        "the same for an object in all pictures, or name the field"
    )


def _entry(annotation: Mapping[str, Any], field: str, path: Path) -> tuple[int, Mapping[str, Any]]:
    try:
        id = as_label_id(annotation.get(field))
    except ValueError as error:
        raise ValueError(f"{path}: {field} of an annotation: {error}") from error
    if id == BACKGROUND:
        raise ValueError(f"{path}: an annotation has the {field} 0, which stands for the background; count from 1")
    segmentation = annotation.get("segmentation")
    if not isinstance(segmentation, Mapping):
        raise ValueError(f"{path}: an annotation's 'segmentation' holds no run lengths; convert polygons to RLE")
    return id, segmentation


def _category_names(categories: Iterable[Any], path: Path) -> dict[int, LabelName]:
    names = {}
    for category in categories:
        try:
            default = LabelName.default(as_label_id(category["id"]))
            names[default.id] = LabelName(default.id, str(category["name"]), default.color)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: a category lacks id or name ({error})") from error
    names.pop(BACKGROUND, None)
    return names
