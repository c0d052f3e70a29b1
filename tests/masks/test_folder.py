from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from splatseg_ns.masks import LabelFolder, LabelFolderConfig, LabelName, default_color
from splatseg_ns.scene import IGNORED, Capture
from tests.masks.examples import rle, write_ids
from tests.scene.examples import write_picture, write_transforms

VIEWS = ["frame_1", "frame_2", "frame_3"]


def ids(seed: int, highest: int = 5) -> np.ndarray:  # [6, 8]
    return np.random.default_rng(seed).integers(0, highest + 1, (6, 8))


def test_a_folder_of_label_maps_of_every_kind(tmp_path: Path):
    write_ids(tmp_path / "frame_1.png", ids(1, 60_000))
    np.save(tmp_path / "frame_2.npy", ids(2, 1_000_000))
    (tmp_path / "deep").mkdir()
    np.savez(tmp_path / "deep" / "frame_3.npz", ids(3))
    (tmp_path / "frame_9.png").write_bytes(b"not asked for")
    folder = LabelFolder.open(tmp_path, [*VIEWS, "frame_4"])
    assert list(folder.sources) == VIEWS
    for number, highest in ((1, 60_000), (2, 1_000_000), (3, 5)):
        label_map = folder.read(f"frame_{number}")
        assert label_map.dtype == torch.int32
        assert np.array_equal(label_map.numpy(), ids(number, highest))
    with pytest.raises(LookupError, match="the view 'frame_4' has no label map"):
        folder.read("frame_4")


def test_names_come_from_a_file_or_by_default(tmp_path: Path):
    write_ids(tmp_path / "frame_1.png", ids(1))
    (tmp_path / "labels.json").write_text('{"300": {"name": "bear", "color": [1, 2, 3]}}')
    folder = LabelFolder.open(tmp_path, VIEWS)
    assert folder.name(300) == LabelName(300, "bear", (1, 2, 3))
    assert folder.name(2) == LabelName(2, "object_2", default_color(2))


def test_a_folder_per_object(tmp_path: Path):
    write_ids(tmp_path / "cup" / "frame_1.png", np.array([[255, 255, 255, 0]]))
    write_ids(tmp_path / "bear" / "frame_1.png", np.array([[0, 0, 255, 255]]))
    write_ids(tmp_path / "bear" / "frame_2.png", np.array([[1, 0, 0, 0]]))
    folder = LabelFolder.open(tmp_path, VIEWS)
    assert {id: name.name for id, name in folder.names.items()} == {1: "bear", 2: "cup"}
    assert folder.read("frame_1").tolist() == [[2, 2, 1, 1]]
    assert folder.read("frame_2").tolist() == [[1, 0, 0, 0]]
    assert list(folder.sources) == ["frame_1", "frame_2"]
    ignoring = LabelFolder.open(tmp_path, VIEWS, LabelFolderConfig(overlap="ignore"))
    assert ignoring.read("frame_1").tolist() == [[2, 2, IGNORED, 1]]


def test_objects_take_their_ids_from_the_names_file_first(tmp_path: Path):
    for name in ("cup", "bear", "ant"):
        write_ids(tmp_path / name / "frame_1.png", np.array([[1]]))
    (tmp_path / "labels.csv").write_text("id,name,color\n1,cup,#010203\n7,bear,\n")
    folder = LabelFolder.open(tmp_path, VIEWS)
    assert {name.name: id for id, name in folder.names.items()} == {"ant": 2, "bear": 7, "cup": 1}
    assert folder.name(1).color == (1, 2, 3)


@pytest.mark.parametrize(("folders", "expected"), [(["7", "12"], {"7": 7, "12": 12}), (["0", "7"], {"0": 1, "7": 2})])
def test_folders_called_by_numbers(tmp_path: Path, folders: list[str], expected: dict[str, int]):
    for place, name in enumerate(folders):
        write_ids(tmp_path / name / "frame_1.png", np.eye(1, 2, place))
    assert sorted(LabelFolder.open(tmp_path, VIEWS).view_counts()) == sorted(expected.values())


