"""Annotated pictures from which classes are learned: a folder of pictures with label maps, or with labelme files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import Tensor

from splatseg_ns.masks.folder import LabelFolder, LabelFolderConfig
from splatseg_ns.masks.label_name import (
    LABEL_NAME_FILES,
    LabelName,
    default_color,
    find_label_names,
    read_label_names,
)
from splatseg_ns.masks.labelme import LabelmeFile, is_labelme, read_labelme
from splatseg_ns.scene import read_picture

IMAGE_FOLDER, LABEL_FOLDER = "images", "labels"
"""Where the pictures of a folder of examples may lie, and where their label maps lie."""

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with a class at each pixel."""

    name: str
    image: Tensor  # [H, W, 3] uint8
    labels: Tensor  # [H, W] int32: 0 for none of the classes, -1 where nothing is said


@dataclass(frozen=True, eq=False)
class Examples:
    """Annotated pictures, read when asked for."""

    path: Path
    classes: Mapping[int, LabelName]
    """Those that have a name. Label maps may have others."""

    sources: Mapping[str, Callable[[], Example]] = field(repr=False)
    """By the name of the picture."""

    @staticmethod
    def open(path: str | Path, format: LabelFolderConfig | None = None) -> Examples:
        """Find the annotated pictures of a folder.

        Pictures lie in the folder or in its ``images``. A picture is annotated by a labelme .json, beside it or
        anywhere at the top, or by a label map of its name in ``labels``, of which ``labels.json`` has the names.
        """
        path, format = Path(path), format or LabelFolderConfig()
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder of examples; give one with annotated pictures")
        places = [path, *(path / name for name in (IMAGE_FOLDER, LABEL_FOLDER) if (path / name).is_dir())]
        drawn = [read_labelme(file) for place in places for file in sorted(place.glob("*.json")) if is_labelme(file)]
        pictures = _pictures(path)
        maps = _label_maps(path, pictures, format)
        names = dict(maps.names) if maps is not None else _names_at(path)
        ids = _ids_of(drawn, names, maps)
        sources: dict[str, Callable[[], Example]] = {}
        for file in drawn:
            sources[_free(file.path.stem, sources, file.path)] = partial(_drawn_example, file, ids)
        if maps is not None:
            for name in maps.sources:
                sources[_free(name, sources, path)] = partial(_mapped_example, pictures[name], maps, name)
        if not sources:
            raise ValueError(
                f"{path}: no annotated picture is there; put labelme files beside the pictures, or label maps called "
                f"like them into {path / LABEL_FOLDER}"
            )
        for label, id in ids.items():
            names.setdefault(id, LabelName(id, label, default_color(id)))
        return Examples(path, names, sources)

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[Example]:
        return (source() for source in self.sources.values())

    def name(self, id: int) -> LabelName:
        """What a class is called, and how it is coloured."""
        return self.classes.get(id) or LabelName.default(id)


def _pictures(path: Path) -> dict[str, Path]:
    """By name, those of the folder and of its ``images``."""
    found: dict[str, Path] = {}
    for place in (path, path / IMAGE_FOLDER):
        files = sorted(place.iterdir()) if place.is_dir() else []
        for file in files:
            if file.suffix.lower() in _PICTURES and file.is_file():
                if file.stem in found:
                    raise ValueError(f"{file}: two pictures are called {file.stem!r}; keep one, or rename it")
                found[file.stem] = file
    return found


def _label_maps(path: Path, pictures: Mapping[str, Path], format: LabelFolderConfig) -> LabelFolder | None:
    folder = path / LABEL_FOLDER
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    drawn = {file for file in files if file.suffix == ".json" and is_labelme(file)}
    maps = {file.stem for file in files if file not in drawn and file.name not in LABEL_NAME_FILES}
    if not maps or not pictures:
        return None
    drawn_alone = {file.stem for file in drawn} - maps
    return LabelFolder.open(folder, [name for name in pictures if name not in drawn_alone], format)


def _names_at(path: Path) -> dict[int, LabelName]:
    """What a labels.json says where there are no label maps."""
    file = find_label_names(path / LABEL_FOLDER) or find_label_names(path)
    return read_label_names(file) if file is not None and not is_labelme(file) else {}


def _ids_of(drawn: list[LabelmeFile], names: Mapping[int, LabelName], maps: LabelFolder | None) -> dict[str, int]:
    """Ids for the labels of labelme files: those that the names have, the others after all that there are."""
    ids = {name.name: id for id, name in names.items()}
    if nameless := sorted({label for file in drawn for label in file.labels} - ids.keys()):
        # Label maps may have ids that nobody has named.
        mapped = [] if maps is None else [int(maps.read(name).max()) for name in maps.sources]
        first = max([0, *ids.values(), *mapped]) + 1
        ids.update({label: id for id, label in enumerate(nameless, first)})
    return ids


def _free(name: str, sources: Mapping[str, object], where: Path) -> str:
    if name in sources:
        raise ValueError(f"{where}: the picture {name!r} is annotated twice; keep one of the annotations")
    return name


def _drawn_example(file: LabelmeFile, ids: dict[str, int]) -> Example:
    image = file.image()
    return Example(file.path.stem, image, file.label_map(ids, *image.shape[:2]))


def _mapped_example(picture: Path, maps: LabelFolder, name: str) -> Example:
    image = read_picture(picture)
    height, width = image.shape[:2]
    return Example(name, image, maps.read(name, (width, height)))
