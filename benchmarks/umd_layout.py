"""The folders of the affordance benchmark: the clutter scenes of UMD Part Affordance, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from splatseg_ns.masks.examples import Example, Examples
from splatseg_ns.scene import BACKGROUND, IGNORED

AFFORDANCES = {1: "grasp", 2: "cut", 3: "scoop", 4: "contain", 5: "pound", 6: "support", 7: "wrap-grasp"}
"""By the ids of the true maps; 0 is none of them."""

PLACES = ("part-affordance-clutter/clutter", "clutter", ".")
"""Where the scenes of the release, unpacked, may lie below the root."""

AUTOMATIC = "automatic"
"""The type of a map that no person has drawn."""

_LABEL_ENDING, _PICTURE_ENDING = "_label.mat", "_rgb"

_ADVICE = f"call the classes {', '.join(AFFORDANCES.values())}"


@dataclass(frozen=True)
class ClutterScene:
    """One scene: true maps of the release, and the splats and poses that it lacks."""

    name: str
    labels: Mapping[str, Path] = field(repr=False)
    """The file of each true map, by the name of its picture without suffix, as scene_01_00000001_rgb."""

    ply: Path
    capture: Path


@dataclass(frozen=True, eq=False)
class TrueMap:
    """What a label file says."""

    path: Path
    labels: Tensor  # [H, W] uint8, ids of AFFORDANCES and 0
    automatic: bool
    """No person has drawn it."""


def find_scenes(
    root: Path,
    names: Sequence[str] = (),  # all that are there by default
) -> list[ClutterScene]:
    """The scenes below a folder, by name; an error if something is missing for one of them."""
    folders = next((found for place in PLACES if (found := _scene_folders(root / place))), None)
    if folders is None:
        places = ", ".join((root / place / "scene_01").as_posix() for place in PLACES)
        raise FileNotFoundError(f"{root}: no clutter scene of UMD; unpack the release so that one of {places} is there")
    if unknown := [name for name in names if name not in folders]:
        raise ValueError(f"{root}: no scene {unknown[0]!r}; there is {', '.join(folders)}")
    return [_find_scene(root, folder) for name, folder in folders.items() if not names or name in names]


def read_true_map(path: Path) -> TrueMap:
    """The map of a ..._label.mat; without a type it counts as drawn by a person."""
    try:
        content = loadmat(path, variable_names=("gt_label", "gt_type"))
    except Exception as error:
        # What a damaged file makes SciPy raise is of any kind, from zlib's errors to those of its own reader.
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: no readable MATLAB file ({error}); unpack it again") from error
    if "gt_label" not in content:
        raise ValueError(f"{path}: holds no gt_label; give the release's {_LABEL_ENDING} files, not the ranked ones")
    ids = np.asarray(content["gt_label"])
    if ids.ndim != 2 or not np.isin(ids, (BACKGROUND, *AFFORDANCES)).all():
        raise ValueError(f"{path}: gt_label is no map [H, W] of the ids 0 to {max(AFFORDANCES)}; unpack it again")
    kind = "".join(str(part) for part in np.ravel(content.get("gt_type", "")))
    return TrueMap(path, torch.from_numpy(ids.astype(np.uint8)), kind.strip().lower() == AUTOMATIC)


def affordance_examples(examples: Examples) -> Iterator[Example]:
    """Annotated pictures with the ids of AFFORDANCES: names decide, and an id without a name stands for itself."""
    named = {id: _affordance_called(entry.name, examples.path) for id, entry in examples.classes.items()}
    ids = {id: id for id in (BACKGROUND, IGNORED, *AFFORDANCES)} | named
    for example in examples:
        labels = example.labels.clone()
        for id in labels.unique().tolist():
            if id not in ids:
                raise ValueError(f"{examples.path}: {example.name} shows {id}, which is no affordance; {_ADVICE}")
            labels[example.labels == id] = ids[id]
        yield replace(example, labels=labels)


def _affordance_called(name: str, where: Path) -> int:
    """The id of a name; the annotations that the method was published with write wrap-grasp in two words."""
    ids = {called: id for id, called in ((BACKGROUND, "background"), *AFFORDANCES.items())}
    plain = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    if plain not in ids:
        raise ValueError(f"{where}: {name!r} is no affordance; {_ADVICE}")
    return ids[plain]


def _scene_folders(place: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(place.glob("scene_*")) if path.is_dir()}


def _find_scene(root: Path, folder: Path) -> ClutterScene:
    labels = {
        path.name.removesuffix(_LABEL_ENDING) + _PICTURE_ENDING: path
        for path in sorted(folder.glob(f"*{_LABEL_ENDING}"))
    }
    if not labels:
        raise FileNotFoundError(f"{folder}: holds no label file, FRAME{_LABEL_ENDING}; unpack the release again")
    ply, capture = root / "splats" / f"{folder.name}.ply", root / "captures" / folder.name
    if not ply.is_file():
        raise FileNotFoundError(
            f"{ply}: no splats of {folder.name}, which the release lacks; train some and put them there"
        )
    if not capture.exists():
        raise FileNotFoundError(
            f"{capture}: no poses of {folder.name}, which the release lacks; put a capture of its frames there, COLMAP "
            "or transforms.json"
        )
    return ClutterScene(folder.name, labels, ply, capture)