def test_masks_of_objects_may_differ_in_size(tmp_path: Path):
    write_ids(tmp_path / "a" / "frame_1.png", np.array([[1, 0], [0, 0]]))
    write_ids(tmp_path / "b" / "frame_1.png", np.kron(np.array([[0, 0], [0, 1]]), np.ones((2, 2))))
    folder = LabelFolder.open(tmp_path, VIEWS)
    assert folder.read("frame_1").tolist() == [[1, 0], [0, 2]]
    assert folder.read("frame_1", (4, 4)).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 2, 2], [0, 0, 2, 2]]
    with pytest.raises(ValueError, match=r"frame_1\.png: the label map is 2x2, the picture 9x4"):
        folder.read("frame_1", (9, 4))


def test_label_maps_in_folders_called_like_views_are_no_objects(tmp_path: Path):
    write_ids(tmp_path / "left" / "1.png", ids(1))
    write_ids(tmp_path / "right" / "1.jpg.png", ids(2))
    folder = LabelFolder.open(tmp_path, ["left/1", "right/1"])
    assert np.array_equal(folder.read("left/1").numpy(), ids(1))
    assert np.array_equal(folder.read("right/1").numpy(), ids(2))


def test_a_layout_can_be_forced(tmp_path: Path):
    write_ids(tmp_path / "semantic" / "frame_1.png", ids(1))
    with pytest.raises(ValueError, match=r"has two values, this one 6; .* give the folder .*semantic instead"):
        LabelFolder.open(tmp_path, VIEWS).read("frame_1")
    folder = LabelFolder.open(tmp_path, VIEWS, LabelFolderConfig(layout="maps"))
    assert np.array_equal(folder.read("frame_1").numpy(), ids(1))


