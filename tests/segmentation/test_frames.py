"""Splats in the frames that exporters and trainers leave them in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture, Splats, read_ply
from splatseg_ns.segmentation.frames import (
    Frame,
    default_dataparser_frame,
    find_frame,
    read_dataparser_transforms,
)
from tests.cli.examples import SceneOnDisk, dataparser_json, similarity

APPLIED = torch.tensor([[0.0, 1.0, 0.0, 0.2], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.1]])


def full(matrix: Tensor) -> Tensor:  # [4, 4]
    return torch.cat([matrix[:3].double(), torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)])


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.fixture(params=["balls", "tabletop"])
def scene_in_its_frame(request: pytest.FixtureRequest) -> tuple[Splats, Capture]:
    if request.param == "balls":
        scene: SceneOnDisk = request.getfixturevalue("pristine")
        return scene.splats, Capture.load(scene.data)
    shared_data: Path = request.getfixturevalue("shared_data")
    return read_ply(shared_data / "tabletop_splats.ply"), Capture.load(shared_data / "tabletop")


CPU = rasterizer_for("cpu")


def test_the_captures_own_frame(scene_in_its_frame: tuple[Splats, Capture]):
    splats, capture = scene_in_its_frame
    found = find_frame(CPU, splats, capture)
    assert found.agreement > 0.9
    assert torch.equal(found.frame.from_capture, torch.eye(4, dtype=torch.float64))


def test_colmaps_frame(scene_in_its_frame: tuple[Splats, Capture]):
    splats, capture = scene_in_its_frame
    capture = replace(capture, applied_transform=APPLIED)
    moved = splats.transform(torch.linalg.inv(full(APPLIED)))
    found = find_frame(CPU, moved, capture)
    assert "COLMAP" in found.frame.name and found.agreement > 0.9
    assert relative_error(found.frame.from_capture, torch.linalg.inv(full(APPLIED))) < 1e-5


@pytest.mark.parametrize("of_original", [True, False])
def test_the_dataparsers_frame(scene_in_its_frame: tuple[Splats, Capture], of_original: bool, tmp_path: Path):
    splats, capture = scene_in_its_frame
    capture = replace(capture, applied_transform=APPLIED, applied_scale=2.0)
    to_model = similarity()
    written = full(to_model @ full(APPLIED)) if of_original else to_model
    # applied_scale is part of the scale that nerfstudio writes.
    written = torch.cat([2.0 * written[:3], written[3:]])
    path = tmp_path / "dataparser_transforms.json"
    path.write_text(dataparser_json(written))
    found = find_frame(CPU, splats.transform(to_model), capture, read_dataparser_transforms(path))
    assert found.agreement > 0.9
    assert relative_error(found.frame.from_capture, to_model) < 1e-5


def test_nothing_agrees(scene_in_its_frame: tuple[Splats, Capture]):
    splats, capture = scene_in_its_frame
    exported = splats.transform(default_dataparser_frame(capture).from_capture)
    with pytest.raises(ValueError, match="they are in the frame of nerfstudio's dataparser") as error:
        find_frame(CPU, exported, capture)
    assert "--dataparser-transforms" in str(error.value) and "\n" not in str(error.value)
    odd = similarity()
    odd[:3, 3] += 4.0
    with pytest.raises(ValueError, match="likely they are in the frame of nerfstudio's dataparser"):
        find_frame(CPU, splats.transform(odd), capture)
    with pytest.raises(ValueError, match="transforms of another run"):
        find_frame(CPU, splats.transform(odd), capture, similarity())


def test_moved_cameras_draw_the_same_picture(pristine: SceneOnDisk):
    capture = Capture.load(pristine.data)
    moved = Frame("moved", similarity()).move(capture)
    before = CPU.render(pristine.splats, capture.views[0].camera).colors
    after = CPU.render(pristine.splats.transform(similarity()), moved.views[0].camera).colors
    assert float((before - after).abs().max()) < 0.02


@pytest.mark.parametrize("content", ["{", "{}", '{"transform": [[1]], "scale": 1}', "[]"])
def test_unreadable_transforms(content: str, tmp_path: Path):
    path = tmp_path / "dataparser_transforms.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"dataparser_transforms\.json"):
        read_dataparser_transforms(path)


def test_nerfstudios_own_default(pristine: SceneOnDisk):
    capture = Capture.load(pristine.data)
    camera_utils = pytest.importorskip("nerfstudio.cameras.camera_utils")
    frames = json.loads((pristine.data / "transforms.json").read_text())["frames"]
    poses = torch.tensor([frame["transform_matrix"] for frame in frames])
    oriented, transform = camera_utils.auto_orient_and_center_poses(poses, method="up", center_method="poses")
    scale = 1.0 / float(oriented[:, :3, 3].abs().max())
    wanted = full(transform)
    wanted[:3] *= scale
    assert relative_error(default_dataparser_frame(capture).from_capture, wanted) < 1e-5
