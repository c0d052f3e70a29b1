"""Which masks of the training views the solvers get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from benchmarks.dirt import with_moved_edges, with_rotated_ids, with_salt
from splatseg_ns.lift import LabelledView
from splatseg_ns.scene import Camera


@dataclass(frozen=True, eq=False)
class TrainingView:
    """A view as solvers take it, with the label map that it is to have."""

    camera: Camera
    labels: Tensor  # [H, W]
    pixel_mask: Tensor | None  # [H, W] bool
    wrong: bool = False
    """Its objects carry each other's ids."""

    @staticmethod
    def of(view: LabelledView) -> TrainingView:
        """As it is."""
        return TrainingView(view.camera, view.labels, view.pixel_mask)

    def label_map(self) -> Tensor:  # [H, W]
        return self.labels

    def valid_mask(self) -> Tensor | None:  # [H, W] bool
        return self.pixel_mask


@dataclass(frozen=True)
class Condition:
    """How many views there are, and what is wrong with their masks."""

    name: str

    views: int | None = None
    """None: all of them."""

    moved_edges: bool = False
    """See ``dirt.with_moved_edges``."""

    wrong: float = 0.0
    """Share of the views with rotated ids, rounded to whole views."""

    salt: float = 0.0
    """Share of the pixels that get a random label."""

    def fits(self, available: int) -> bool:
        """Whether a capture with so many training views can show it."""
        return self.views is None or self.views < available

    def seeds(self, available: int, most: int) -> range:
        """The seeds that are worth a run: clean masks differ by the choice of views alone."""
        if self.moved_edges or self.wrong or self.salt:
            return range(most)
        choices = [positions_of(self.views or available, available, seed) for seed in range(most)]
        return range(len({tuple(sorted(choice)) for choice in choices}))

    def make(
        self,
        clean: Sequence[LabelledView],
        objects: Tensor,  # [K] int64, ascending
        seed: int,
    ) -> list[TrainingView]:
        """The views of one seed."""
        random = np.random.default_rng(seed)
        count = self.views or len(clean)
        views = [TrainingView.of(clean[position]) for position in positions_of(count, len(clean), seed)]
        wrong = random.choice(count, round(self.wrong * count), replace=False)
        for place, view in enumerate(views):
            labels = view.labels
            if self.moved_edges:
                labels = with_moved_edges(labels, objects, random)
            if place in wrong:
                labels = with_rotated_ids(labels, objects)
            if self.salt:
                labels = with_salt(labels, objects, self.salt, random)
            views[place] = replace(view, labels=labels, wrong=place in wrong)
        return views


def positions_of(count: int, available: int, seed: int) -> list[int]:
    """Views spaced evenly in the order of the capture, all of them moved on by ``seed``, from its end to its start."""
    return [(place * available // count + seed) % available for place in range(count)]


CONDITIONS = (
    Condition("clean"),
    Condition("clean, 16 views", views=16),
    Condition("clean, 8 views", views=8),
    Condition("clean, 4 views", views=4),
    Condition("e/d", moved_edges=True),
    Condition("10 % wrong", wrong=0.1),
    Condition("10 % salt", salt=0.1),
    Condition("8 views, 1 wrong, e/d", views=8, wrong=1 / 8, moved_edges=True),
    Condition("16 views, 30 % wrong, e/d", views=16, wrong=0.3, moved_edges=True),
)
"""``e/d``: masks eroded or dilated."""

QUICK_CONDITIONS = tuple(condition for condition in CONDITIONS if condition.name in ("clean", "e/d", "10 % wrong"))