@pytest.mark.parametrize("field", ["object_id", "category_id"])
@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_coco_dataset(tmp_path: Path, place: str, field: str):
    first, second = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    first[:, :5], second[2:4, 4:] = True, True
    content = {
        "images": [{"id": n, "file_name": f"images/frame_{n}.jpg", "width": 8, "height": 6} for n in (1, 2, 3)],
        "annotations": [
            {"id": 10, "image_id": 1, field: 4, "segmentation": rle(first)},
            {"id": 11, "image_id": 1, field: 900, "segmentation": rle(second, compress=True)},
            {"id": 12, "image_id": 3, field: 900, "segmentation": rle(first, compress=True)},
        ],
        "categories": [{"id": 4, "name": "bear"}, {"id": 900, "name": "cup"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    write_ids(tmp_path / "images" / "frame_1.png", ids(1))
    folder = LabelFolder.open(tmp_path / "labels.json" if place == "file" else tmp_path, VIEWS)
    expected = np.where(second, 900, np.where(first, 4, 0))
    assert np.array_equal(folder.read("frame_1").numpy(), expected)
    assert folder.read("frame_2").sum() == 0
    assert folder.view_counts() == {4: 1, 900: 2}
    assert folder.name(900).name == ("cup" if field == "category_id" else "object_900")
    assert torch.equal(folder.read("frame_1", (16, 12))[::2, ::2], folder.read("frame_1"))


def test_a_coco_file_per_view(tmp_path: Path):
    mask = ids(1, 1) > 0
    annotation = {"id": 77, "segmentation": rle(mask, compress=True), "area": int(mask.sum())}
    (tmp_path / "frame_1.json").write_text(json.dumps({"annotations": [annotation | {"object_id": 5}]}))
    (tmp_path / "frame_2.json").write_text(json.dumps([annotation]))
    folder = LabelFolder.open(tmp_path, VIEWS)
    assert np.array_equal(folder.read("frame_1").numpy(), 5 * mask)
    with pytest.raises(ValueError, match=r"frame_2\.json: the annotations do not say which object they show"):
        folder.read("frame_2")
    named = LabelFolder.open(tmp_path, VIEWS, LabelFolderConfig(id_field="id"))
    assert named.read("frame_2").max() == 77


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"category_id": 0, "segmentation": rle(np.ones((6, 8), bool))}, "category_id 0, which stands for the backgr"),
        ({"category_id": -1, "segmentation": rle(np.ones((6, 8), bool))}, "a whole number of at least 0, got -1"),
        ({"category_id": 1, "segmentation": [[0, 0, 4, 4, 4, 0]]}, "convert polygons to RLE"),
    ],
)
def test_annotations_that_are_refused_at_once(tmp_path: Path, annotation: dict, message: str):
    images = [{"id": 1, "file_name": "frame_1.jpg", "width": 8, "height": 6}]
    content = {"images": images, "annotations": [annotation | {"image_id": 1}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        LabelFolder.open(tmp_path, VIEWS)


def test_a_mask_of_another_size_than_its_picture(tmp_path: Path):
    images = [{"id": 1, "file_name": "frame_1.jpg", "width": 8, "height": 7}]
    annotations = [{"image_id": 1, "category_id": 2, "segmentation": rle(np.ones((6, 8), bool))}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    with pytest.raises(ValueError, match=r"a\.json: mask 0 of frame_1 is 8x6, the picture 8x7"):
        LabelFolder.open(tmp_path, VIEWS).read("frame_1")


def test_a_missing_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder of label maps"):
        LabelFolder.open(tmp_path / "nowhere", VIEWS)


def test_no_matching_name_says_what_there_is_and_what_comes_near(tmp_path: Path):
    with pytest.raises(ValueError, match=r"looked for frame_1, frame_2, frame_3 .* there is nothing of that kind"):
        LabelFolder.open(tmp_path, VIEWS)
    write_ids(tmp_path / "frame_01.png", ids(1))
    with pytest.raises(ValueError, match="there is frame_01; for frame_1 the nearest name is frame_01"):
        LabelFolder.open(tmp_path, VIEWS)


def test_two_files_for_a_view(tmp_path: Path):
    write_ids(tmp_path / "frame_1.png", ids(1))
    np.save(tmp_path / "frame_1.npy", ids(1))
    with pytest.raises(ValueError, match=r"several files for the view frame_1: frame_1\.npy, frame_1\.png; keep one"):
        LabelFolder.open(tmp_path, VIEWS)


def test_maps_of_background_alone(tmp_path: Path):
    for name in VIEWS:
        write_ids(tmp_path / f"{name}.png", np.zeros((6, 8)))
    with pytest.raises(ValueError, match="none of the 3 label maps holds an object"):
        LabelFolder.open(tmp_path, VIEWS).view_counts()


def test_hidden_files_are_passed_over(tmp_path: Path):
    write_ids(tmp_path / "frame_1.png", ids(1))
    (tmp_path / "._frame_2.png").touch()
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "frame_3.png").touch()
    assert list(LabelFolder.open(tmp_path, VIEWS).sources) == ["frame_1"]


@pytest.mark.parametrize(("change", "message"), [({"layout": "x"}, "layout 'x'"), ({"overlap": "x"}, "rule 'x'")])
def test_unknown_settings(change: dict, message: str):
    with pytest.raises(ValueError, match=f"unknown .*{message}; choose"):
        LabelFolderConfig(**change)


def test_label_maps_of_a_capture(tmp_path: Path):
    for number in (1, 2, 3):
        write_picture(tmp_path / "images" / f"frame_{number}.png", 8, 6)
    frames = [{"file_path": f"images/frame_{number}.png"} for number in (1, 2, 3)]
    capture = Capture.load(write_transforms(tmp_path, frames))
    half = np.array([[0, 300, 255, 0]]).repeat(3, axis=0)
    write_ids(tmp_path / "masks" / "frame_1.png", half)
    write_ids(tmp_path / "masks" / "frame_2.png", np.zeros((6, 12)))
    folder = LabelFolder.open(tmp_path / "masks", capture.names, LabelFolderConfig(ignore=255))
    labelled = pickle.loads(pickle.dumps(folder)).attach(capture)
    label_map = labelled.view("frame_1").label_map()
    assert label_map is not None
    assert label_map.tolist() == [[0, 0, 300, 300, IGNORED, IGNORED, 0, 0]] * 6
    assert labelled.view("frame_3").label_map() is None
    with pytest.raises(ValueError, match=r"frame_2\.png: the label map is 12x6, the picture 8x6"):
        labelled.view("frame_2").label_map()


@pytest.mark.parametrize("folder", ["labels", "parts"])
def test_maps_of_the_tabletop(shared_data: Path, folder: str):
    capture = Capture.load(shared_data / "tabletop")
    maps = LabelFolder.open(shared_data / "tabletop" / folder, capture.names)
    assert len(maps.sources) == 60
    assert set(maps.names) == set(range(1, 10 if folder == "labels" else 8))
    if folder == "labels":
        assert maps.name(2).name == "teddy_bear"
        expected = capture.view("frame_00001").label_map()
        assert expected is not None and torch.equal(maps.read("frame_00001"), expected)
