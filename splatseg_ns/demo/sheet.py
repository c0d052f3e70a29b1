"""The contact sheet of the demo: held-out views with their objects, and every object alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats, View, atomic_write
from splatseg_ns.segmentation import SceneObject, Segmentation
from splatseg_ns.segmentation.comparison import differences, painted
from splatseg_ns.segmentation.evaluation import Evaluation, JudgedView

_WIDTH = 1200
_GAP = 8
_HEADING = 22
_VIEWS = 2
_OBJECTS_IN_A_ROW = 5
_MARGIN = 1.12
_COLORS = 256


def draw_sheet(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[View],
    judged: Sequence[JudgedView],
    isolated: Segmentation,
    evaluation: Evaluation,
) -> Image.Image:
    """Picture, objects and errors of the held-out views that show most, then the objects and what is left."""
    best = sorted(judged, key=lambda entry: -_shown(entry))[:_VIEWS]
    colors = {entry.id: entry.color for entry in isolated.objects}
    wide = (_WIDTH - 2 * _GAP) // 3
    small = (_WIDTH - (_OBJECTS_IN_A_ROW - 1) * _GAP) // _OBJECTS_IN_A_ROW
    rows: list[list[tuple[str, Image.Image]]] = []
    for entry in best:
        picture = views[entry.position].image()
        wrong = (entry.drawn != entry.truth) & entry.counts
        share = 100.0 * float(wrong.float().mean())
        parts = [
            (f"held-out picture {views[entry.position].name}", picture),
            ("objects from 2D masks of other views", painted(picture, entry.drawn, colors, strength=0.5)),
            (f"wrong pixels: {share:.2f} %", differences(picture, wrong)),
        ]
        rows.append([(caption, _fitted(part, wide)) for caption, part in parts])
    scores = {entry.id: entry.iou for entry in evaluation.objects}
    tiles = []
    for object in isolated.objects:
        alone = splats.subset(isolated.rows(object.id).to(splats.device))
        iou = scores[object.id]
        caption = object.name.replace("_", " ") + (f"  {100.0 * iou:.1f} % IoU" if iou is not None else "")
        tiles.append((caption, _portrait(rasterizer, alone, views, judged, object, small)))
    rest = splats.subset((isolated.labels <= 0).to(splats.device))
    camera = views[best[0].position].camera
    tiles.append(("everything else", _fitted(_on_white(rasterizer, rest, camera), small, square=True)))
    rows += [tiles[first : first + _OBJECTS_IN_A_ROW] for first in range(0, len(tiles), _OBJECTS_IN_A_ROW)]
    return _arranged(rows)


def save_sheet(path: Path, sheet: Image.Image) -> None:
    """A PNG with a palette, which is small enough for a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        sheet.quantize(_COLORS, dither=Image.Dither.NONE).save(stream, format="png", optimize=True)


def _shown(view: JudgedView) -> float:
    """How many objects a view shows, and at a tie how much of them."""
    present = view.truth[view.truth > 0]
    counts = torch.bincount(present.long().flatten())
    return float((counts > 400).sum()) + float(len(present)) / view.truth.numel()


def _portrait(
    rasterizer: Rasterizer,
    alone: Splats,
    views: Sequence[View],
    judged: Sequence[JudgedView],
    object: SceneObject,
    size: int,
) -> Image.Image:
    """An object that fills a square, from the view that shows most of it."""
    view = views[max(judged, key=lambda entry: int((entry.truth == object.id).sum())).position]
    if len(alone) == 0:
        return Image.new("RGB", (size, size), "white")
    alpha = rasterizer.render(alone, view.camera, sh_degree=0).alpha
    rows, columns = (alpha > 0.5).any(dim=1).nonzero(), (alpha > 0.5).any(dim=0).nonzero()
    if len(rows) == 0:
        return Image.new("RGB", (size, size), "white")
    top, bottom, left, right = float(rows[0]), float(rows[-1]) + 1, float(columns[0]), float(columns[-1]) + 1
    side = max(bottom - top, right - left) * _MARGIN
    zoom = size / side
    # The principal point moves by the corner of the square, then all grows with it.
    K = view.camera.K.clone()
    K[0, 2] -= (left + right - side) / 2
    K[1, 2] -= (top + bottom - side) / 2
    K[:2] *= zoom
    camera = replace(view.camera, K=K, width=size, height=size)
    return Image.fromarray(_on_white(rasterizer, alone, camera).numpy())


@torch.no_grad()
def _on_white(rasterizer: Rasterizer, splats: Splats, camera: Camera) -> Tensor:  # [H, W, 3] uint8
    colors = rasterizer.render(splats, camera, background=torch.ones(3, device=splats.device)).colors
    return (colors.clamp(0, 1) * 255).round().byte().cpu()


def _fitted(
    picture: Tensor,  # [H, W, 3] uint8
    width: int,
    square: bool = False,
) -> Image.Image:
    """A picture of this width; its middle if it is to be square."""
    image = Image.fromarray(picture.numpy())
    if square:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    return image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS)


def _arranged(rows: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """Rows of pictures with captions above them, on white."""
    height = sum(_HEADING + max(image.height for _, image in row) + _GAP for row in rows)
    sheet = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    top = 0
    for row in rows:
        left = 0
        for caption, image in row:
            draw.text((left + 2, top + 3), caption, fill=(40, 40, 40), font=font)
            sheet.paste(image, (left, top + _HEADING))
            left += image.width + _GAP
        top += _HEADING + max(image.height for _, image in row) + _GAP
    return sheet
