"""Pointing at one object, click by click, and seeing at once what the segmenter makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.masks.segmenter import Prompts
from splatseg_ns.scene import Camera
from splatseg_ns.segmentation.clicked_scene import ClickedScene, ClickedView, FreeView
from splatseg_ns.segmentation.clicks import Clicks
from splatseg_ns.segmentation.mask_points import violated
from splatseg_ns.segmentation.prompts import FreeCamera, Level, ObjectPrompts, ViewPrompts
from splatseg_ns.segmentation.surfaces import at_depth, projected

_DRAFT = "draft"
"""What is pointed at has no name yet."""


@dataclass(frozen=True, eq=False)
class Mark:
    """Something that was pointed at, to be shown in the scene."""

    kind: Literal["on", "off", "box"]
    points: tuple[Tensor, ...]  # [3] each; a box has four
    depth: float
    """From the camera that it was made in."""


@dataclass(frozen=True, eq=False)
class Preview:
    """What the segmenter sees in one view."""

    camera: Camera
    mask: Tensor  # [H, W] bool, in a picture of the camera
    share: Tensor  # [N] how much of each Gaussian is inside
    score: float
    """The segmenter's own, from 0 to 1."""


class Pointing:
    """What a user points at on the way to one object, from any camera."""

    def __init__(self, scene: ClickedScene) -> None:
        self.scene = scene
        self._entries: dict[str, ViewPrompts] = {}
        self._marks: list[Mark] = []
        self._looked_at: ClickedView | None = None

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """All that was pointed at."""
        return tuple(self._marks)

    def look(self, camera: Camera) -> ClickedView:
        """What is seen from a camera; only the last one is remembered until something is clicked at."""
        name = FreeCamera.of(camera).name
        if name in self._entries:
            return self.scene.clicked(self._entries[name])
        if self._looked_at is None or self._looked_at.name != name:
            view = FreeView(name, camera, self.scene.rasterizer, self.scene.splats)
            self._looked_at = self.scene.prepared(view)
        return self._looked_at

    def click(self, camera: Camera, x: float, y: float, on: bool = True) -> Mark:
        """Point at a pixel of the picture from a camera: on the object, or off it."""
        view = self.look(camera)
        if (mark := _mark_of_click(view, x, y, on)) is None:
            raise ValueError("nothing is there, the splats are empty at that place; click on a thing")
        taken_by, pixel = FreeCamera.of(camera), ((x, y),)
        more = ViewPrompts(view.name, points=pixel if on else (), negative=() if on else pixel, camera=taken_by)
        return self._add(view, more, mark)

    def draw_box(self, camera: Camera, left: float, top: float, right: float, bottom: float) -> Mark:
        """Point at all that is in a rectangle of the picture from a camera."""
        view = self.look(camera)
        more = ViewPrompts(view.name, box=(left, top, right, bottom), camera=FreeCamera.of(camera))
        if (mark := _mark_of_box(view, left, top, right, bottom)) is None:
            raise ValueError("nothing is in the middle of the box, the splats are empty there; draw it around a thing")
        self._drop_box()
        return self._add(view, more, mark)

    def take_up(self, prompts: ObjectPrompts) -> None:
        """Go on from what was pointed at before, in views of the capture or from free cameras."""
        self.clear()
        views = [self.scene.clicked(entry) for entry in prompts.views]
        for view, entry in zip(views, prompts.views, strict=True):
            self._entries[view.name] = entry
            marks = [_mark_of_click(view, *pixel, on=True) for pixel in entry.points]
            marks += [_mark_of_click(view, *pixel, on=False) for pixel in entry.negative]
            if entry.box is not None:
                marks.append(_mark_of_box(view, *entry.box))
            self._marks += [mark for mark in marks if mark is not None]

    def clear(self) -> None:
        """Nothing is pointed at any more."""
        for name in self._entries:
            self.scene.forget(name)
        self._entries, self._marks = {}, []

    def prompts(self, name: str, level: Level = "auto") -> ObjectPrompts:
        """All of it, as an object of this name is to be looked for."""
        return ObjectPrompts(name, tuple(self._entries.values())).checked(level)

    @torch.no_grad()
    def preview(self, camera: Camera, level: Level = "auto") -> Preview | None:
        """What the segmenter sees from a camera at what is pointed at; None if nothing of that is to be seen."""
        if not any(entry.points or entry.box for entry in self._entries.values()):
            return None
        view = self.look(camera)
        clicks = Clicks.of(self.scene, self.prompts(_DRAFT))
        asked = clicks.seen_in(view)
        if asked is None or not (asked.boxes is not None or bool(asked.positive.any())):
            return None
        answers = view.ask(asked)
        place = _chosen(answers.masks, answers.scores, asked, level)
        known = view.lifted(answers.masks[place : place + 1])[0]
        return Preview(view.camera, answers.masks[place], known.share, float(answers.scores[place]))

    def _drop_box(self) -> None:
        """An object is in one box; one drawn elsewhere takes its place."""
        self._marks = [mark for mark in self._marks if mark.kind != "box"]
        without = {name: replace(entry, box=None) for name, entry in self._entries.items()}
        self._entries = {name: entry for name, entry in without.items() if entry.points or entry.negative}
        for name in without.keys() - self._entries.keys():
            self.scene.forget(name)

    def _add(self, view: ClickedView, more: ViewPrompts, mark: Mark) -> Mark:
        before = ObjectPrompts(_DRAFT, tuple(self._entries.values()))
        self._entries = {entry.view: entry for entry in before.with_clicks(more).views}
        self.scene.keep(view)
        self._marks.append(mark)
        return mark


def _chosen(
    masks: Tensor,  # [M, H, W] bool
    scores: Tensor,  # [M]
    asked: Prompts,
    level: Level,
) -> int:
    """The smallest mask for a part and the largest for a group, else the best one; first those that heed the clicks."""
    broken = torch.tensor([float(violated(mask, asked)) for mask in masks])
    size = masks.flatten(1).sum(dim=1).float() / masks[0].numel()
    merit = {"part": -size, "group": size}.get(level, scores)
    return int((merit - 10.0 * broken).argmax())


def _mark_of_click(view: ClickedView, x: float, y: float, on: bool) -> Mark | None:
    """Where the surface at a pixel of the view's picture is, if there is one."""
    point = view.surfaces.point(x * view.scale, y * view.scale)
    return None if point is None else Mark("on" if on else "off", (point,), projected(view.camera, point)[2])


def _mark_of_box(view: ClickedView, left: float, top: float, right: float, bottom: float) -> Mark | None:
    """A rectangle as far away as what is seen in its middle, if something is."""
    left, top, right, bottom = (side * view.scale for side in (left, top, right, bottom))
    middle = view.surfaces.point(0.5 * (left + right), 0.5 * (top + bottom))
    if middle is None:
        return None
    depth = projected(view.camera, middle)[2]
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Mark("box", tuple(at_depth(view.camera, x, y, depth) for x, y in corners), depth)
