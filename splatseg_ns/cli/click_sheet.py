"""A picture of all masks that were found for a clicked object."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from splatseg_ns.edit.extract import file_stem
from splatseg_ns.scene import atomic_write
from splatseg_ns.segmentation import SceneObject
from splatseg_ns.segmentation.clicked_scene import ClickedScene
from splatseg_ns.segmentation.comparison import painted
from splatseg_ns.segmentation.prompts import ViewPrompts
from splatseg_ns.segmentation.propagate import FoundObject, UsedMask

_COLUMNS = 4
_TILE_WIDTH = 384
_LINE = 18
_ON, _OFF, _REJECTED = (40, 200, 60), (230, 30, 30), (150, 150, 150)


def save_click_sheet(folder: Path, scene: ClickedScene, entry: SceneObject, found: FoundObject) -> Path:
    """Write the masks of an object, view by view: in its colour those that count, grey those that do not."""
    clicks = {prompts.view: prompts for prompts in found.prompts.views}
    tiles = [_tile(scene, entry, used, clicks.get(used.view)) for used in found.masks]
    width = max(tile.width for tile in tiles)
    height = max(tile.height for tile in tiles)
    columns = min(_COLUMNS, len(tiles))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * width, place // columns * height))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{entry.id}_{file_stem(entry)}.png"
    with atomic_write(path) as stream:
        sheet.save(stream, format="png")
    return path


def _tile(scene: ClickedScene, entry: SceneObject, used: UsedMask, clicks: ViewPrompts | None) -> Image.Image:
    """One view with its mask, the clicks that were made there, and what became of the mask."""
    picture = scene.view(used.view).image()
    full_height, full_width = picture.shape[:2]
    height = round(_TILE_WIDTH * full_height / full_width)
    small = _resized(picture, height)
    mask = _resized(used.mask.byte()[..., None] * 255, height)[..., 0] > 127
    shown = painted(small, mask.int(), {1: entry.color if used.accepted else _REJECTED})
    tile = Image.new("RGB", (_TILE_WIDTH, height + _LINE), "white")
    tile.paste(Image.fromarray(shown.numpy()), (0, _LINE))
    draw = ImageDraw.Draw(tile)
    verdict = "" if used.accepted else ", rejected"
    draw.text((4, 3), f"{used.view}: {100 * used.agreement:.0f} % as expected{verdict}", fill="black")
    if clicks is not None:
        scale = _TILE_WIDTH / full_width
        for points, color in ((clicks.points, _ON), (clicks.negative, _OFF)):
            for x, y in points:
                draw.circle((x * scale, y * scale + _LINE), 4, fill=color, outline="white")
        if clicks.box is not None:
            left, top, right, bottom = (side * scale for side in clicks.box)
            draw.rectangle((left, top + _LINE, right, bottom + _LINE), outline=_ON, width=2)
    return tile


def _resized(
    picture: Tensor,  # [H, W, C] uint8
    height: int,
) -> Tensor:  # [height, _TILE_WIDTH, C] uint8
    made = torch.nn.functional.interpolate(
        picture.permute(2, 0, 1)[None].float(), (height, _TILE_WIDTH), mode="bilinear", antialias=True
    )
    return made[0].permute(1, 2, 0).round().clamp(0, 255).byte()
