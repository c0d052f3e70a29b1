"""Made scenes to click in, and a segmenter that knows the truth of their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from splatseg_ns.demo.scene import balls_on_a_table, ring_of_cameras
from splatseg_ns.lift import Labels, render_label_map
from splatseg_ns.masks import Candidates, Embedding, Prompts
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.segmentation.clicked_scene import ClickedScene
from splatseg_ns.segmentation.partial import PartialObject
from splatseg_ns.segmentation.prompts import ObjectPrompts, ViewPrompts
from tests.raster.scenes import camera, gaussians

RED, GREEN, BLUE = 1, 2, 3
VIEWS = 8


class Question(NamedTuple):
    """What the segmenter was asked, in the picture's pixels."""

    view: int
    points: list[tuple[float, float]]
    negative: list[tuple[float, float]]
    box: list[float] | None

    @property
    def is_click(self) -> bool:
        """A box is only asked with around what is expected."""
        return self.box is None


Answer = Callable[[Tensor, Tensor], list[Tensor]]
"""From the objects of a picture [H, W] and the true mask [H, W] to the three masks that are answered."""


def whole_thrice(_: Tensor, whole: Tensor) -> list[Tensor]:
    return [whole, whole, whole]


@dataclass
class TruthfulSegmenter:
    """Red is the object of a pixel, green the part of it, blue the number of the view.

    It finds the objects that positive points are on, or what there is most of in the box, without the parts that
    negative points are on. Views may have answers of their own.
    """

    answer: Answer = whole_thrice
    answers_of_views: Mapping[int, Answer] = field(default_factory=dict)
    scores: tuple[float, float, float] = (0.7, 0.9, 0.8)
    name: str = "truthful"
    questions: list[Question] = field(default_factory=list)
    embedded: list[int] = field(default_factory=list)

    def embed(self, image: Tensor) -> Embedding:
        self.embedded.append(int(image[..., 2].max()))
        return Embedding((image.clone(),), image.shape[1], image.shape[0])

    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        objects, parts, views = embedding.features[0].long().unbind(dim=-1)
        view = int(views.max())
        on, off = (
            [(x, y) for (x, y), sign in zip(prompts.points[0].tolist(), prompts.positive[0], strict=True) if sign == s]
            for s in (True, False)
        )
        box = None if prompts.boxes is None else prompts.boxes[0].tolist()
        self.questions.append(Question(view, on, off, box))
        whole = torch.zeros_like(objects, dtype=torch.bool)
        for x, y in on:
            whole |= (objects == objects[_pixel(x, y, objects)]) & (objects > 0)
        if box is not None and not on:
            left, top, right, bottom = (round(side) for side in box)
            inside = objects[top:bottom, left:right]
            if bool((inside > 0).any()):
                whole |= objects == inside[inside > 0].mode().values
        for x, y in off:
            place = _pixel(x, y, objects)
            whole &= (objects != objects[place]) | (parts != parts[place])
        masks = torch.stack(self.answers_of_views.get(view, self.answer)(objects, whole))
        return Candidates(
            torch.where(masks, 8.0, -8.0)[None], torch.tensor(self.scores)[None], embedding.width, embedding.height
        )


@dataclass
class ColourSegmenter(TruthfulSegmenter):
    """The same for pictures of the balls as they are drawn; views have no numbers there."""

    name: str = "colours"

    def embed(self, image: Tensor) -> Embedding:
        red, green, blue = image.float().unbind(dim=-1)
        objects = torch.zeros_like(red, dtype=torch.uint8)
        objects[red > 2.2 * green] = RED
        objects[(green > 1.4 * red) & (green > 1.4 * blue)] = GREEN
        objects[blue > 1.6 * red] = BLUE
        return super().embed(torch.stack([objects, torch.zeros_like(objects), torch.zeros_like(objects)], dim=-1))


def _pixel(x: float, y: float, picture: Tensor) -> tuple[int, int]:
    return min(int(y), picture.shape[0] - 1), min(int(x), picture.shape[1] - 1)


@dataclass(frozen=True)
class PaintedView:
    """A view whose picture tells the truth."""

    name: str
    camera: Camera
    picture: Tensor  # [H, W, 3] uint8

    @property
    def objects(self) -> Tensor:  # [H, W] int64
        return self.picture[..., 0].long()

    def image(self) -> Tensor:
        return self.picture

    def middle(self, object: int) -> tuple[float, float]:
        """The centre of the object's pixel that is nearest to the mean of all."""
        rows, columns = (self.objects == object).nonzero().double().unbind(dim=1)
        nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
        return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5


