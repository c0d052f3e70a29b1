from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.scene import Capture, Lens
from tests.scene.examples import IDENTITY_POSE, write_picture, write_ply_by_hand, write_transforms


def frames_of(*file_paths: str) -> list[dict[str, Any]]:
    return [{"file_path": file_path} for file_path in file_paths]


def write_ids(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8), value, np.uint8)).save(path)


class TestCameras:
    def test_opengl_pose_becomes_opencv_viewmat(self, tmp_path: Path):
        # A camera at (1, 2, 3) that looks along world +x with world +z up:
        # right = -y, up = +z, backwards = -x are the columns of the OpenGL pose.
        pose = [[0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
        write_transforms(tmp_path, [{"file_path": "images/a.png", "transform_matrix": pose}])
        camera = Capture.load(tmp_path).view("a").camera
        assert torch.allclose(camera.position, torch.tensor([1.0, 2.0, 3.0]))
        # 10 ahead, 2 to the left (+y), 4 up.
        point = camera.viewmat @ torch.tensor([11.0, 4.0, 7.0, 1.0])
        assert torch.allclose(point, torch.tensor([-2.0, -4.0, 10.0, 1.0]))

    def test_a_pose_of_three_rows_is_enough(self, tmp_path: Path):
        write_transforms(tmp_path, [{"file_path": "a.png", "transform_matrix": IDENTITY_POSE[:3]}])
        assert torch.equal(Capture.load(tmp_path).views[0].viewmat, torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])))

    def test_shared_and_own_intrinsics(self, tmp_path: Path):
        own = {"fl_x": 7.0, "fl_y": 8.0, "cx": 1.5, "cy": 2.5, "w": 4, "h": 3, "k1": 0.1}
        cleared = dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h"))
        write_transforms(tmp_path, [{"file_path": "a.png", **own}], **cleared)
        view = Capture.load(tmp_path).views[0]
        assert view.lens == Lens(fx=7.0, fy=8.0, cx=1.5, cy=2.5, k1=0.1)
        assert (view.width, view.height) == (4, 3)

        write_transforms(tmp_path, frames_of("a.png", "b.png"), k2=0.2, p1=0.01)
        lenses = {view.lens for view in Capture.load(tmp_path)}
        assert lenses == {Lens(fx=5.0, fy=5.0, cx=4.0, cy=3.0, k2=0.2, p1=0.01)}

    def test_what_is_stated_for_all_frames_comes_first(self, tmp_path: Path):
        write_transforms(tmp_path, [{"file_path": "a.png", "fl_x": 9.0}])
        assert Capture.load(tmp_path).views[0].lens.fx == 5.0

    def test_opening_angle_and_missing_sizes(self, tmp_path: Path):
        write_picture(tmp_path / "images" / "a.png", 20, 10)
        cleared = dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h"))
        write_transforms(tmp_path, frames_of("images/a.png"), camera_angle_x=math.pi / 2, **cleared)
        view = Capture.load(tmp_path).views[0]
        assert (view.width, view.height) == (20, 10)
        # Half the width over tan(45 degrees).
        assert (view.lens.fx, view.lens.fy) == pytest.approx((10.0, 10.0))
        assert (view.lens.cx, view.lens.cy) == (10.0, 5.0)

    @pytest.mark.parametrize(
        ("model", "kind"),
        [
            ("OPENCV", "perspective"),
            ("PINHOLE", "perspective"),
            ("SIMPLE_PINHOLE", "perspective"),
            (None, "perspective"),
            ("OPENCV_FISHEYE", "fisheye"),
        ],
    )
    def test_camera_models(self, tmp_path: Path, model: str | None, kind: str):
        write_transforms(tmp_path, frames_of("a.png"), camera_model=model)
        assert Capture.load(tmp_path).views[0].lens.kind == kind

    def test_distortion_as_a_list(self, tmp_path: Path):
        write_transforms(tmp_path, frames_of("a.png"), distortion_params=[0.1, 0.2, 0.3, 0.0, 0.5, 0.6])
        lens = Capture.load(tmp_path).views[0].lens
        assert (lens.k1, lens.k2, lens.k3, lens.k4, lens.p1, lens.p2) == (0.1, 0.2, 0.3, 0.0, 0.5, 0.6)


