"""Camera paths as nerfstudio's viewer saves them and ns-render takes them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from splatseg_ns.scene import Camera


def read_camera_path(path: str | Path) -> list[tuple[str, Camera]]:
    """Numbered names and the cameras, in the frame of the model."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = str(content.get("camera_type", "perspective")).lower()
        width, height = int(content["render_width"]), int(content["render_height"])
        entries = content["camera_path"]
        cameras = [_camera_of(entry["camera_to_world"], float(entry["fov"]), width, height) for entry in entries]
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: no readable camera path ({reason}); save one in nerfstudio's viewer") from error
    if kind != "perspective":
        raise ValueError(f"{path}: cameras of type {kind!r} cannot be drawn; save a path of perspective cameras")
    if not cameras:
        raise ValueError(f"{path}: the path has no cameras; save one in nerfstudio's viewer")
    return [(f"{number:05d}", camera) for number, camera in enumerate(cameras)]


def _camera_of(camera_to_world: list[float], fov: float, width: int, height: int) -> Camera:
    """``fov`` is vertical, in degrees; the pose is in OpenGL axes."""
    pose = torch.tensor(camera_to_world, dtype=torch.float64).reshape(4, 4)
    pose[:3, 1:3] *= -1.0
    focal = 0.5 * height / math.tan(math.radians(fov) / 2)
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return Camera(torch.linalg.inv(pose).float(), K, width, height)
