"""``python -m splatseg_ns.demo [folder]``: masks of eight views become labels of Gaussians, judged on four others."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from splatseg_ns.demo.scene import NAMES, balls_on_a_table, ring_of_cameras
from splatseg_ns.raster import Rasterizer, rasterizer_for
from splatseg_ns.scene import Camera, Splats

_PAINT = torch.tensor([[60, 60, 60], [230, 70, 60], [80, 190, 90], [70, 110, 230]], dtype=torch.uint8)


def object_map(engine: Rasterizer, splats: Splats, camera: Camera, labels: Tensor) -> Tensor:  # [H, W] int64
    """Which object each pixel shows most of."""
    one_hot = torch.nn.functional.one_hot(labels, len(NAMES)).float()
    return engine.render(splats, camera, features=one_hot).colors.argmax(dim=-1)


def label_from_masks(engine: Rasterizer, splats: Splats, cameras: list[Camera], maps: list[Tensor]) -> Tensor:  # [N]
    """For every Gaussian the object that most of its weight in the masks belongs to; 0 if no view sees it."""
    mass = torch.zeros(len(splats), len(NAMES), dtype=torch.float64)
    for camera, label_map in zip(cameras, maps, strict=True):
        mass += engine.votes(splats, camera, label_map, ids=range(len(NAMES))).dense()
    return mass.argmax(dim=-1)


def main(folder: Path) -> None:
    engine = rasterizer_for("cpu")
    splats, truth = balls_on_a_table()
    cameras = ring_of_cameras(12)
    held_out = cameras[::3]
    training = [camera for camera in cameras if not any(camera is other for other in held_out)]
    maps = [object_map(engine, splats, camera, truth) for camera in training]

    begin = time.perf_counter()
    labels = label_from_masks(engine, splats, training, maps)
    seconds = time.perf_counter() - begin

    print(f"{len(splats)} Gaussians labelled from masks of {len(training)} views in {seconds:.2f} s\n")
    print(f"{'object':<12}{'Gaussians':>10}{'IoU on held-out views':>24}")
    pairs = [(object_map(engine, splats, c, labels), object_map(engine, splats, c, truth)) for c in held_out]
    for k, name in enumerate(NAMES):
        inside = sum(int(((ours == k) & (true == k)).sum()) for ours, true in pairs)
        either = sum(int(((ours == k) | (true == k)).sum()) for ours, true in pairs)
        print(f"{name:<12}{int((labels == k).sum()):>10}{inside / either:>24.4f}")

    picture = (engine.render(splats, held_out[0]).colors.clamp(0, 1) * 255).byte()
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / "demo.png"
    Image.fromarray(torch.cat([picture, _PAINT[pairs[0][0]]], dim=1).numpy()).save(sheet)
    print(f"\npicture and labels of a held-out view: {sheet}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/demo"))
