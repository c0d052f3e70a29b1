"""A small capture to train on, models made of known splats, and Nerfstudio's commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.data.utils.colmap_parsing_utils import rotmat2qvec
from torch import Tensor

from splatseg_ns.plugin.model import SplatsegModel, SplatsegModelConfig
from splatseg_ns.plugin.parameters import parameters_of
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import SplatsegTrainerConfig
from splatseg_ns.scene import Camera, Capture, Splats
from splatseg_ns.segmentation import SceneObject, Segmentation
from tests.cli.examples import SceneOnDisk, change_json, write_scene

COLORS = ("red", "green", "blue")

OUTPUTS = {"rgb", "depth", "accumulation", "background", "segmentation", "object_mask", "objects"}
"""Of a model that is not training, whatever it shows."""


def write_capture(folder: Path) -> SceneOnDisk:
    """Balls on a table with points to start from: a fifth of the true centres, and their colours."""
    scene = write_scene(folder)
    points = scene.splats.means[::5]
    colors = ((0.5 + 0.28209479 * scene.splats.sh[::5, 0]).clamp(0, 1) * 255).to(torch.uint8)
    lines = [f"{x:.6f} {y:.6f} {z:.6f} {r} {g} {b}" for (x, y, z), (r, g, b) in zip(points, colors, strict=True)]
    kinds = [f"property {kind} {name}" for kind, names in (("float", "xyz"), ("uchar", COLORS)) for name in names]
    header = ["ply", "format ascii 1.0", f"element vertex {len(lines)}", *kinds, "end_header"]
    (scene.data / "points.ply").write_text("\n".join([*header, *lines]) + "\n")
    stated = json.loads((scene.data / "transforms.json").read_text())
    # Nerfstudio wants a list for each split as soon as there is one, and the middle of the picture.
    added = {"val_filenames": stated["test_filenames"], "cx": stated["w"] / 2, "cy": stated["h"] / 2}
    change_json(scene.data / "transforms.json", {"ply_file_path": "points.ply", **added})
    return scene


def write_colmap(scene: SceneOnDisk, folder: Path) -> Path:
    """The same capture and points as Nerfstudio's COLMAP dataparser takes them."""
    model = folder / "colmap" / "sparse" / "0"
    model.mkdir(parents=True)
    shutil.copytree(scene.data / "images", folder / "images")
    cameras, images = [], []
    for number, view in enumerate(Capture.load(scene.data), 1):
        lens = view.lens
        cameras.append(f"{number} PINHOLE {view.width} {view.height} {lens.fx} {lens.fy} {lens.cx} {lens.cy}")
        turn = rotmat2qvec(view.viewmat[:3, :3].double().numpy())
        pose = " ".join(f"{part:.9f}" for part in (*turn, *view.viewmat[:3, 3].tolist()))
        # The second line is for the points that were found in the picture.
        images += [f"{number} {pose} {number} {view.image_path.name}", ""]
    seeds = Capture.load(scene.data).seed_points()
    assert seeds is not None
    points = [
        f"{number} {x:.6f} {y:.6f} {z:.6f} {r} {g} {b} 0.5"
        for number, ((x, y, z), (r, g, b)) in enumerate(zip(seeds.xyz.tolist(), seeds.rgb.tolist(), strict=True), 1)
    ]
    for name, lines in (("cameras", cameras), ("images", images), ("points3D", points)):
        (model / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def run_command(*words: str | Path, cwd: Path, timeout: float = 600.0) -> subprocess.CompletedProcess[str]:
    """A console script of this environment, as a user calls it; what went wrong shows in a failing test."""
    return subprocess.run(
        script(words),
        cwd=cwd,
        env=environment_of_commands(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def script(words: Sequence[str | Path]) -> list[str]:
    """The command line of a console script of this environment."""
    return [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])]


def environment_of_commands() -> dict[str, str]:
    """That of the tests, for commands that start in the time that users know."""
    # Nerfstudio takes twice as long to start where Python may not keep what it has compiled.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "COLUMNS": "300"}


def trained(
    method: str,
    data: Path,
    folder: Path,
    *words: str | Path,
    call: Callable[..., subprocess.CompletedProcess[str]] = run_command,
) -> Path:
    """Have ns-train make a run, and give its folder."""
    result = call(
        "ns-train", method, "--data", data, "--output-dir", folder, "--timestamp", "now",
        "--viewer.quit-on-train-completion", "True", *words, cwd=folder.parent,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / data.name / method / "now"


def model_of(splats: Splats, **options: Any) -> SplatsegModel:
    """A model with these Gaussians on the CPU, not training."""
    degree = max(splats.sh_degree, 1)
    config = SplatsegModelConfig(sh_degree=degree, num_random=8, background_color="black", **options)
    model: SplatsegModel = config.setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=3, metadata={}, seed_points=None
    )
    for name, tensor in parameters_of(splats).items():
        model.gauss_params[name] = torch.nn.Parameter(tensor.clone())
    model.step = 30_000
    return model.eval()


def nerfstudio_camera(camera: Camera) -> Cameras:
    """The same camera in Nerfstudio's axes."""
    pose = torch.linalg.inv(camera.viewmat.double())[:3]
    pose[:, 1:3] *= -1
    fx, fy, cx, cy = (float(camera.K[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return Cameras(pose[None].float(), fx, fy, cx, cy, camera.width, camera.height)


def document_of(
    splats: Splats,
    labels: Tensor,  # [N]
    hidden: tuple[int, ...] = (),
) -> Segmentation:
    """Objects named after their ids."""
    objects = [SceneObject.new(id, f"object {id}") for id in sorted(set(labels.tolist()) - {-1, 0})]
    return Segmentation.of(splats, labels, [replace(entry, visible=entry.id not in hidden) for entry in objects])


def halves(splats: Splats) -> Tensor:  # [N]
    """Labels: 1 for the first half of the Gaussians, 2 for the others."""
    return 1 + (torch.arange(len(splats)) >= len(splats) // 2).long()


@dataclass(frozen=True)
class StockRun:
    """A run as nerfstudio 1.1.5 writes it on a machine with a GPU, made from one of ours."""

    folder: Path
    state: Mapping[str, Tensor]


def write_stock_run(ours: Run, where: Path, data: Path, *, moved_data: str = "data/scene", **model: Any) -> StockRun:
    """A splatfacto run below ``where``/outputs that was trained in ``where`` on the relative path ``moved_data``."""
    from nerfstudio.configs.method_configs import method_configs

    shutil.copytree(data, where / moved_data)
    config = deepcopy(method_configs["splatfacto"])
    dataparser: Any = deepcopy(ours.config.pipeline.datamanager.dataparser)
    config.pipeline.datamanager.dataparser = dataparser
    config.data = config.pipeline.datamanager.data = dataparser.data = Path(moved_data)
    config.pipeline.model.sh_degree = ours.model_config.sh_degree
    for name, value in model.items():
        setattr(config.pipeline.model, name, value)
    config.experiment_name, config.timestamp = "scene", "2024-11-11_120000"
    folder = where / config.get_base_dir()
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(yaml.dump(config), "utf8")
    shutil.copyfile(ours.folder / "dataparser_transforms.json", folder / "dataparser_transforms.json")
    checkpoint = torch.load(ours.checkpoint, weights_only=False)
    checkpoint["pipeline"]["_model.lpips.net.lin0.1.weight"] = torch.ones(1, 64, 1, 1)
    checkpoint["schedulers"] = {"means": {"_last_lr": [np.float64(1.6e-4)]}}
    path = folder / "nerfstudio_models" / ours.checkpoint.name
    path.parent.mkdir()
    torch.save(checkpoint, path)
    return StockRun(folder, checkpoint["pipeline"])


def method_config(name: str, scene: SceneOnDisk, folder: Path) -> SplatsegTrainerConfig:
    """What ns-train makes of its arguments, for training in this process."""
    from nerfstudio.configs.method_configs import all_methods

    config = deepcopy(all_methods[name])
    assert isinstance(config, SplatsegTrainerConfig)
    config.pipeline.datamanager.data = scene.data
    config.output_dir, config.timestamp = folder, "now"
    config.logging.local_writer.enable = False
    config.viewer.quit_on_train_completion = True
    return config