class TestNames:
    def test_paths_below_the_common_folder_in_order(self, tmp_path: Path):
        write_transforms(tmp_path, frames_of("./images/b.png", "images/a.png"))
        assert Capture.load(tmp_path).names == ["a", "b"]
        write_transforms(tmp_path, frames_of("images/right/1.png", "images/left/1.png"))
        assert Capture.load(tmp_path).names == ["left/1", "right/1"]

    def test_a_path_without_suffix_is_a_png(self, tmp_path: Path):
        write_picture(tmp_path / "train" / "r_0.png", 8, 6)
        write_transforms(tmp_path, frames_of("./train/r_0"))
        view = Capture.load(tmp_path).view("r_0")
        assert view.image().shape == (6, 8, 3)

    def test_unknown_names_are_answered_with_the_known_ones(self, tmp_path: Path):
        write_transforms(tmp_path, frames_of(*(f"images/{name}.png" for name in "abcde")))
        capture = Capture.load(tmp_path)
        assert capture.with_names(["d", "b"]).names == ["d", "b"]
        with pytest.raises(KeyError, match=r"no view 'x'; the views are called a, b, c, \.\.\."):
            capture.with_names(["a", "x"])


class TestSplits:
    def test_lists_decide(self, tmp_path: Path):
        write_transforms(
            tmp_path,
            frames_of(*(f"images/{name}.png" for name in "abcdef")),
            train_filenames=["images/a.png", "images/b.png"],
            val_filenames=["images/c.png", "images/d.png", "images/b.png"],
            test_filenames=["./images/d.png", "images/e.png"],
        )
        capture = Capture.load(tmp_path)
        # b was trained on; d is in test and val; f is in no list and takes no part.
        assert {view.name: view.split for view in capture} == {
            **{"a": "train", "b": "train", "c": "val"},
            **{"d": "test", "e": "test"},
        }
        assert capture.with_split("train").names == ["a", "b"]
        assert capture.with_split("val", "test").names == ["c", "d", "e"]

    @pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 37, 96])
    def test_without_lists_nine_tenths_are_train_as_in_nerfstudio(self, tmp_path: Path, count: int):
        write_transforms(tmp_path, frames_of(*(f"images/{number:03d}.png" for number in reversed(range(count)))))
        capture = Capture.load(tmp_path)
        assert len(capture) == count
        assert len(capture.with_split("train")) == math.ceil(0.9 * count)
        utils = pytest.importorskip("nerfstudio.data.utils.dataparsers_utils")
        train, held_out = utils.get_train_eval_split_fraction(capture.names, 0.9)
        assert capture.with_split("train").names == [capture.names[index] for index in train]
        assert capture.with_split("test").names == [capture.names[index] for index in held_out]


class TestLabelMaps:
    def test_labels_beside_the_transforms_are_taken(self, tmp_path: Path):
        write_transforms(tmp_path, frames_of("images/a.png", "images/b.png"))
        write_ids(tmp_path / "labels" / "b.png", 4)
        capture = Capture.load(tmp_path / "transforms.json")
        assert capture.view("a").label_map() is None
        label_map = capture.view("b").label_map()
        assert label_map is not None
        assert label_map.unique().tolist() == [4]

    def test_another_folder_takes_their_place(self, tmp_path: Path):
        write_transforms(tmp_path, frames_of("images/a.png", "images/b.png"))
        write_ids(tmp_path / "labels" / "b.png", 4)
        write_ids(tmp_path / "mine" / "a.png", 5)
        capture = Capture.load(tmp_path, label_maps=tmp_path / "mine")
        label_map = capture.view("a").label_map()
        assert label_map is not None
        assert label_map.unique().tolist() == [5]
        assert capture.view("b").label_map() is None

    def test_folders_that_do_not_fit(self, tmp_path: Path):
        write_transforms(tmp_path, frames_of("images/a.png"))
        write_ids(tmp_path / "labels" / "other.png", 4)
        assert Capture.load(tmp_path).view("a").label_source is None
        with pytest.raises(ValueError, match=r"labels: no \.png or \.npy is named like a view; the views are called a"):
            Capture.load(tmp_path, label_maps=tmp_path / "labels")
        with pytest.raises(FileNotFoundError, match="mine: no such folder of label maps"):
            Capture.load(tmp_path, label_maps=tmp_path / "mine")

    def test_they_are_undistorted_with_their_pictures(self, tmp_path: Path):
        write_picture(tmp_path / "images" / "a.png", 80, 60)
        ids = np.zeros((60, 80), np.int32)
        ids[20:40, 30:60] = 70_000
        (tmp_path / "labels").mkdir()
        np.save(tmp_path / "labels" / "a.npy", ids)
        intrinsics = {"w": 80, "h": 60, "fl_x": 70.0, "fl_y": 70.0, "cx": 40.0, "cy": 30.0}
        write_transforms(tmp_path, frames_of("images/a.png"), k1=-0.2, **intrinsics)
        view = Capture.load(tmp_path).views[0]
        label_map = view.label_map()
        assert label_map is not None
        assert label_map.shape == view.image().shape[:2] == (view.camera.height, view.camera.width) != (60, 80)
        assert label_map.unique().tolist() == [0, 70_000]


