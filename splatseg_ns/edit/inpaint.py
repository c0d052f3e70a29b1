"""What a removed object hid is filled in: painted in a few views, and carried by new Gaussians in the scene."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.edit.canvas import SeenView, face_on_canvas, seen_view, view_canvas
from splatseg_ns.edit.fill import Fill, agreed_colors, paint, seeded, with_colors
from splatseg_ns.edit.fill_fit import fill_targets, fitted, shaded
from splatseg_ns.edit.hole import Hole, find_hole, object_masks
from splatseg_ns.edit.surface_behind import Surface, surface_behind, surface_in_view
from splatseg_ns.masks.inpainter import Inpainter
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.segmentation.view_choice import farthest_first

StageReport = Callable[[str, int, int], None]
"""Is told of a stage, what is done of it, and of how much."""

_LEAST_SHARE = 0.25
"""Of the largest hole: views in which it is smaller are not painted."""


@dataclass(frozen=True)
class InpaintConfig:
    """How a hole is filled."""

    views: int = 48
    """In how many views it is painted, besides the planes behind it, which are seen face-on."""

    steps: int = 300
    """How many steps the new Gaussians are fitted for; 0 leaves them as they were seeded and coloured."""

    margin: float = 0.2
    """Of the hole's width: so much around it is painted over too, because the object's shadow is there."""

    consistency: float = 0.3
    """What views that show the same place differently count, beside the difference of each from its painted picture."""

    witnesses: int = 48
    """How many views at most are asked where the surface behind was seen, and what it looks like around the hole."""

    seed: int = 0
    """Of everything that is drawn by lot."""

    def __post_init__(self) -> None:
        if self.views < 1 or self.steps < 0 or self.witnesses < 1:
            raise ValueError(
                f"views and witnesses are 1 or more and steps 0 or more, got {self.views}, {self.witnesses} and "
                f"{self.steps}"
            )
        for name in ("margin", "consistency"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is a finite number, 0 or more, got {value}")


class NoHoleError(ValueError):
    """Views have seen all that was behind the object."""


@dataclass(frozen=True, eq=False)
class Inpainted:
    """A scene that was filled in."""

    new: Splats
    """The Gaussians that were made."""

    stays: Tensor  # [N] bool, the Gaussians of the scene that are neither removed nor replaced
    hole: Hole
    surface: Surface
    fills: tuple[Fill, ...]
    left_out: Mapping[str, str]
    """Why a view could not be painted, by its name."""

    def splats(
        self,
        scene: Splats,  # [N], with the object
    ) -> Splats:
        """The scene without the object and with the new Gaussians, which come last."""
        kept = scene.subset(self.stays.to(scene.device))
        return Splats.concat([kept, self.new.to(scene.device)])


def inpaint(
    rasterizer: Rasterizer,
    splats: Splats,
    removed: Tensor,  # [N] bool
    cameras: Mapping[str, Camera],
    inpainter: Inpainter,
    config: InpaintConfig | None = None,
    report: StageReport | None = None,
) -> Inpainted:
    """Fill in what the removed Gaussians hid from these views, by name; the given splats have the object.

    Only new Gaussians are fitted; all that stay are left bit for bit. On the CPU the result is the same on every run.
    Raises ``NoHoleError`` if nothing is to be filled.
    """
    config = config or InpaintConfig()
    told = report or _silent
    _check(splats, removed, cameras)
    masks = object_masks(rasterizer, splats, removed, cameras, lambda done, total: told("object", done, total))
    if not any(bool(mask.any()) for mask in masks.values()):
        raise NoHoleError("no view shows anything of what was removed")
    surface = surface_behind(rasterizer, splats, removed, cameras, masks, config.seed)
    asked = _spread_out([name for name, mask in masks.items() if bool(mask.any())], config.witnesses)
    hole = find_hole(
        rasterizer, splats, removed, surface, cameras, masks, asked, lambda done, total: told("hole", done, total)
    )
    witnesses = [view for view in hole.views if view.name in asked]
    if not any(view.pixels for view in witnesses):
        raise NoHoleError("no view has a hole: what was removed hid nothing that no other view has seen")
    base = splats.subset(hole.stays.to(splats.device))
    seen: list[SeenView] = []
    for done, view in enumerate(witnesses):
        behind = surface_in_view(rasterizer, base, view.camera, view.hole, surface)
        seen.append(seen_view(rasterizer, base, view, behind))
        told("look behind", done + 1, len(witnesses))
    found = (face_on_canvas(seen, surface, number, config.margin) for number in range(len(surface.planes)))
    planes = [canvas for canvas in found if canvas is not None]
    pictures = [view_canvas(view, surface, config.margin) for view in chosen_views_of(seen, config.views)]
    fills, left_out = paint(inpainter, [*planes, *pictures], lambda done, total: told("paint", done, total))
    grey = seeded(planes or pictures, splats.sh.shape[1], splats.profile)
    new = with_colors(grey, agreed_colors(grey.means, fills, surface.tolerance)).to(splats.device)
    targets = fill_targets(rasterizer, base, new, [fill for fill in fills if fill.canvas in pictures])
    new = fitted(
        rasterizer,
        shaded(new, targets),
        targets,
        config.steps,
        config.consistency,
        config.seed,
        lambda done, total: told("fit", done, total),
    )
    return Inpainted(new, hole.stays, hole, surface, tuple(fills), left_out)


def chosen_views_of(seen: Sequence[SeenView], count: int) -> list[SeenView]:
    """The view with the largest hole, and then always the one that looks from farthest away from all before."""
    largest = max(view.hole.pixels for view in seen)
    candidates = [view for view in seen if view.hole.pixels >= _LEAST_SHARE * largest]
    places = torch.stack([view.camera.position.cpu().double() for view in candidates])
    first = max(range(len(candidates)), key=lambda place: candidates[place].hole.pixels)
    return [candidates[place] for place in farthest_first(places, first)[:count]]


def _spread_out(items: Sequence[str], count: int) -> list[str]:
    """At most so many of them, evenly."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def _check(splats: Splats, removed: Tensor, cameras: Mapping[str, Camera]) -> None:
    if removed.dtype != torch.bool or tuple(removed.shape) != (len(splats),):
        raise ValueError(f"removed is an [N] tensor of bool for {len(splats)} Gaussians, got {list(removed.shape)}")
    if not bool(removed.any()):
        raise ValueError("no Gaussian was removed, so there is nothing to fill in")
    if not cameras:
        raise ValueError("there are no views: give at least one")


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody wants to know."""
