"""Folders of annotated pictures, in all the ways in which people keep them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.masks import LabelFolderConfig, LabelName, default_color
from splatseg_ns.masks.examples import Example, Examples
from splatseg_ns.scene import IGNORED
from tests.masks.examples import write_ids
from tests.masks.test_labelme import png, shape, write_labelme

HEIGHT, WIDTH = 6, 8


def write_picture(path: Path, seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def write_map(path: Path, seed: int, height: int = HEIGHT, width: int = WIDTH, highest: int = 3) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(0, highest + 1, (height, width))
    write_ids(path, ids)
    return ids


def by_name(examples: Examples) -> dict[str, Example]:
    found = {example.name: example for example in examples}
    assert list(found) == list(examples.sources) and len(found) == len(examples)
    return found


def box(label: str) -> dict:
    return shape(label, "rectangle", (1, 1), (3, 2))


def boxed(id: int) -> np.ndarray:
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[1:3, 1:4] = id
    return expected


@pytest.mark.parametrize("place", ["images", "."])
def test_label_maps_lie_in_labels_and_pictures_in_images_or_at_the_top(tmp_path: Path, place: str):
    pictures = {name: write_picture(tmp_path / place / f"{name}.png", seed) for seed, name in enumerate("abc")}
    maps = {name: write_map(tmp_path / "labels" / f"{name}.png", 10 + seed) for seed, name in enumerate("ab")}
    examples = Examples.open(tmp_path)
    found = by_name(examples)
    # A picture that nobody has annotated is no example.
    assert sorted(found) == ["a", "b"] and examples.path == tmp_path
    for name, example in found.items():
        assert example.image.dtype == torch.uint8 and np.array_equal(example.image.numpy(), pictures[name])
        assert example.labels.dtype == torch.int32 and np.array_equal(example.labels.numpy(), maps[name])
    assert dict(examples.classes) == {}
    assert examples.name(3) == LabelName(3, "object_3", default_color(3))


def test_pictures_may_lie_in_both_places(tmp_path: Path):
    write_picture(tmp_path / "a.jpg", 0)
    write_picture(tmp_path / "images" / "b.PNG", 1)
    for seed, name in enumerate("ab"):
        write_map(tmp_path / "labels" / f"{name}.png", seed)
    assert sorted(by_name(Examples.open(tmp_path))) == ["a", "b"]


def test_names_of_label_maps_come_from_labels_json(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0)
    write_map(tmp_path / "labels" / "a.png", 1)
    (tmp_path / "labels" / "labels.json").write_text('{"2": {"name": "handle", "color": [1, 2, 3]}}')
    examples = Examples.open(tmp_path)
    assert examples.name(2) == LabelName(2, "handle", (1, 2, 3))
    assert examples.name(1).name == "object_1"


def test_label_maps_of_smaller_pictures_grow_with_them(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0)
    ids = write_map(tmp_path / "labels" / "a.png", 1, HEIGHT // 2, WIDTH // 2)
    (example,) = Examples.open(tmp_path)
    assert np.array_equal(example.labels.numpy(), ids.repeat(2, axis=0).repeat(2, axis=1))


def test_the_format_of_label_maps_is_passed_on(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0)
    ids = write_map(tmp_path / "labels" / "a.png", 1)
    (example,) = Examples.open(tmp_path, LabelFolderConfig(ignore=3))
    assert (ids == 3).any()
    assert np.array_equal(example.labels.numpy(), np.where(ids == 3, IGNORED, ids))


@pytest.mark.parametrize("place", [".", "images"])
def test_labelme_files_beside_their_pictures(tmp_path: Path, place: str):
    pixels = write_picture(tmp_path / place / "a.png", 0)
    write_labelme(tmp_path / place / "a.json", box("handle"), image="a.png")
    (example,) = Examples.open(tmp_path)
    assert example.name == "a"
    assert np.array_equal(example.image.numpy(), pixels)
    assert np.array_equal(example.labels.numpy(), boxed(1))


def test_labelme_files_at_the_top_of_pictures_in_images(tmp_path: Path):
    pixels = write_picture(tmp_path / "images" / "a.png", 0)
    write_labelme(tmp_path / "a.json", box("handle"), image="images\\a.png")
    (example,) = Examples.open(tmp_path)
    assert np.array_equal(example.image.numpy(), pixels)


def test_labelme_files_need_no_pictures_if_they_hold_them(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    write_labelme(tmp_path / "a.json", box("handle"), image="a.png", data=png(pixels))
    (example,) = Examples.open(tmp_path)
    assert np.array_equal(example.image.numpy(), pixels)


def test_labels_are_numbered_by_their_names_over_all_files(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0)
    write_picture(tmp_path / "b.png", 1)
    write_labelme(tmp_path / "a.json", box("handle"), image="a.png")
    write_labelme(tmp_path / "b.json", box("rim"), box("blade"), image="b.png")
    examples = Examples.open(tmp_path)
    assert {id: name.name for id, name in examples.classes.items()} == {1: "blade", 2: "handle", 3: "rim"}
    assert examples.name(2).color == default_color(2)
    found = by_name(examples)
    assert np.array_equal(found["a"].labels.numpy(), boxed(2)) and np.array_equal(found["b"].labels.numpy(), boxed(1))


@pytest.mark.parametrize("place", ["labels.json", "labels/labels.json"])
def test_labelme_files_take_ids_over_from_labels_json(tmp_path: Path, place: str):
    write_picture(tmp_path / "a.png", 0)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text('{"7": {"name": "handle", "color": [1, 2, 3]}, "3": "rim"}')
    write_labelme(tmp_path / "a.json", box("blade"), box("handle"), image="a.png")
    examples = Examples.open(tmp_path)
    # What it does not name comes after what it does.
    assert {id: name.name for id, name in examples.classes.items()} == {3: "rim", 7: "handle", 8: "blade"}
    assert examples.name(7).color == (1, 2, 3)
    assert np.array_equal(by_name(examples)["a"].labels.numpy(), boxed(7))


def test_both_kinds_together_share_their_names(tmp_path: Path):
    write_picture(tmp_path / "images" / "a.png", 0)
    write_picture(tmp_path / "images" / "b.png", 1)
    ids = write_map(tmp_path / "labels" / "a.png", 2)
    (tmp_path / "labels" / "labels.json").write_text('{"1": "rim", "2": "handle", "3": "spout"}')
    write_labelme(tmp_path / "images" / "b.json", box("handle"), image="b.png")
    examples = Examples.open(tmp_path)
    found = by_name(examples)
    assert np.array_equal(found["a"].labels.numpy(), ids) and np.array_equal(found["b"].labels.numpy(), boxed(2))
    assert sorted(examples.classes) == [1, 2, 3]


def test_labels_of_labelme_files_take_no_id_that_a_label_map_has_without_a_name(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0)
    write_picture(tmp_path / "b.png", 1)
    write_map(tmp_path / "labels" / "a.png", 2)
    write_labelme(tmp_path / "b.json", box("handle"), image="b.png")
    examples = Examples.open(tmp_path)
    assert examples.name(1).name == "object_1" and examples.name(4).name == "handle"
    assert np.array_equal(by_name(examples)["b"].labels.numpy(), boxed(4))


def test_labelme_files_in_labels_are_no_label_maps(tmp_path: Path):
    write_picture(tmp_path / "images" / "a.png", 0)
    write_picture(tmp_path / "images" / "b.png", 1)
    ids = write_map(tmp_path / "labels" / "a.png", 2)
    write_labelme(tmp_path / "labels" / "b.json", shape("handle", "rectangle", (1, 1), (3, 2)), image="../images/b.png")
    found = by_name(Examples.open(tmp_path))
    assert np.array_equal(found["a"].labels.numpy(), ids)
    assert int((found["b"].labels > 0).sum()) == 6
    (tmp_path / "labels" / "a.png").unlink()
    assert list(by_name(Examples.open(tmp_path))) == ["b"]


def test_a_picture_that_is_annotated_twice_is_an_error(tmp_path: Path):
    write_picture(tmp_path / "images" / "a.png", 0)
    write_map(tmp_path / "labels" / "a.png", 1)
    write_labelme(tmp_path / "images" / "a.json", box("handle"), image="a.png")
    with pytest.raises(ValueError, match="the picture 'a' is annotated twice; keep one") as caught:
        Examples.open(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    (tmp_path / "labels" / "a.png").unlink()
    write_labelme(tmp_path / "a.json", box("handle"), image="images/a.png")
    with pytest.raises(ValueError, match=r"images/a\.json: the picture 'a' is annotated twice"):
        Examples.open(tmp_path)


def test_two_pictures_of_one_name_are_an_error(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0)
    write_picture(tmp_path / "images" / "a.jpg", 1)
    with pytest.raises(ValueError, match=r"a\.jpg: two pictures are called 'a'; keep one, or rename it"):
        Examples.open(tmp_path)


def test_a_folder_without_annotated_pictures_says_what_to_do(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no annotated picture is there; put labelme files beside the") as caught:
            Examples.open(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}: ") and str(tmp_path / "labels") in str(caught.value)
        assert "\n" not in str(caught.value)
        # Pictures alone are none either, nor are names, notes and folders.
        write_picture(tmp_path / "a.png", 0)
        (tmp_path / "labels.json").write_text('{"7": "handle"}')
        (tmp_path / "notes.json").write_text("[]")
        (tmp_path / "labels").mkdir(exist_ok=True)


def test_label_maps_of_other_pictures_are_an_error(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0)
    write_map(tmp_path / "labels" / "z.png", 1)
    with pytest.raises((ValueError, LookupError), match="labels") as caught:
        Examples.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_folder_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for place in ("nowhere", "file"):
        with pytest.raises(FileNotFoundError, match=f"{place}: no such folder of examples; give one with annotated"):
            Examples.open(tmp_path / place)


def test_a_broken_annotation_is_named_at_once(tmp_path: Path):
    write_labelme(tmp_path / "a.json", shape("handle", "line", (0, 0), (1, 1)))
    with pytest.raises(ValueError, match=r"a\.json: no readable annotation"):
        Examples.open(tmp_path)


def test_pictures_are_read_only_when_asked_for(tmp_path: Path):
    path = tmp_path / "a.png"
    write_picture(path, 0)
    write_labelme(tmp_path / "a.json", box("handle"), image="a.png")
    examples = Examples.open(tmp_path)
    pixels = write_picture(path, 1)
    assert np.array_equal(next(iter(examples)).image.numpy(), pixels)
    path.unlink()
    assert len(examples) == 1
    with pytest.raises(FileNotFoundError, match="put it there"):
        next(iter(examples))
