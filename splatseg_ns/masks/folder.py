"""Label maps of many views, as people keep them in folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.masks.coco import CocoPicture, is_coco_dataset, read_coco_dataset, read_coco_picture
from splatseg_ns.masks.label_file import PICTURE_SUFFIXES, read_ids, read_object_mask
from splatseg_ns.masks.label_name import LABEL_NAME_FILES, LabelName, find_label_names, read_label_names
from splatseg_ns.masks.overlap import OVERLAP_RULES, OverlapRule, compose
from splatseg_ns.masks.resize import Size, fit_label_map, size_of
from splatseg_ns.scene import IGNORED, Capture, match_names, nearest_names
from splatseg_ns.scene.matching import without_picture_suffix

Layout = Literal["auto", "maps", "objects"]

_SUFFIXES = (*PICTURE_SUFFIXES, ".json")


@dataclass(frozen=True)
class LabelFolderConfig:
    """How a folder is to be understood."""

    layout: Layout = "auto"
    """maps: a label map per view; objects: a folder per object with a mask per view; auto: see ``LabelFolder.open``."""

    ignore: int | None = None
    """Pixels of this value count for nothing."""

    overlap: OverlapRule = "smallest"
    """Whose a pixel is that the masks of several objects claim."""

    id_field: str | None = None
    """The field of a COCO annotation that says which object it shows; found by itself if not named."""

    def __post_init__(self) -> None:
        if self.layout not in ("auto", "maps", "objects"):
            raise ValueError(f"unknown layout {self.layout!r}; choose auto, maps or objects")
        if self.overlap not in OVERLAP_RULES:
            raise ValueError(f"unknown overlap rule {self.overlap!r}; choose one of {', '.join(OVERLAP_RULES)}")


@dataclass(frozen=True, eq=False)
class LabelFolder:
    """The label maps of views, read when asked for, and what their ids are called."""

    path: Path
    names: Mapping[int, LabelName]
    """Of the ids that a file or a folder names."""

    sources: Mapping[str, Callable[[Size | None], Tensor]] = field(repr=False)
    """By view; each gives its map in the size that is asked for, in that of its file by default."""

    @staticmethod
    def open(path: str | Path, views: Iterable[str], config: LabelFolderConfig | None = None) -> LabelFolder:
        """Find the label maps of these views, in a folder or in a COCO dataset.

        With the layout ``auto`` a folder holds label maps if one of them has the path of a view, or lies at the top
        and is called like one; else a COCO dataset if one lies at the top; else a folder per object.
        """
        path, views, config = Path(path), list(views), config or LabelFolderConfig()
        if path.is_file():
            return _open_coco(path, views, config)
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder of label maps, and no COCO file either")
        files = _files_of(path)
        if config.layout == "maps" or (config.layout == "auto" and _has_maps(files, views)):
            return _open_maps(path, files, views, config)
        if config.layout == "auto" and (dataset := _find_coco(path)) is not None:
            return _open_coco(dataset, views, config)
        return _open_objects(path, files, views, config)

    def read(self, view: str, size: Size | None = None) -> Tensor:  # [H, W] int32
        """The label map of a view, brought to a picture's size (width, height) if their aspects agree."""
        if view not in self.sources:
            raise LookupError(f"{self.path}: the view {view!r} has no label map")
        return self.sources[view](size)

    def name(self, id: int) -> LabelName:
        """What an id is called, and how it is coloured."""
        return self.names.get(id) or LabelName.default(id)

    def attach(self, capture: Capture) -> Capture:
        """The capture with these label maps, and no others; they belong to the pictures on disk."""
        return replace(
            capture,
            views=tuple(
                replace(
                    view,
                    label_source=partial(self.read, view.name, (view.width, view.height))
                    if view.name in self.sources
                    else None,
                )
                for view in capture
            ),
        )

    def view_counts(self) -> dict[int, int]:
        """In how many views each object shows, by id; reads all maps, and stops if no object is in any."""
        counts: Counter[int] = Counter()
        for view in self.sources:
            counts.update(id for id in self.read(view).unique().tolist() if id > 0)
        if not counts:
            raise ValueError(
                f"{self.path}: none of the {len(self.sources)} label maps holds an object, only background (0); "
                "are these the right files?"
            )
        return dict(sorted(counts.items()))


