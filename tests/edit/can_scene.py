"""A can on a patterned table: what is under it has never been seen, and is known all the same."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.demo.scene import ring_of_cameras
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera, Splats, write_ply
from splatseg_ns.segmentation import SceneObject, Segmentation, SegmentationStore

RADIUS, HEIGHT = 0.3, 0.35
_SPACING = 0.03
_SH_0 = 0.28209479177387814


@dataclass(frozen=True, eq=False)
class CanScene:
    """The scene as training leaves it: under the can everything is black."""

    splats: Splats
    can: Tensor  # [N] bool
    truth: Splats
    """The table alone, as it is."""

    cameras: dict[str, Camera]

    @property
    def removed(self) -> Splats:
        """Without the can."""
        return self.splats.subset(~self.can)


def can_scene(views: int = 8, tilt: float = 0.0) -> CanScene:
    """The table may be tilted about the x axis, by radians."""
    side = torch.arange(-70, 71) * _SPACING
    x, y = (part.flatten() for part in torch.meshgrid(side, side, indexing="xy"))
    table = torch.stack([x, y, torch.zeros_like(x)], dim=1)
    waves = 0.45 + 0.12 * torch.sin(2.0 * x) + 0.1 * torch.sin(2.6 * y + 0.7)
    colors = torch.stack([waves + 0.15, waves, waves - 0.12], dim=1)
    flat = _gaussians(table, colors, 0.003)
    under = (x**2 + y**2).sqrt() < RADIUS - 0.02
    trained = replace(flat, sh=torch.where(under[:, None, None], -0.5 / _SH_0, flat.sh))
    turns = torch.arange(64) * (2 * math.pi / 64)
    rings = [
        torch.stack([RADIUS * turns.cos(), RADIUS * turns.sin(), torch.full_like(turns, height)], dim=1)
        for height in torch.arange(0.03, HEIGHT, _SPACING).tolist()
    ]
    lid = table[(x**2 + y**2).sqrt() < RADIUS] + torch.tensor([0.0, 0.0, HEIGHT])
    points = torch.cat([*rings, lid])
    can = _gaussians(points, torch.tensor([0.2, 0.5, 0.9]).expand(len(points), 3), 0.7 * _SPACING)
    rows = torch.cat([torch.zeros(len(table), dtype=torch.bool), torch.ones(len(points), dtype=torch.bool)])
    turn = torch.eye(4)
    turn[1:3, 1:3] = torch.tensor([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    cameras = {f"view_{place}": camera for place, camera in enumerate(ring_of_cameras(views, 128, 96))}
    cameras = {name: replace(camera, viewmat=camera.viewmat @ turn.T) for name, camera in cameras.items()}
    return CanScene(Splats.concat([trained, can]).transform(turn), rows, flat.transform(turn), cameras)


def write_can_scene(scene: CanScene, folder: Path, held_out: Collection[str] = ()) -> Path:
    """The labelled scene as ``scene.ply`` and ``scene.segmentation``, and its ``capture``; gives the folder."""
    capture = folder / "capture"
    (capture / "images").mkdir(parents=True)
    frames: list[dict[str, Any]] = []
    for name, camera in scene.cameras.items():
        picture = (rasterizer_for("cpu").render(scene.splats, camera).colors.clamp(0, 1) * 255).byte()
        Image.fromarray(picture.numpy()).save(capture / "images" / f"{name}.png")
        pose = torch.linalg.inv(camera.viewmat.double())
        pose[:3, 1:3] *= -1
        frames.append({"file_path": f"images/{name}.png", "transform_matrix": pose.tolist()})
    camera = next(iter(scene.cameras.values()))
    entries: dict[str, Any] = {
        "w": camera.width, "h": camera.height, "fl_x": float(camera.K[0, 0]), "fl_y": float(camera.K[1, 1]),
        "frames": frames,
    }  # fmt: skip
    if held_out:
        for split in ("train", "test"):
            names = [name for name in scene.cameras if (name in held_out) == (split == "test")]
            entries[f"{split}_filenames"] = [f"images/{name}.png" for name in names]
    (capture / "transforms.json").write_text(json.dumps(entries))
    write_ply(folder / "scene.ply", scene.splats)
    document = Segmentation.of(scene.splats, scene.can.long(), [SceneObject(1, "can", (1, 2, 3))])
    SegmentationStore(folder / "scene.segmentation").save(document)
    return folder


def _gaussians(means: Tensor, colors: Tensor, thickness: float) -> Splats:
    count = len(means)
    return Splats(
        means=means,
        raw_quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        log_scales=torch.tensor([0.7 * _SPACING, 0.7 * _SPACING, thickness]).log().repeat(count, 1),
        logit_opacities=torch.full((count,), 3.0),
        sh=((colors - 0.5) / _SH_0)[:, None],
    )
