"""From label maps of views to a document: what the maps hold, and what was decided by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splatseg_ns.lift import BACKGROUND, LabelledViews, Progress, Solution, name_of
from splatseg_ns.masks import LabelFolder, LabelFolderConfig
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation.document import Segmentation
from splatseg_ns.segmentation.scene_object import Provenance, SceneObject, unique_name


@dataclass(frozen=True)
class MaskStatistics:
    """What the label maps of the voting views hold, object by object in ascending order."""

    pixels: dict[int, int]
    views: dict[int, int]
    total: int
    """Pixels of all maps that count."""

    @staticmethod
    def of(views: LabelledViews, report: Progress | None = None) -> MaskStatistics:
        """Read all maps once; what fits stays in memory for the votes."""
        pixels: dict[int, int] = {}
        seen_in: dict[int, int] = {}
        total = 0
        for position in range(len(views)):
            for view in views.read([position]):
                counted = view.labels if view.pixel_mask is None else view.labels[view.pixel_mask]
                total += counted.numel()
                # Torch sorts with all its threads, which wait for each other where the machine is busy.
                found = np.unique(counted.numpy(), return_counts=True)
                for id, count in zip(*(part.tolist() for part in found), strict=True):
                    if id > BACKGROUND:
                        pixels[id] = pixels.get(id, 0) + count
                        seen_in[id] = seen_in.get(id, 0) + 1
            if report is not None:
                report(position + 1, len(views))
        return MaskStatistics(dict(sorted(pixels.items())), dict(sorted(seen_in.items())), total)

    @property
    def ids(self) -> list[int]:
        """The labels that are to be decided between."""
        return [BACKGROUND, *self.pixels]


def labelled_document(
    splats: Splats,
    folder: LabelFolder,
    statistics: MaskStatistics,
    solution: Solution,
    *,
    masks: Path,
    format: LabelFolderConfig,
    data: Path | None,
    views: Sequence[str],
) -> Segmentation:
    """The objects of the label maps with the Gaussians that the solver gave them.

    The named arguments say where the maps and pictures are, how maps are read and which views voted, so that all can
    be found again.
    """
    solver, settled = name_of(solution.solver), asdict(solution.solver)  # pyright: ignore[reportArgumentType]
    source: dict[str, Any] = {"masks": str(masks.resolve()), "data": str(data.resolve()) if data else ""}
    objects: list[SceneObject] = []
    for id, count in statistics.views.items():
        known = folder.name(id)
        name = unique_name(known.name, {entry.name for entry in objects})
        made = Provenance(({"masks": source["masks"], "views": count},), solver, settled)
        objects.append(SceneObject(id, name, known.color, provenance=made))
    document = Segmentation.of(splats, solution.labels.ids, objects, solution.votes)
    return document.with_entry(
        "label", **source, views=list(views), format=asdict(format), solver=solver, settled=settled
    )
