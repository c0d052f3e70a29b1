"""What a user points at, and the files that say it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from splatseg_ns.scene import Camera
from splatseg_ns.segmentation.prompts import FreeCamera, ObjectPrompts, ViewPrompts, prompts_from_json, read_prompts
from tests.raster.scenes import camera

MUG = ObjectPrompts(
    "mug",
    (
        ViewPrompts("frame_1", ((3.0, 4.5), (7.25, 1.0)), ((0.0, 0.5),), (1.0, 2.0, 30.0, 40.0)),
        ViewPrompts("other/frame_2", negative=((9.0, 9.0),)),
    ),
    "part",
)
CLICKED = {"view": "frame_1", "points": [[3, 4]]}
FREE = FreeCamera.of(camera(50, 40, focal=(33.3, 44.4), turn=0.4, shift=(0.1, 0.0, 2.2)))
CAMERA = {
    "viewmat": [[1.0, 0, 0, 0], [0, 1, 0, 0.1], [0, 0, 1, 2], [0, 0, 0, 1]],
    "K": [[30, 0, 4], [0, 30, 3], [0, 0, 1]],
    "width": 8,
    "height": 6,
}


def test_json_gives_back_what_was_pointed_at(tmp_path: Path):
    assert prompts_from_json(MUG.as_json()) == MUG
    assert prompts_from_json(json.loads(json.dumps(MUG.as_json()))) == MUG
    jug = ObjectPrompts("Krug ü", (ViewPrompts("a", box=(0.0, 0.0, 1.0, 1.0)),))
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"objects": [MUG.as_json(), jug.as_json()]}, ensure_ascii=False), encoding="utf-8")
    assert read_prompts(path) == [MUG, jug]


def test_what_may_be_left_away(tmp_path: Path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"objects": [{"name": "mug", "views": [CLICKED]}]}))
    assert read_prompts(path) == [ObjectPrompts("mug", (ViewPrompts("frame_1", ((3.0, 4.0),)),), "auto")]


def test_a_view_that_comes_twice_has_the_clicks_of_both(tmp_path: Path):
    path = tmp_path / "prompts.json"
    views = [CLICKED, {"view": "frame_1", "negative": [[8, 8]], "box": [1, 1, 9, 9]}]
    path.write_text(json.dumps({"objects": [{"name": "mug", "views": views}]}))
    assert read_prompts(path)[0].views == (ViewPrompts("frame_1", ((3.0, 4.0),), ((8.0, 8.0),), (1.0, 1.0, 9.0, 9.0)),)


def test_a_free_camera_is_the_camera_that_it_was_made_of():
    seen_from = camera(50, 40, focal=(33.3, 44.4), turn=0.4, shift=(0.1, 0.0, 2.2))
    again = FREE.camera()
    assert torch.equal(again.viewmat, seen_from.viewmat) and torch.equal(again.K, seen_from.K)
    assert (again.width, again.height) == (50, 40)
    assert FreeCamera.of(again) == FreeCamera.of(seen_from.to(torch.float64)) == FREE


def test_other_free_cameras_have_other_names():
    turned, small = camera(50, 40, turn=0.41), camera(40, 30)
    names = [FreeCamera.of(seen_from).name for seen_from in (camera(50, 40), turned, small, small.resized(80, 60))]
    assert len(set(names)) == 4 and all(name.startswith("camera ") for name in names)
    assert FreeCamera.of(turned).name == names[1]


def test_clicks_from_free_cameras_come_back_from_json_to_the_last_bit(tmp_path: Path):
    clicks = (ViewPrompts(FREE.name, ((3.0, 4.5),), ((0.0, 0.5),), camera=FREE), MUG.views[0])
    mug = ObjectPrompts("mug", clicks)
    assert prompts_from_json(mug.as_json()) == mug
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"objects": [mug.as_json()]}))
    (found,) = read_prompts(path)
    assert found == mug and found.views[0].camera is not None
    assert torch.equal(found.views[0].camera.camera().viewmat, FREE.camera().viewmat)
    assert "camera" not in mug.as_json()["views"][1]


def test_a_free_camera_may_be_written_by_hand(tmp_path: Path):
    path = tmp_path / "prompts.json"
    path.write_text(of_view(camera=CAMERA))
    written = read_prompts(path)[0].views[0].camera
    assert written is not None
    seen_from = written.camera()
    assert isinstance(seen_from, Camera) and (seen_from.width, seen_from.height) == (8, 6)
    assert seen_from.viewmat.tolist()[1][3] == pytest.approx(0.1) and float(seen_from.K[0, 0]) == 30.0
    assert FreeCamera.of(seen_from).camera().viewmat.equal(seen_from.viewmat)


def test_further_clicks_from_a_free_camera_keep_it():
    clicked = ObjectPrompts("mug", (ViewPrompts("free", ((3.0, 4.5),), camera=FREE),))
    again = clicked.with_clicks(ViewPrompts("free", negative=((1.0, 1.0),), camera=FREE))
    assert again.views == (ViewPrompts("free", ((3.0, 4.5),), ((1.0, 1.0),), camera=FREE),)
    assert clicked.with_clicks(ViewPrompts("free", ((3.0, 5.5),))).views[0].camera == FREE
    other = FreeCamera.of(camera(50, 40))
    with pytest.raises(ValueError, match="view free: two cameras have views of this name"):
        clicked.with_clicks(ViewPrompts("free", ((3.0, 5.5),), camera=other))


def of_camera(**changes: Any) -> str:
    return of_view(camera={**CAMERA, **changes})


def of_view(**changes: Any) -> str:
    return json.dumps({"objects": [{"name": "mug", "views": [{**CLICKED, **changes}]}]})


def of_object(**changes: Any) -> str:
    return json.dumps({"objects": [{"name": "mug", "views": [CLICKED], **changes}]})


BAD_FILES = {
    "not JSON": (b"{", "not JSON"),
    "empty": (b"", "not JSON"),
    "a number of thousands of digits": (b"1" * 5000, "not JSON"),
    "deeply nested": (b"[" * 100_000, "not JSON"),
    "not UTF-8": (b"\xff\xfe{\x00", "not text in UTF-8"),
    "not an object": (b"[]", "objects"),
    "no objects": (b"{}", "'objects' is missing"),
    "none of them": (b'{"objects": []}', "no object"),
    "objects are no list": (b'{"objects": null}', "objects"),
    "an object is no object": (b'{"objects": ["mug"]}', '"mug"'),
    "no name": (b'{"objects": [{"views": []}]}', "'name' is missing"),
    "a name that is none": (of_object(name=None), "name"),
    "a name of nothing": (of_object(name=" "), "name"),
    "a name in two lines": (of_object(name="a\nb"), "name"),
    "no views": (b'{"objects": [{"name": "mug"}]}', "'views' is missing"),
    "views are no list": (of_object(views=5), "views"),
    "one view without its list": (of_object(views=CLICKED), "views"),
    "view without its name": (of_object(views=[{"points": [[1, 2]]}]), "'view' is missing"),
    "view by its number": (of_view(view=7), "view"),
    "unknown key above": (json.dumps({"objects": [], "version": 1}), "unknown 'version'"),
    "unknown key of an object": (of_object(colour="red"), "unknown 'colour'"),
    "unknown key of a view": (of_view(point=[1, 2]), "unknown 'point'"),
    "unknown level": (of_object(level="whole"), "level"),
    "a point without its list": (of_view(points=[310, 140]), "310"),
    "three numbers": (of_view(points=[[1, 2, 3]]), "list of 2 numbers"),
    "text for a number": (of_view(points=[["1", 2]]), "list of 2 numbers"),
    "true for a number": (of_view(points=[[True, 2]]), "list of 2 numbers"),
    "points are no list": (of_view(points=None), "points"),
    "not a number": (of_view(points=[[float("nan"), 2]]), "list of 2 numbers"),
    "without end": (of_view(negative=[[float("inf"), 2]]), "list of 2 numbers"),
    "larger than any float": (of_view(points=[[10**400, 2]]), "list of 2 numbers"),
    "box of three": (of_view(box=[1, 2, 3]), "list of 4 numbers"),
    "box upside down": (of_view(box=[1, 20, 9, 2]), "left top right bottom"),
    "box without width": (of_view(box=[1, 2, 1, 9]), "left top right bottom"),
    "both on and off": (of_view(negative=[[3, 4]]), "on the object and off it"),
    "camera is no object": (of_view(camera="left"), '"left"'),
    "camera without its lens": (of_view(camera={"viewmat": [], "width": 8, "height": 6}), "'K' is missing"),
    "unknown key of a camera": (of_camera(fov=50), "unknown 'fov'"),
    "camera of three rows": (of_camera(viewmat=CAMERA["viewmat"][:3]), "Camera.viewmat must have shape [4, 4]"),
    "camera of no rows": (of_camera(viewmat=[]), "Camera.viewmat must have shape [4, 4]"),
    "camera of short rows": (of_camera(viewmat=[[1, 0, 0]] * 4), "list of 4 numbers"),
    "camera that is a number": (of_camera(viewmat=1), "viewmat is a list"),
    "camera without end": (of_camera(viewmat=[[float("inf")] * 4] * 4), "list of 4 numbers"),
    "camera beyond single precision": (of_camera(viewmat=[[1e300] * 4] * 4), "finite"),
    "lens of four columns": (of_camera(K=[[1, 0, 0, 0]] * 3), "list of 3 numbers"),
    "lens that turns pictures round": (of_camera(K=[[-30, 0, 4], [0, 30, 3], [0, 0, 1]]), "focal lengths"),
    "picture without width": (of_camera(width=0), "0x6"),
    "picture as large as the memory": (of_camera(height=10**6), "8x1000000"),
    "picture of half a pixel": (of_camera(height=6.5), "8x6.5"),
    "picture of true pixels": (of_camera(width=True), "Truex6"),
    "picture of as many pixels as text": (of_camera(width="8"), "'8'x6"),
    "two cameras for one name": (
        json.dumps(
            {
                "objects": [
                    {
                        "name": "mug",
                        "views": [{**CLICKED, "camera": CAMERA}, {**CLICKED, "camera": {**CAMERA, "width": 9}}],
                    }
                ]
            }
        ),
        "two cameras have views of this name",
    ),
    "twice the same name": (json.dumps({"objects": [MUG.as_json(), MUG.as_json()]}), "'mug'"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_named_in_one_line(content: bytes | str, reason: str, tmp_path: Path):
    path = tmp_path / "prompts.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        read_prompts(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 300 + len(str(path))


def test_something_says_where_the_object_is():
    with pytest.raises(ValueError, match="'mug': there is no click"):
        ObjectPrompts("mug", ()).checked("auto")
    with pytest.raises(ValueError, match="'mug': there are only clicks off it"):
        ObjectPrompts("mug", (ViewPrompts("a", negative=((1.0, 1.0),)),)).checked("auto")
    assert MUG.checked("group").level == "group"


@pytest.mark.parametrize("place", [(-0.5, 3.0), (8.5, 3.0), (3.0, -0.1), (3.0, 6.1), (float("nan"), 3.0)])
def test_clicks_outside_the_picture(place: tuple[float, float]):
    for prompts in (ViewPrompts("a", (place,)), ViewPrompts("a", negative=(place,))):
        with pytest.raises(ValueError, match=r"view a: .* is outside its picture of 8x6 pixels"):
            prompts.check_size(8, 6)


def test_the_edges_are_inside():
    ViewPrompts("a", ((0.0, 0.0), (8.0, 6.0)), box=(0.0, 0.0, 8.0, 6.0)).check_size(8, 6)
    with pytest.raises(ValueError, match="9 5 is outside"):
        ViewPrompts("a", box=(0.0, 0.0, 9.0, 5.0)).check_size(8, 6)


def test_further_clicks():
    more = MUG.with_clicks(ViewPrompts("frame_1", ((5.0, 5.0),))).with_clicks(ViewPrompts("new", ((1.0, 1.0),)))
    first, second, third = more.views
    assert first == ViewPrompts("frame_1", ((3.0, 4.5), (7.25, 1.0), (5.0, 5.0)), ((0.0, 0.5),), (1.0, 2.0, 30.0, 40.0))
    assert second == MUG.views[1] and third == ViewPrompts("new", ((1.0, 1.0),))
    assert (more.name, more.level) == ("mug", "part")
    assert MUG.with_clicks(ViewPrompts("frame_1", box=(0.0, 0.0, 2.0, 2.0))).views[0].box == (0.0, 0.0, 2.0, 2.0)
    # The same clicks again say nothing new.
    assert MUG.with_clicks(MUG.views[0]) == MUG
    with pytest.raises(ValueError, match="on the object and off it"):
        MUG.with_clicks(ViewPrompts("frame_1", negative=((3.0, 4.5),)))
