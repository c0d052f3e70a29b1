"""Clicks for one object: where in the scene they are, and where other views see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from splatseg_ns.masks.segmenter import Prompts
from splatseg_ns.segmentation.clicked_scene import ClickedScene, ClickedView
from splatseg_ns.segmentation.prompts import ObjectPrompts, Point, ViewPrompts
from splatseg_ns.segmentation.surfaces import Surfaces


@dataclass(frozen=True, eq=False)
class ViewClicks:
    """Clicks of one view in its working pixels, and where in the scene they are."""

    view: ClickedView
    points: tuple[Point, ...]
    negative: tuple[Point, ...]
    box: tuple[float, ...] | None
    on: tuple[Tensor, ...]  # [3] each, those that other views are asked about
    off: tuple[Tensor, ...]

    @staticmethod
    def of(view: ClickedView, prompts: ViewPrompts) -> ViewClicks:
        """What was pointed at in this view."""
        prompts.check_size(*view.picture_size)
        points, negative = (
            tuple((x * view.scale, y * view.scale) for x, y in part) for part in (prompts.points, prompts.negative)
        )
        box = None if prompts.box is None else tuple(side * view.scale for side in prompts.box)
        on = _scene_points(view.surfaces, points)
        if points and not on:
            x, y = prompts.points[0]
            raise ValueError(
                f"view {view.name}: there is nothing at {x:g} {y:g}, the splats are empty there; click on a thing"
            )
        # Beside a silhouette a click says on which side of it the object is here; seen from elsewhere its point may lie
        # on either side.
        smooth_on, smooth_off = (_scene_points(view.surfaces, part, smooth=True) for part in (points, negative))
        return ViewClicks(view, points, negative, box, smooth_on or on, smooth_off)

    def prompts(self) -> Prompts:
        """As the segmenter is asked here."""
        return Prompts.of(self.points, self.negative, self.box)


@dataclass(frozen=True, eq=False)
class Clicks:
    """All clicks for one object."""

    views: tuple[ViewClicks, ...]
    """First those that say where the object is: clicks off it alone do not."""

    on: tuple[Tensor, ...]  # [3] each, on the object
    off: tuple[Tensor, ...]
    occlusion: bool = True
    """Nothing may stand before a click where it is to be seen."""

    @staticmethod
    def of(scene: ClickedScene, prompts: ObjectPrompts, occlusion: bool = True) -> Clicks:
        """Where in the scene the prompts are."""
        ordered = sorted(prompts.views, key=lambda entry: not (entry.points or entry.box))
        views = tuple(ViewClicks.of(scene.clicked(entry), entry) for entry in ordered)
        on, off = (tuple(point for part in views for point in getattr(part, side)) for side in ("on", "off"))
        return Clicks(views, on, off, occlusion)

    @property
    def count(self) -> int:
        """How many other views can be asked about."""
        return len(self.on) + len(self.off)

    def were_made_in(self, view: ClickedView) -> bool:
        """Whether the user has clicked in this view."""
        return any(clicks.view.name == view.name for clicks in self.views)

    def seen_in(self, view: ClickedView) -> Prompts | None:
        """The clicks as they were made there, or projected from elsewhere, if one on the object is to be seen.

        Clicks off the object do not say where it is: where they alone were made, the others are projected to them.
        """
        own = next((clicks for clicks in self.views if clicks.view.name == view.name), None)
        if own is not None and (own.points or own.box):
            return own.prompts()
        elsewhere = [point for clicks in self.views if clicks is not own for point in clicks.off]
        on, off = (
            [pixel for point in points if (pixel := view.surfaces.pixel(point, self.occlusion)) is not None]
            for points in (self.on, elsewhere)
        )
        if own is not None:
            return Prompts.of(on, [*own.negative, *off])
        return Prompts.of(on, off) if on else None


def _scene_points(surfaces: Surfaces, pixels: Sequence[Point], smooth: bool = False) -> tuple[Tensor, ...]:  # [3] each
    """Where in the scene the pixels are; those of nothing, and if asked those beside silhouettes, are left out."""
    chosen = [pixel for pixel in pixels if not smooth or surfaces.is_smooth(*pixel)]
    return tuple(point for pixel in chosen if (point := surfaces.point(*pixel)) is not None)
