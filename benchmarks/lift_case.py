"""The capture that solvers are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from splatseg_ns.demo.bundle import bundled_capture, bundled_splats
from splatseg_ns.lift import LabelledView, LabelledViews
from splatseg_ns.scene import Capture, Splats, read_ply


@dataclass(frozen=True)
class CaptureFiles:
    """Where a capture with label maps and its splats are; nowhere: those that come with the package."""

    data: Path | None = None
    ply: Path | None = None

    @property
    def name(self) -> str:
        return "the bundled capture" if self.data is None else self.data.name

    @property
    def arguments(self) -> list[str]:
        """As a command line states them."""
        return [] if self.data is None else ["--data", str(self.data), "--ply", str(self.ply)]


@dataclass(frozen=True, eq=False)
class LiftCase:
    """Splats, and the views that vote and judge."""

    splats: Splats
    training: list[LabelledView]
    held_out: list[LabelledView]

    @cached_property
    def objects(self) -> Tensor:  # [K] int64
        """All objects of the training views' masks, ascending."""
        ids = torch.cat([view.labels.unique().long() for view in self.training]).unique()
        return ids[ids > 0]

    @property
    def ids(self) -> Tensor:  # [K + 1] int64
        """The background and the objects."""
        return torch.cat([torch.zeros(1, dtype=torch.int64), self.objects])


@lru_cache(maxsize=1)
def load_case(files: CaptureFiles) -> LiftCase:
    """Read everything; once in a process."""
    if files.data is None or files.ply is None:
        capture, splats = bundled_capture(), bundled_splats()
    else:
        capture, splats = Capture.load(files.data), read_ply(files.ply)
    training = list(LabelledViews(capture.with_split("train").views).read())
    held_out = list(LabelledViews(capture.with_split("val", "test").views).read())
    if not training or not held_out:
        raise ValueError(
            f"{capture.folder}: {len(training)} training and {len(held_out)} held-out views have label maps; "
            "both kinds are needed"
        )
    return LiftCase(splats, training, held_out)
