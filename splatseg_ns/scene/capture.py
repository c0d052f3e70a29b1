"""All pictures of a scene with their cameras and label maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from splatseg_ns.scene.label_map import find_label_maps, read_label_map
from splatseg_ns.scene.ply import SeedPoints
from splatseg_ns.scene.view import Split, View

DEFAULT_LABEL_FOLDER = "labels"
"""Where label maps are looked for in a capture's folder."""


@dataclass(frozen=True, eq=False)
class Capture:
    """Views of one scene in one frame, sorted by their pictures' paths."""

    folder: Path
    """Where the capture was found: the folder of transforms.json, or the one that holds COLMAP's pictures."""

    views: tuple[View, ...]
    seed_source: Callable[[], SeedPoints] | None = None
    """Reads the points to start a splat from, in the frame of the views."""

    applied_transform: Tensor = field(default_factory=lambda: torch.eye(4)[:3])  # [3, 4]
    """From the frame in which the cameras were found to the frame of the views."""

    applied_scale: float = 1.0
    """What the frame of the views was scaled by, besides."""

    @staticmethod
    def load(path: str | Path, label_maps: str | Path | None = None) -> Capture:
        """Read a nerfstudio capture (transforms.json or its folder) or a COLMAP model (its folder or the one above).

        Label maps come from the folder ``label_maps``, else from ``labels`` in the capture's folder if that is there.
        They belong to the pictures on disk and are undistorted with them.
        """
        # The readers make captures, so they import this module.
        from splatseg_ns.scene.colmap import find_model, read_colmap
        from splatseg_ns.scene.transforms_json import read_transforms_json

        path = Path(path)
        transforms = path / "transforms.json" if path.is_dir() else path
        if transforms.is_file():
            capture = read_transforms_json(transforms)
        elif not path.exists():
            raise FileNotFoundError(f"{path}: no such capture; give a transforms.json, its folder or a COLMAP folder")
        elif (model := find_model(path)) is not None:
            capture = read_colmap(model)
        else:
            raise FileNotFoundError(
                f"{path}: neither a transforms.json nor a COLMAP model (cameras.bin or cameras.txt, there or in "
                "sparse/0) is there; give the folder that has one"
            )
        if label_maps is not None:
            return capture.with_label_maps(label_maps)
        default_folder = capture.folder / DEFAULT_LABEL_FOLDER
        if default_folder.is_dir() and find_label_maps(default_folder, capture.names):
            return capture.with_label_maps(default_folder)
        return capture

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[View]:
        return iter(self.views)

    @property
    def names(self) -> list[str]:
        return [view.name for view in self.views]

    def view(self, name: str) -> View:
        """The view of this name."""
        return self.with_names([name]).views[0]

    def with_names(self, names: Iterable[str]) -> Capture:
        """Only the named views, in the given order."""
        by_name = {view.name: view for view in self.views}
        names = list(names)
        if unknown := [name for name in names if name not in by_name]:
            raise KeyError(f"{self.folder}: no view {unknown[0]!r}; the views are called {_some(self.names)}")
        return replace(self, views=tuple(by_name[name] for name in names))

    def with_split(self, *splits: Split) -> Capture:
        """Only the views of these splits."""
        return replace(self, views=tuple(view for view in self.views if view.split in splits))

    def with_label_maps(self, folder: str | Path) -> Capture:
        """The capture with the label maps of this folder, and no others; views without one are fine."""
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of label maps")
        found = find_label_maps(folder, self.names)
        if not found:
            raise ValueError(
                f"{folder}: no .png or .npy is named like a view; the views are called {_some(self.names)}"
            )
        return replace(
            self,
            views=tuple(
                replace(view, label_source=partial(read_label_map, found[view.name]) if view.name in found else None)
                for view in self.views
            ),
        )

    def seed_points(self) -> SeedPoints | None:
        """The points to start a splat from, in the frame of the views, if the capture has any."""
        return self.seed_source() if self.seed_source is not None else None


def _some(names: list[str]) -> str:
    """A few names, to show their pattern."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def chosen_views(
    capture: Capture,
    selection: Sequence[str],  # train, val, test, all, or names of views
) -> tuple[View, ...]:
    """The views that the words name."""
    if not selection:
        raise ValueError("which views? name train, test, all or some views")
    if len(selection) == 1 and (word := selection[0]) not in capture.names:
        if word == "all":
            return capture.views
        if word in ("train", "val", "test"):
            return _of_split(capture, word)
    return capture.with_names(selection).views


def _of_split(capture: Capture, split: Split) -> tuple[View, ...]:
    # A capture without a test split is judged on its val split, and the other way round.
    fallbacks: dict[Split, tuple[Split, ...]] = {"train": (), "val": ("test",), "test": ("val",)}
    for name in (split, *fallbacks[split]):
        if views := capture.with_split(name).views:
            return views
    raise ValueError(f"{capture.folder}: no view is for {split}; name some with --views, or give 'all'")