class TestSurroundings:
    def test_seed_points(self, tmp_path: Path):
        columns = {axis: np.array([value], np.float32) for axis, value in zip("xyz", (1, 2, 3), strict=True)}
        columns |= {color: np.array([value], np.uint8) for color, value in (("red", 9), ("green", 8), ("blue", 7))}
        write_ply_by_hand(tmp_path / "points.ply", columns, file_format="ascii")
        write_transforms(tmp_path, frames_of("a.png"), ply_file_path="points.ply")
        seeds = Capture.load(tmp_path).seed_points()
        assert seeds is not None
        assert seeds.xyz.tolist() == [[1.0, 2.0, 3.0]]
        assert seeds.rgb.tolist() == [[9, 8, 7]]
        write_transforms(tmp_path, frames_of("a.png"))
        assert Capture.load(tmp_path).seed_points() is None

    def test_applied_transform_and_scale(self, tmp_path: Path):
        path = write_transforms(tmp_path, frames_of("a.png"))
        assert torch.equal(Capture.load(path).applied_transform, torch.eye(4)[:3])
        assert Capture.load(path).applied_scale == 1.0
        written = [[0.0, 0.0, 1.0, 5.0], [1.0, 0.0, 0.0, 6.0], [0.0, 1.0, 0.0, 7.0]]
        write_transforms(tmp_path, frames_of("a.png"), applied_transform=written, applied_scale=0.5)
        assert Capture.load(path).applied_transform.tolist() == written
        assert Capture.load(path).applied_scale == 0.5

    def test_old_captures_were_turned_without_saying_so(self, tmp_path: Path):
        (tmp_path / "colmap" / "sparse" / "0").mkdir(parents=True)
        write_transforms(tmp_path, frames_of("a.png"))
        turned = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]
        assert Capture.load(tmp_path).applied_transform.tolist() == turned

    def test_mask_path(self, tmp_path: Path):
        write_ids(tmp_path / "masks" / "a.png", 255)
        write_transforms(tmp_path, [{"file_path": "a.png", "mask_path": "masks/a.png"}])
        mask = Capture.load(tmp_path).views[0].valid_mask()
        assert mask is not None
        assert mask.all()
        write_transforms(tmp_path, frames_of("a.png"))
        assert Capture.load(tmp_path).views[0].valid_mask() is None