@dataclass(frozen=True)
class Painted:
    """Splats, their true objects and parts, and views that show them."""

    splats: Splats
    truth: Tensor  # [N]
    parts: Tensor  # [N]
    views: tuple[PaintedView, ...]

    def scene(self, segmenter: TruthfulSegmenter, chosen: Sequence[int] | None = None) -> ClickedScene:
        """To click in; clicks are carried to the chosen views."""
        views = self.views if chosen is None else [self.views[place] for place in chosen]
        return ClickedScene(rasterizer_for("cpu"), self.splats, views, segmenter)

    def click(self, object: int, view: int = 0, name: str = "thing") -> ObjectPrompts:
        """One click in the middle of an object."""
        chosen = self.views[view]
        return ObjectPrompts(name, (ViewPrompts(chosen.name, (chosen.middle(object),)),))

    def iou(self, known: PartialObject, *objects: int, part: int | None = None) -> float:
        """With the true Gaussians of some objects, over those that were seen well."""
        true = torch.isin(self.truth, torch.tensor(objects))
        if part is not None:
            true &= self.parts == part
        seen = known.seen > 0.5
        return float((known.rows & true & seen).sum() / ((known.rows | true) & seen).sum())


def painted(splats: Splats, truth: Tensor, cameras: Sequence[Camera], parts: Tensor | None = None) -> Painted:
    """Pictures of what is seen first at each pixel."""
    parts = torch.zeros_like(truth) if parts is None else parts
    engine = rasterizer_for("cpu")
    views = []
    for number, seen_from in enumerate(cameras):
        maps = [
            render_label_map(engine, splats, seen_from, Labels(labels, torch.ones(len(labels))), labels.unique())
            if bool((labels > 0).any())
            else torch.zeros(seen_from.height, seen_from.width, dtype=torch.int64)
            for labels in (truth, parts)
        ]
        picture = torch.stack([*maps, torch.full_like(maps[0], number)], dim=-1).byte()
        views.append(PaintedView(f"view_{number:02d}", seen_from, picture))
    return Painted(splats, truth, parts, tuple(views))


@cache
def balls() -> Painted:
    """Three balls on a table, which is no object; the balls have a cap and the rest as parts, 1 and 2."""
    splats, truth = balls_on_a_table()
    heights = torch.tensor([0.0, 0.3, 0.22, 0.4])[truth]
    parts = torch.where(truth == 0, 0, torch.where(splats.means[:, 2] > 1.25 * heights, 1, 2))
    return painted(splats, truth, ring_of_cameras(VIEWS, 96, 72), parts)


@cache
def ball_before_wall() -> Painted:
    """A ball (1) of radius 0.5 around the origin and a wall (2) far behind it, seen from 8 sides; 0 is the front."""
    random = torch.Generator().manual_seed(1)
    ball = 0.5 * torch.nn.functional.normalize(torch.randn(3000, 3, generator=random), dim=-1)
    across, up = torch.meshgrid(torch.linspace(-3, 3, 61), torch.linspace(-3, 3, 61), indexing="ij")
    wall = torch.stack([across, up, torch.full_like(across, 3.0)], dim=-1).reshape(-1, 3)
    means = torch.cat([ball, wall])
    splats = gaussians(means.tolist(), [[0.03] * 3] * len(ball) + [[0.08, 0.08, 0.01]] * len(wall), [0.95] * len(means))
    truth = torch.tensor([1] * len(ball) + [2] * len(wall))
    cameras = [camera(64, 64, turn=turn * torch.pi / 4, shift=(0.0, 0.0, 2.5)) for turn in range(8)]
    return painted(splats, truth, cameras)


def enlarged(made: Painted, times: int, views: Sequence[int]) -> Painted:
    """Some of the views with so many pixels in each direction for one."""
    large = []
    for place in views:
        view = made.views[place]
        picture = view.picture.repeat_interleave(times, dim=0).repeat_interleave(times, dim=1)
        seen_from = view.camera.resized(view.camera.width * times, view.camera.height * times)
        large.append(PaintedView(view.name, seen_from, picture))
    return Painted(made.splats, made.truth, made.parts, tuple(large))
