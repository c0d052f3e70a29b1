"""Annotations by labelme, drawn by hand on pictures of a few pixels."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.masks.labelme import LabelmeFile, is_labelme, read_labelme
from splatseg_ns.scene import BACKGROUND, IGNORED

HEIGHT, WIDTH = 9, 12
IDS = {"blade": 2, "handle": 7}


def shape(label: str, kind: str | None, *points: Sequence[float | str], **more: Any) -> dict[str, Any]:
    """As labelme writes it."""
    return {"label": label, "points": [list(point) for point in points], "shape_type": kind, **more}


def png(array: np.ndarray) -> str:
    """In base64, as labelme keeps pictures and masks."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="png")
    return base64.b64encode(stream.getvalue()).decode()


def picture(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_labelme(path: Path, *shapes: dict[str, Any], image: str = "", data: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": data}
    path.write_text(json.dumps(content))
    return path


def drawn(tmp_path: Path, *shapes: dict[str, Any]) -> torch.Tensor:
    return read_labelme(write_labelme(tmp_path / "a.json", *shapes)).label_map(IDS, HEIGHT, WIDTH)


def box(left: int, top: int, right: int, bottom: int, id: int = 7) -> torch.Tensor:
    """The pixels of these columns and rows, the last ones among them."""
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
    expected[top : bottom + 1, left : right + 1] = id
    return expected


def test_a_polygon_has_its_corners_and_what_is_between_them(tmp_path: Path):
    found = drawn(tmp_path, shape("handle", "polygon", (2, 1), (8, 1), (8, 5), (2, 5)))
    assert found.dtype == torch.int32 and torch.equal(found, box(2, 1, 8, 5))
    assert torch.equal(drawn(tmp_path, shape("handle", "oriented_rectangle", (2, 1), (8, 1), (8, 5), (2, 5))), found)
    # A right angle at (1, 1): row y holds the columns 1 to 7 - y + ... of the slanted edge from (7, 1) to (1, 7).
    slanted = drawn(tmp_path, shape("handle", "polygon", (1, 1), (7, 1), (1, 7)))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    assert np.array_equal(slanted.numpy() == 7, (columns >= 1) & (rows >= 1) & (columns + rows <= 8))


def test_shapes_without_a_kind_are_polygons(tmp_path: Path):
    without_kind = shape("handle", None, (2, 1), (8, 1), (8, 5), (2, 5))
    assert torch.equal(drawn(tmp_path, without_kind), box(2, 1, 8, 5))
    del without_kind["shape_type"]
    assert torch.equal(drawn(tmp_path, without_kind), box(2, 1, 8, 5))


@pytest.mark.parametrize("corners", [((3, 2), (9, 6)), ((9, 6), (3, 2)), ((3, 6), (9, 2)), ((9, 2), (3, 6))])
def test_a_rectangle_has_its_corners_in_any_order(tmp_path: Path, corners: tuple[tuple[int, int], ...]):
    assert torch.equal(drawn(tmp_path, shape("handle", "rectangle", *corners)), box(3, 2, 9, 6))


@pytest.mark.parametrize("edge", [(8, 4), (5, 7), (2, 4), (5, 1)])
def test_a_circle_has_a_middle_and_a_point_of_its_edge(tmp_path: Path, edge: tuple[int, int]):
    inside = drawn(tmp_path, shape("handle", "circle", (5, 4), edge)).numpy() == 7
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(columns - 5, rows - 4)
    # Its radius is 3; what is nearer the edge than a pixel may be either.
    assert inside[distance <= 2.5].all() and not inside[distance >= 3.5].any()
    assert inside[4, 2] and inside[4, 8] and inside[1, 5] and inside[7, 5]


@pytest.mark.parametrize("value", [1, 255, True])
def test_a_mask_lies_where_its_corner_is(tmp_path: Path, value: int):
    mask = np.array([[1, 0, 1], [0, 1, 0]], bool) if value is True else np.array([[1, 0, 1], [0, 1, 0]], np.uint8)
    found = drawn(tmp_path, shape("handle", "mask", (4, 3), (6, 4), mask=png(mask * value)))
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
    expected[3, 4] = expected[3, 6] = expected[4, 5] = 7
    assert torch.equal(found, expected)


def test_what_reaches_out_of_the_picture_is_cut(tmp_path: Path):
    assert torch.equal(drawn(tmp_path, shape("handle", "rectangle", (-5, -3), (3, 2))), box(0, 0, 3, 2))
    mask = shape("handle", "mask", (10, 7), (13, 10), mask=png(np.full((4, 4), 255, np.uint8)))
    assert torch.equal(drawn(tmp_path, mask), box(10, 7, WIDTH - 1, HEIGHT - 1))


def test_later_shapes_lie_over_earlier_ones(tmp_path: Path):
    handle = shape("handle", "rectangle", (1, 1), (6, 6))
    blade = shape("blade", "rectangle", (4, 4), (9, 8))
    expected = box(1, 1, 6, 6)
    expected[4:9, 4:10] = 2
    assert torch.equal(drawn(tmp_path, handle, blade), expected)
    expected = box(4, 4, 9, 8, id=2)
    expected[1:7, 1:7] = 7
    assert torch.equal(drawn(tmp_path, blade, handle), expected)
    # The holes of a mask let through what is below it.
    holes = shape("blade", "mask", (1, 1), (2, 1), mask=png(np.array([[0, 255]], np.uint8)))
    assert drawn(tmp_path, handle, holes)[1, :4].tolist() == [0, 7, 2, 7]


def test_labelmes_own_labels_are_background_and_ignored(tmp_path: Path):
    path = write_labelme(
        tmp_path / "a.json",
        shape("handle", "rectangle", (0, 0), (11, 8)),
        shape("_background_", "rectangle", (2, 2), (3, 3)),
        shape("__ignore__", "rectangle", (5, 5), (6, 6)),
    )
    file = read_labelme(path)
    expected = torch.full((HEIGHT, WIDTH), 7, dtype=torch.int32)
    expected[2:4, 2:4], expected[5:7, 5:7] = BACKGROUND, IGNORED
    assert torch.equal(file.label_map(IDS, HEIGHT, WIDTH), expected)
    assert file.labels == ["handle"]


def test_labels_are_sorted_each_once_and_without_spaces_around_them(tmp_path: Path):
    boxes = [shape(label, "rectangle", (0, 0), (1, 1)) for label in ("handle ", "blade", "handle")]
    assert read_labelme(write_labelme(tmp_path / "a.json", *boxes)).labels == ["blade", "handle"]


def test_the_picture_beside_goes_before_the_one_within(tmp_path: Path):
    beside, within = picture(1), picture(2)
    path = write_labelme(tmp_path / "a.json", image="b.png", data=png(within))
    assert np.array_equal(read_labelme(path).image().numpy(), within)
    Image.fromarray(beside).save(tmp_path / "b.png")
    assert np.array_equal(read_labelme(path).image().numpy(), beside)
    unnamed = write_labelme(tmp_path / "c.json", data=png(within))
    assert np.array_equal(read_labelme(unnamed).image().numpy(), within)


def test_a_picture_in_another_folder_as_windows_writes_it(tmp_path: Path):
    (tmp_path / "images").mkdir()
    Image.fromarray(picture(3)).save(tmp_path / "images" / "b.png")
    for place, image in (("a.json", "images\\b.png"), ("notes/a.json", "..\\images\\b.png")):
        file = read_labelme(write_labelme(tmp_path / place, image=image))
        assert np.array_equal(file.image().numpy(), picture(3))


def test_pictures_are_upright_as_labelme_shows_them(tmp_path: Path):
    """A camera held on its side notes in the file how it was held, and labelme goes by that."""
    lying = Image.fromarray(picture(4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying.save(tmp_path / "b.png", exif=exif)
    found = read_labelme(write_labelme(tmp_path / "a.json", image="b.png")).image()
    assert np.array_equal(found.numpy(), np.rot90(picture(4), -1))


def test_pictures_of_other_modes_come_as_colours(tmp_path: Path):
    grey = picture(5)[..., 0]
    file = read_labelme(write_labelme(tmp_path / "a.json", data=png(grey)))
    assert np.array_equal(file.image().numpy(), np.repeat(grey[..., None], 3, axis=2))


def test_a_picture_that_is_nowhere_is_named(tmp_path: Path):
    for image in ("b.png", "", ".."):
        file = read_labelme(write_labelme(tmp_path / "a.json", image=image))
        with pytest.raises(
            FileNotFoundError, match=r"a\.json: its picture .* is not beside it; put it there"
        ) as caught:
            file.image()
        assert str(caught.value).startswith(str(tmp_path)) and repr(image) in str(caught.value)


@pytest.mark.parametrize("data", ["no base64 at all!", "", "äöü", base64.b64encode(b"no picture").decode()])
def test_an_embedded_picture_that_is_none_is_named_in_a_line(tmp_path: Path, data: str):
    file = read_labelme(write_labelme(tmp_path / "a.json", image="b.png", data=data))
    with pytest.raises(ValueError, match=r"a\.json: its picture cannot be read; put 'b\.png' beside it") as caught:
        file.image()
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("mask", [None, "", "äöü", "no base64!", base64.b64encode(b"no picture").decode()])
def test_a_mask_that_is_none_is_named_in_a_line(tmp_path: Path, mask: str | None):
    file = read_labelme(write_labelme(tmp_path / "a.json", shape("handle", "mask", (0, 0), (1, 1), mask=mask)))
    with pytest.raises(ValueError, match=r"a\.json: the mask of 'handle' cannot be read; draw it again") as caught:
        file.label_map(IDS, HEIGHT, WIDTH)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ('{"shapes": [', "Expecting value"),
        ("[]", "indices must be integers"),
        ("{}", "lacks 'shapes'"),
        ({"shapes": None}, "not iterable"),
        ({"shapes": [7]}, "not subscriptable"),
        ({"shapes": [{"points": []}]}, "lacks 'label'"),
        ({"shapes": [{"label": "handle"}]}, "lacks 'points'"),
        ({"shapes": [], "imagePath": 7}, "imagePath and imageData are text"),
        ({"shapes": [], "imageData": 7}, "imagePath and imageData are text"),
        ({"shapes": [shape("", "polygon", (0, 0), (1, 0), (1, 1))]}, "a shape has no label"),
        ({"shapes": [shape(" ", "polygon", (0, 0), (1, 0), (1, 1))]}, "a shape has no label"),
        ({"shapes": [{**shape("", "polygon", (0, 0), (1, 0), (1, 1)), "label": None}]}, "a shape has no label"),
        ({"shapes": [shape("handle", "polygon", (0, 0), (1, 0))]}, "'handle': a polygon of 2 points"),
        ({"shapes": [shape("handle", "rectangle", (0, 0))]}, "'handle': a rectangle of 1 points"),
        ({"shapes": [shape("handle", "circle", (0, 0), (1, 0), (2, 0))]}, "'handle': a circle of 3 points"),
        ({"shapes": [shape("handle", "mask", mask="")]}, "'handle': a mask of 0 points"),
        ({"shapes": [shape("handle", "mask", (0, 0), (1, 1), mask=7)]}, "the mask of 'handle' is no text"),
        ({"shapes": [shape("handle", "polygon", (0, 0), (1, 0), (1,))]}, "unpack"),
        ({"shapes": [shape("handle", "polygon", (0, 0), (1, 0), ("x", 1))]}, "could not convert"),
        ({"shapes": [shape("handle", "polygon", (0, 0), (1, 0), (float("nan"), 1))]}, "not finite"),
        ({"shapes": [shape("handle", "rectangle", (0, 0), (float("inf"), 1))]}, "not finite"),
    ],
)
def test_files_that_make_no_sense_are_named_in_a_line(tmp_path: Path, content: Any, reason: str):
    path = tmp_path / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.json: no readable annotation by labelme \(.*\); save it again") as caught:
        read_labelme(path)
    said = str(caught.value)
    assert said.startswith(str(path)) and reason in said and "\n" not in said


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points"])
def test_shapes_without_an_inside_say_what_to_draw(tmp_path: Path, kind: str):
    path = write_labelme(tmp_path / "a.json", shape("handle", kind, (0, 0), (4, 4), (4, 0)))
    with pytest.raises(ValueError, match=f"'handle' is a {kind}, which has no inside; draw a polygon, rectangle"):
        read_labelme(path)


def test_what_is_no_text_at_all_is_named(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert not is_labelme(path)
    with pytest.raises(ValueError, match=r"a\.json: no readable annotation by labelme"):
        read_labelme(path)


def test_annotations_are_told_from_other_files(tmp_path: Path):
    assert is_labelme(write_labelme(tmp_path / "a.json"))
    assert is_labelme(write_labelme(tmp_path / "b.json", shape("", "line")))
    for number, content in enumerate(('{"1": "handle"}', "[]", '"shapes"', "{", '["shapes"]')):
        other = tmp_path / f"other{number}.json"
        other.write_text(content)
        assert not is_labelme(other), content
    assert not is_labelme(tmp_path / "nowhere.json")


def test_a_file_without_shapes_is_all_background(tmp_path: Path):
    file = read_labelme(write_labelme(tmp_path / "a.json"))
    assert isinstance(file, LabelmeFile) and file.labels == []
    assert not bool(file.label_map({}, HEIGHT, WIDTH).any())
