from __future__ import annotations

from typing import Any

import pytest

from splatseg_ns.masks import default_color
from splatseg_ns.segmentation import Provenance, SceneObject, unique_name


def test_a_new_object_is_visible_in_the_color_of_its_id():
    assert SceneObject.new(7, "bear") == SceneObject(7, "bear", default_color(7), True, Provenance())


def test_objects_have_no_kind_and_parts_have():
    assert SceneObject.new(7, "bear").kind == ""
    assert SceneObject(7, "bear paw", (1, 2, 3), kind="paw") != SceneObject(7, "bear paw", (1, 2, 3))


def test_provenance_is_plain_and_equal_to_what_json_gives_back():
    made = Provenance(({"box": (1, 2)},), "robust", {"steps": (1, 2)})
    assert made == Provenance(({"box": [1, 2]},), "robust", {"steps": [1, 2]})
    assert isinstance(made.prompts, tuple)


@pytest.mark.parametrize("value", [{"x": float("nan")}, {"x": object()}, {"x": {1, 2}}])
def test_provenance_that_json_cannot_hold(value: dict):
    with pytest.raises(ValueError, match="cannot be kept in a document"):
        Provenance(parameters=value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 0}, "a whole number of at least 1, got 0"),
        ({"id": True}, "a whole number of at least 1, got True"),
        ({"name": " "}, "some visible text in one line"),
        ({"name": "a\nb"}, "some visible text in one line"),
        ({"color": (1, 2)}, "a colour is three whole numbers"),
        ({"visible": 1}, "visible is true or false, got 1"),
        ({"kind": None}, "object bear: its kind is text, got None"),
        ({"kind": 7}, "object bear: its kind is text, got 7"),
    ],
)
def test_what_is_no_object(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SceneObject(**({"id": 1, "name": "bear", "color": (1, 2, 3)} | changes))


def test_unique_names():
    assert unique_name("cup", {"bear"}) == "cup"
    assert unique_name("cup", {"cup"}) == "cup 2"
    assert unique_name("cup", {"cup", "cup 2", "cup 3"}) == "cup 4"
