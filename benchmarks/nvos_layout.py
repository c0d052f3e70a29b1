"""The folders of the NVOS benchmark: what is scribbled on, what is asked for, and clicks sampled from the scribbles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PUBLISHED_TASKS = ("fern", "flower", "fortress", "horns_center", "horns_left", "leaves", "orchids", "trex")
"""The eight that published means are over."""

ANNOTATIONS = (".", "labels/llff", "llff")
"""Where the release, unpacked, may lie below the root."""

_SCENES = {"horns_center": "horns", "horns_left": "horns"}
"""Tasks that are not called like the LLFF scene that they are in."""

_MASK_ENDING = "_mask.png"


@dataclass(frozen=True)
class Task:
    """One object of one scene: scribbles in one view, the true mask in another."""

    name: str
    reference: str
    """The scribbled view, by the name of its picture without suffix."""

    target: str
    """The view of the true mask, called likewise."""

    target_mask: Path
    positive: Path
    """The scribble on the object."""

    negative: Path
    """The scribble on everything else."""

    @property
    def scene_names(self) -> tuple[str, ...]:
        """What the scene of the task may be called, in the order in which it is looked for."""
        scene = _SCENES.get(self.name, self.name)
        return tuple(dict.fromkeys((self.name, scene, f"{self.name}_undistort", f"{scene}_undistort")))


def find_tasks(
    root: Path,
    names: Sequence[str] = (),  # all that are there by default
) -> list[Task]:
    """The tasks whose annotations are below a folder; in the published order, others after them."""
    folder = next((root / place for place in ANNOTATIONS if (root / place / "masks").is_dir()), None)
    if folder is None:
        places = ", ".join((root / place / "masks").as_posix() for place in ANNOTATIONS)
        raise FileNotFoundError(f"{root}: no annotations of NVOS; unpack them so that one of {places} is there")
    present = sorted(path.name for path in (folder / "masks").iterdir() if path.is_dir() and path.name[0] not in "._")
    if unknown := [name for name in names if name not in present]:
        raise ValueError(f"{folder / 'masks'}: no task {unknown[0]!r}; there is {', '.join(present) or 'none'}")
    chosen = [name for name in present if not names or name in names]
    if not chosen:
        raise ValueError(f"{folder / 'masks'}: no task is there; a task is a folder with a mask, as masks/fern")
    published = [name for name in PUBLISHED_TASKS if name in chosen]
    return [_read_task(folder, name) for name in dict.fromkeys([*published, *chosen])]


def read_drawn(path: Path) -> Tensor:  # [H, W] bool
    """What is drawn in a picture of a mask or a scribble: the pixels brighter than half of the brightest."""
    try:
        with Image.open(path) as picture:
            grey = torch.from_numpy(np.array(picture.convert("L")))
    except OSError as error:
        raise ValueError(f"{path}: no readable picture ({error}); unpack the annotations again") from error
    drawn = (grey > int(grey.max()) // 2) & (grey > 0)
    if not bool(drawn.any()):
        raise ValueError(f"{path}: nothing is drawn in the picture; unpack the annotations again")
    return drawn


@dataclass(frozen=True)
class Clicks:
    """Pixels [x, y] of a scribble's picture from its top left, which may be smaller than the view's."""

    view: str
    width: int
    height: int
    positive: list[list[int]]
    negative: list[list[int]]


def sample_clicks(task: Task, count: int, seed: int) -> Clicks:
    """As many pixels of each of the two scribbles, drawn at random: the same for the same seed, on any machine."""
    positive, negative = read_drawn(task.positive), read_drawn(task.negative)
    if positive.shape != negative.shape:
        raise ValueError(f"{task.negative}: another size than {task.positive.name}; unpack the annotations again")
    random = np.random.default_rng(seed)
    height, width = positive.shape
    return Clicks(
        task.reference,
        width,
        height,
        _some_pixels(positive, count, random, task.positive),
        _some_pixels(negative, count, random, task.negative),
    )


def clicks_as_json(tasks: Sequence[Task], count: int, seed: int) -> dict[str, Any]:
    """The clicks of all tasks, for a segmenter to be run on."""
    return {"seed": seed, "tasks": {task.name: asdict(sample_clicks(task, count, seed)) for task in tasks}}


def _some_pixels(drawn: Tensor, count: int, random: np.random.Generator, path: Path) -> list[list[int]]:
    rows, columns = np.nonzero(drawn.numpy())
    if not 1 <= count <= len(rows):
        raise ValueError(
            f"{path}: {count} clicks cannot be drawn from a scribble of {len(rows)} pixels; ask for others"
        )
    chosen = random.choice(len(rows), count, replace=False)
    return [[int(columns[place]), int(rows[place])] for place in chosen]


def _read_task(folder: Path, name: str) -> Task:
    target_mask = _only(folder / "masks" / name, f"*{_MASK_ENDING}", "true mask, TARGET_mask.png")
    target = target_mask.name.removesuffix(_MASK_ENDING)
    reference = _only(folder / "reference_image" / name, "*.*", "picture of the scribbled view").stem
    if reference == target:
        raise ValueError(f"{target_mask}: the mask is of the scribbled view itself; unpack the annotations again")
    scribbles = folder / "scribbles" / name
    return Task(
        name,
        reference,
        target,
        target_mask,
        _only(scribbles, "pos_*.png", "scribble on the object, pos_*.png"),
        _only(scribbles, "neg_*.png", "scribble on the rest, neg_*.png"),
    )


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
    if len(found) != 1:
        listed = f": {', '.join(path.name for path in found)}" if found else ""
        raise ValueError(f"{folder}: there should be one {what}, there are {len(found)}{listed}")
    return found[0]