class TestErrors:
    @pytest.mark.parametrize(
        ("shared", "message"),
        [
            ({"camera_model": "EQUIRECTANGULAR"}, "camera_model 'EQUIRECTANGULAR' is not supported; use one of"),
            ({"fl_x": None}, "no focal length; state fl_x or camera_angle_x"),
            ({"k4": 0.1}, r"k4 = 0\.1 has no meaning for a perspective lens"),
            ({"fl_x": "wide"}, "could not convert string to float: 'wide'"),
            ({"distortion_params": [0.1]}, "distortion_params must hold k1, k2, k3, k4, p1, p2, got 1 numbers"),
        ],
    )
    def test_bad_intrinsics(self, tmp_path: Path, shared: dict[str, Any], message: str):
        write_transforms(tmp_path, frames_of("images/a.png"), **shared)
        with pytest.raises(ValueError, match=rf"transforms\.json: frame images/a\.png: {message}"):
            Capture.load(tmp_path)

    @pytest.mark.parametrize(
        ("pose", "message"),
        [
            ([[1.0, 0.0], [0.0, 1.0]], r"must be 4x4 or 3x4, got shape \[2, 2\]"),
            (np.diag([2.0, 2.0, 2.0, 1.0]).tolist(), "no rotation and translation"),
            (np.diag([1.0, 1.0, -1.0, 1.0]).tolist(), "no rotation and translation"),
            ([[1.0], [1.0, 2.0]], "inhomogeneous"),
        ],
    )
    def test_bad_poses(self, tmp_path: Path, pose: list, message: str):
        write_transforms(tmp_path, [{"file_path": "images/a.png", "transform_matrix": pose}])
        with pytest.raises(ValueError, match=rf"transforms\.json: frame images/a\.png: .*{message}"):
            Capture.load(tmp_path)

    @pytest.mark.parametrize("text", ["{}", "[1]", '{"frames": []}', '{"frames": 3}'])
    def test_no_frames(self, tmp_path: Path, text: str):
        (tmp_path / "transforms.json").write_text(text)
        with pytest.raises(ValueError, match=r"transforms\.json: has no list of 'frames'"):
            Capture.load(tmp_path)

    def test_broken_json(self, tmp_path: Path):
        for content in (b'{"frames": [', b"\xff\xd8\xff"):
            (tmp_path / "transforms.json").write_bytes(content)
            with pytest.raises(ValueError, match=r"transforms\.json: no valid JSON"):
                Capture.load(tmp_path)

    def test_bad_frames(self, tmp_path: Path):
        write_transforms(tmp_path, [{"path": "a.png"}])
        with pytest.raises(ValueError, match="frame 0 lacks file_path or transform_matrix"):
            Capture.load(tmp_path)
        write_transforms(tmp_path, frames_of("images/a.png", "./images/a.png"))
        with pytest.raises(ValueError, match=r"two frames have the picture \./images/a\.png"):
            Capture.load(tmp_path)
        write_transforms(tmp_path, frames_of("images/a.png"), test_filenames=["images/b.png"])
        with pytest.raises(ValueError, match=r"test_filenames names images/b\.png, which no frame has"):
            Capture.load(tmp_path)

    def test_no_capture(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError, match="nowhere: no such capture"):
            Capture.load(tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match=r"neither a transforms\.json nor a COLMAP model"):
            Capture.load(tmp_path)


def test_the_tabletop(shared_data: Path):
    capture = Capture.load(shared_data / "tabletop")
    assert len(capture) == 60
    assert capture.with_split("train").names == [f"frame_{number:05d}" for number in range(1, 49)]
    assert capture.with_split("test").names == [f"frame_{number:05d}" for number in range(49, 61)]
    ids = set()
    for view in capture.with_names(["frame_00001", "frame_00020", "frame_00060"]):
        label_map = view.label_map()
        assert label_map is not None
        assert label_map.shape == view.image().shape[:2] == (384, 512)
        ids |= set(label_map.unique().tolist())
    assert ids == set(range(10))
    camera = capture.views[0].camera
    assert torch.equal(camera.K, torch.tensor([[450.0, 0.0, 256.0], [0.0, 450.0, 192.0], [0.0, 0.0, 1.0]]))


def test_seed_points_of_the_tabletop_fall_on_their_labels(shared_data: Path):
    folder = shared_data / "tabletop"
    capture = Capture.load(folder)
    seeds = capture.seed_points()
    assert seeds is not None
    assert len(seeds.xyz) == 10_000
    truth = torch.from_numpy(np.load(folder / "sparse_pc_labels.npy")).int()
    seen = torch.zeros(10, 2)
    for view in capture.with_split("test"):
        label_map, camera = view.label_map(), view.camera
        assert label_map is not None
        in_camera = seeds.xyz @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixels = in_camera @ camera.K.T
        columns, rows = (pixels[:, :2] / pixels[:, 2:]).floor().long().unbind(-1)
        inside = (in_camera[:, 2] > 0) & (columns >= 0) & (columns < 512) & (rows >= 0) & (rows < 384) & (truth > 0)
        for label in range(1, 10):
            chosen = inside & (truth == label)
            hits = label_map[rows[chosen], columns[chosen]] == label
            seen[label] += torch.tensor([float(hits.sum()), float(len(hits))])
    # The rest are hidden by a nearer object, mostly the milk carton; a wrong axis or frame would leave a tenth.
    share = seen[1:, 0] / seen[1:, 1]
    assert (share > 0.5).all(), share
    assert share.mean() > 0.75, share


def test_the_bear(shared_data: Path):
    capture = Capture.load(shared_data / "bear")
    assert len(capture) == 96
    assert len(capture.with_split("train")) == 87
    view = capture.views[0]
    assert view.lens.distorts
    assert view.image().shape == (view.camera.height, view.camera.width, 3)
    seeds = capture.seed_points()
    assert seeds is not None
    assert len(seeds.xyz) == 34_174
    assert capture.applied_transform.tolist()[0] == [0.0, 1.0, 0.0, 0.0]
