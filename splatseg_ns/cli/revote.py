"""Objects that are to stand alone vote again, by the masks that they were made from if these can still be had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from splatseg_ns.cli.console import progress, say
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.edit.alone import isolate, masks_of
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats, View
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.frames import Frame


class Placed(NamedTuple):
    """A capture, and the way from its frame to that of the splats."""

    capture: Capture
    frame: Frame

    def needed(self) -> Placed:
        """It is there."""
        return self


@dataclass(frozen=True)
class Missing:
    """No capture, which matters only to what needs one."""

    reason: Exception

    def needed(self) -> Placed:
        """It is not there."""
        raise self.reason


def placed_capture(inputs: SceneInputs, rasterizer: Rasterizer, splats: Splats) -> Placed | Missing:
    """The capture and where it is, or why there is none; one that was named has to be there."""
    try:
        capture = inputs.capture()
    except (ValueError, LookupError, OSError) as error:
        if inputs.data is not None:
            raise
        return Missing(error)
    return Placed(capture, inputs.frame(rasterizer, splats, capture))


def isolated(
    rasterizer: Rasterizer,
    splats: Splats,
    document: Segmentation,
    objects: Sequence[int],
    placed: Placed | Missing,
) -> Segmentation:
    """The document without what its objects should not take along; says by what it was decided."""

    def masks() -> tuple[Path, Iterable[View]]:
        capture, frame = placed.needed()
        folder, views = masks_of(document, capture)
        return folder, frame.move(views)

    with progress("re-vote") as report:
        alone, decided_by = isolate(rasterizer, splats, document, objects, masks, report)
    for line in decided_by:
        say(f"re-vote: {line}")
    return alone
