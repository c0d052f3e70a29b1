"""A small scene on disk: balls on a table, with pictures, cameras and label maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.demo.scene import NAMES, balls_on_a_table, ring_of_cameras
from splatseg_ns.lift import Labels, render_label_map
from splatseg_ns.masks import LabelName, write_label_folder
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Splats, write_ply

TEST_VIEWS = ("view_03", "view_07")


@dataclass(frozen=True)
class SceneOnDisk:
    """The paths, and what is true of the scene."""

    ply: Path
    data: Path
    masks: Path
    splats: Splats
    truth: Tensor  # [N] 0 the table, 1 to 3 the balls

    @property
    def arguments(self) -> list[str]:
        return ["--ply", str(self.ply), "--data", str(self.data), "--device", "cpu"]


def write_scene(folder: Path, width: int = 96, height: int = 72) -> SceneOnDisk:
    """Ten views, two of them held out."""
    splats, truth = balls_on_a_table()
    cameras = {f"view_{number:02d}": camera for number, camera in enumerate(ring_of_cameras(10, width, height))}
    engine = rasterizer_for("cpu")
    data, masks = folder / "capture", folder / "masks"
    (data / "images").mkdir(parents=True)
    frames: list[dict[str, Any]] = []
    maps = []
    labels = Labels(truth, torch.ones(len(truth)))
    for name, camera in cameras.items():
        picture = (engine.render(splats, camera).colors.clamp(0, 1) * 255).byte()
        Image.fromarray(picture.numpy()).save(data / "images" / f"{name}.png")
        pose = torch.linalg.inv(camera.viewmat.double())
        pose[:3, 1:3] *= -1
        frames.append({"file_path": f"images/{name}.png", "transform_matrix": pose.tolist()})
        maps.append((name, render_label_map(engine, splats, camera, labels, torch.arange(1, 4))))
    K = next(iter(cameras.values())).K
    lists = {
        f"{split}_filenames": [f"images/{name}.png" for name in cameras if (name in TEST_VIEWS) == (split == "test")]
        for split in ("train", "test")
    }
    size = {"w": width, "h": height, "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1])}
    (data / "transforms.json").write_text(json.dumps({**size, "frames": frames, **lists}))
    write_label_folder(masks, maps, [LabelName(id, NAMES[id], (10, 20, 30 * id)) for id in (1, 2, 3)])
    ply = folder / "scene.ply"
    write_ply(ply, splats)
    return SceneOnDisk(ply, data, masks, splats, truth)


def change_json(path: Path, changes: Mapping[str, Any]) -> None:
    """Set some entries of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def similarity(scale: float = 0.4) -> Tensor:  # [4, 4] float64
    """A turn about a slanted axis, a scale and a shift."""
    generator = torch.tensor([[0.0, -0.4, 0.9], [0.4, 0.0, -0.3], [-0.9, 0.3, 0.0]], dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = scale * torch.linalg.matrix_exp(generator)
    matrix[:3, 3] = torch.tensor([0.3, -0.2, 0.1])
    return matrix


def dataparser_json(matrix: Tensor) -> str:
    """A similarity as nerfstudio writes it."""
    scale = float(torch.linalg.det(matrix[:3, :3])) ** (1 / 3)
    return json.dumps({"transform": (matrix[:3] / scale).tolist(), "scale": scale})
