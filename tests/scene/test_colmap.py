from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from splatseg_ns.scene import Capture, Lens
from splatseg_ns.scene.colmap import find_model, read_colmap
from tests.scene.examples import write_picture

CAMERAS = """1 OPENCV 8 6 5 5.5 4 3 0.01 0.02 0.001 0.002
2 SIMPLE_PINHOLE 10 6 7 5 3
"""
# A turn by 90 degrees about z: (x, y, z) goes to (-y, x, z).
IMAGES = """7 0.7071067811865476 0 0 0.7071067811865476 1 2 3 1 left/b.png
4.5 3.5 1
3 1 0 0 0 0 0 0 2 left/a.png
5.0 3.0 1 1.0 1.0 -1
"""
POINTS = """1 0.5 1.5 4.0 10 20 30 0.1 7 0 3 0
"""


def write_model(folder: Path, cameras: str = CAMERAS, images: str = IMAGES, points: str = POINTS) -> Path:
    """A COLMAP model as text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("cameras", cameras), ("images", images), ("points3D", points)):
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder as COLMAP leaves it, with two pictures."""
    pytest.importorskip("pycolmap", reason="COLMAP models are read by pycolmap")
    write_model(tmp_path / "sparse" / "0")
    write_picture(tmp_path / "images" / "left" / "a.png", 10, 6)
    write_picture(tmp_path / "images" / "left" / "b.png", 8, 6)
    return tmp_path


@pytest.mark.parametrize("place", [".", "sparse/0", "sparse"])
def test_a_model_is_read_from_its_folder_and_from_above(project: Path, place: str):
    capture = Capture.load(project / place)
    assert capture.names == ["left/a", "left/b"]
    assert capture.folder.resolve() == project.resolve()
    assert {view.split for view in capture} == {"train"}


def test_cameras_and_poses(project: Path):
    capture = Capture.load(project)
    first, second = capture.views
    assert first.lens == Lens(fx=7.0, fy=7.0, cx=5.0, cy=3.0)
    assert torch.equal(first.viewmat, torch.eye(4))
    assert first.image().shape == (6, 10, 3)
    assert second.lens == Lens(fx=5.0, fy=5.5, cx=4.0, cy=3.0, k1=0.01, k2=0.02, p1=0.001, p2=0.002)
    turned = [[0.0, -1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 1.0]]
    assert torch.allclose(second.viewmat, torch.tensor(turned), atol=1e-7)
    assert torch.equal(capture.applied_transform, torch.eye(4)[:3])


def test_seed_points(project: Path):
    seeds = Capture.load(project).seed_points()
    assert seeds is not None
    assert seeds.xyz.tolist() == [[0.5, 1.5, 4.0]]
    assert seeds.rgb.tolist() == [[10, 20, 30]]


def test_binary_models_are_the_same(project: Path):
    import pycolmap

    model = project / "sparse" / "0"
    binary = project / "binary"
    binary.mkdir()
    pycolmap.Reconstruction(str(model)).write_binary(str(binary))
    read, expected = read_colmap(binary), read_colmap(model)
    assert read.names == expected.names
    for one, other in zip(read, expected, strict=True):
        assert one.lens == other.lens
        assert torch.equal(one.viewmat, other.viewmat)


def test_label_maps_beside_the_pictures_folder(project: Path):
    (project / "labels" / "left").mkdir(parents=True)
    np.save(project / "labels" / "left" / "a.npy", np.full((6, 10), 3))
    capture = Capture.load(project / "sparse" / "0")
    label_map = capture.view("left/a").label_map()
    assert label_map is not None
    assert label_map.unique().tolist() == [3]


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ("PINHOLE 8 6 5 6 4 3", Lens(fx=5.0, fy=6.0, cx=4.0, cy=3.0)),
        ("SIMPLE_RADIAL 8 6 5 4 3 0.1", Lens(fx=5.0, fy=5.0, cx=4.0, cy=3.0, k1=0.1)),
        ("RADIAL 8 6 5 4 3 0.1 0.2", Lens(fx=5.0, fy=5.0, cx=4.0, cy=3.0, k1=0.1, k2=0.2)),
        (
            "OPENCV_FISHEYE 8 6 5 6 4 3 0.1 0.2 0.3 0.4",
            Lens(fx=5.0, fy=6.0, cx=4.0, cy=3.0, k1=0.1, k2=0.2, k3=0.3, k4=0.4, kind="fisheye"),
        ),
    ],
)
def test_camera_models(project: Path, camera: str, expected: Lens):
    model = write_model(project / "other", f"1 {camera}\n", "1 1 0 0 0 0 0 0 1 a.png\n\n", "")
    capture = read_colmap(model)
    assert capture.views[0].lens == expected
    assert capture.seed_points() is None


def test_unsupported_camera_models_are_named(project: Path):
    model = write_model(project / "other", "1 FOV 8 6 5 6 4 3 0.1\n", "1 1 0 0 0 0 0 0 1 a.png\n\n", "")
    with pytest.raises(ValueError, match=r"camera model FOV is not supported .*; run colmap image_undistorter"):
        read_colmap(model)


def test_models_that_cannot_be_read(project: Path):
    model = write_model(project / "other", images="", points="")
    with pytest.raises(ValueError, match="no image with a pose"):
        read_colmap(model)
    (model / "images.txt").unlink()
    with pytest.raises(ValueError, match="other: no readable COLMAP model") as caught:
        read_colmap(model)
    assert "\n" not in str(caught.value)


def test_missing_pictures_folder(tmp_path: Path):
    pytest.importorskip("pycolmap")
    model = write_model(tmp_path / "a" / "b" / "c" / "d" / "model")
    with pytest.raises(FileNotFoundError, match="no folder 'images' beside or above the model"):
        read_colmap(model)
    assert (
        read_colmap(model, pictures=tmp_path / "photos").views[0].image_path == tmp_path / "photos" / "left" / "a.png"
    )


def test_missing_pycolmap_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    write_model(tmp_path / "sparse" / "0")
    with pytest.raises(ImportError, match=r"pip install 'splatseg_ns\[colmap\]'"):
        Capture.load(tmp_path)


def test_find_model_knows_where_there_is_none(tmp_path: Path):
    assert find_model(tmp_path) is None