def _files_of(folder: Path) -> dict[str, list[Path]]:
    """What may be label maps, by path below the folder without suffix."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in inner.parts)
        is_names = inner.as_posix() in LABEL_NAME_FILES
        if path.suffix.lower() in _SUFFIXES and not is_hidden and not is_names and path.is_file():
            files.setdefault(inner.with_suffix("").as_posix(), []).append(path)
    return files


def _has_maps(files: Mapping[str, list[Path]], views: list[str]) -> bool:
    found = match_names(views, {name: name for name in files})
    return any("/" not in name or view in (name, without_picture_suffix(name)) for view, name in found.items())


def _open_maps(
    folder: Path, files: Mapping[str, list[Path]], views: list[str], config: LabelFolderConfig
) -> LabelFolder:
    found = match_names(views, files)
    if not found:
        raise _nothing_found(folder, files, views)
    sources = {view: partial(_read_map, _only(paths, view), config) for view, paths in found.items()}
    return LabelFolder(folder, _names_for(folder), sources)


def _open_objects(
    folder: Path, files: Mapping[str, list[Path]], views: list[str], config: LabelFolderConfig
) -> LabelFolder:
    by_object: dict[str, dict[str, list[Path]]] = {}
    for name, paths in files.items():
        pictures = [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES]
        top, _, inner = name.partition("/")
        if inner and pictures:
            by_object.setdefault(top, {})[inner] = pictures
    names = _object_names(sorted(by_object), _names_for(folder))
    masks: dict[str, dict[int, Path]] = {}
    for top, inner_files in by_object.items():
        for view, paths in match_names(views, inner_files).items():
            masks.setdefault(view, {})[names[top].id] = _only(paths, view)
    if not masks:
        raise _nothing_found(folder, files, views)
    sources = {view: partial(_read_objects, masks[view], config) for view in views if view in masks}
    return LabelFolder(folder, {name.id: name for name in names.values()}, sources)


def _open_coco(path: Path, views: list[str], config: LabelFolderConfig) -> LabelFolder:
    dataset = read_coco_dataset(path, config.id_field)
    found = match_names(views, dataset.pictures)
    if not found:
        raise _nothing_found(path, dataset.pictures, views)
    sources = {view: partial(_read_coco, picture, config) for view, picture in found.items()}
    return LabelFolder(path, {**dataset.names, **_names_for(path.parent)}, sources)


def _find_coco(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.glob("*.json")) if is_coco_dataset(path)), None)


def _read_map(path: Path, config: LabelFolderConfig, size: Size | None) -> Tensor:  # [H, W] int32
    if path.suffix.lower() == ".json":
        return _read_coco(read_coco_picture(path, config.id_field), config, size)
    return fit_label_map(read_ids(path, config.ignore), size, str(path))


def _read_coco(picture: CocoPicture, config: LabelFolderConfig, size: Size | None) -> Tensor:  # [H, W] int32
    label_map = picture.label_map(config.overlap, config.ignore)
    return fit_label_map(label_map, size, f"{picture.path} ({picture.name})")


def _read_objects(paths: Mapping[int, Path], config: LabelFolderConfig, size: Size | None) -> Tensor:  # [H, W] int32
    masks: list[tuple[int, Tensor]] = []
    for id, path in paths.items():
        mask = read_object_mask(path, config.ignore)
        size = size or size_of(mask)
        masks.append((id, fit_label_map(mask, size, str(path))))
    label_map = compose([(id, mask == 1) for id, mask in masks], config.overlap)
    ignored = torch.stack([mask < 0 for _, mask in masks]).any(dim=0)
    return torch.where(ignored, IGNORED, label_map)


def _names_for(folder: Path) -> dict[int, LabelName]:
    path = find_label_names(folder)
    # Some tools call the dataset labels.json.
    if path is None or (path.suffix == ".json" and is_coco_dataset(path)):
        return {}
    return read_label_names(path)


def _object_names(folders: list[str], known: Mapping[int, LabelName]) -> dict[str, LabelName]:
    """Ids for folders: what a names file says, else the number that each is called, else counted from 1."""
    if all(folder.isdecimal() and int(folder) > 0 for folder in folders):
        return {folder: known.get(int(folder)) or LabelName.default(int(folder)) for folder in folders}
    id_of = {name.name: name for name in known.values()}
    named = {folder: id_of[folder] for folder in folders if folder in id_of}
    free = (id for id in range(1, len(folders) + len(known) + 1) if id not in known)
    for folder in folders:
        if folder not in named:
            named[folder] = replace(LabelName.default(next(free)), name=folder)
    return named


def _only(paths: list[Path], view: str) -> Path:
    if len(paths) > 1:
        listed = ", ".join(path.name for path in paths)
        raise ValueError(f"{paths[0].parent}: several files for the view {view}: {listed}; keep one of them")
    return paths[0]


def _nothing_found(place: Path, candidates: Iterable[str], views: list[str]) -> ValueError:
    candidates = sorted(candidates)
    near = "; ".join(f"for {view} the nearest name is {name}" for view, name in nearest_names(views, candidates))
    return ValueError(
        f"{place}: no label map is called like a view; looked for {_some(views)} as {', '.join(_SUFFIXES)} or as "
        f"OBJECT/VIEW, there is {_some(candidates) or 'nothing of that kind'}" + (f"; {near}" if near else "")
    )


def _some(names: list[str]) -> str:
    """A few names, to show their pattern."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
