from __future__ import annotations

import pytest

from splatseg_ns.scene.matching import match_names, nearest_names


@pytest.mark.parametrize(
    ("views", "candidates", "expected"),
    [
        (["a", "b"], ["b", "c"], {"b": "b"}),
        (["left/1", "right/1"], ["left/1", "right/1"], {"left/1": "left/1", "right/1": "right/1"}),
        (["1"], ["deep/down/1"], {"1": "deep/down/1"}),
        (["cam/1"], ["1"], {"cam/1": "1"}),
        (["left/1", "right/1"], ["1"], {}),
        (["1"], ["x/1", "y/1"], {}),
        (["1"], ["1", "x/1"], {"1": "1"}),
        (["a"], ["a.jpg"], {"a": "a.jpg"}),
        (["a"], ["x/a.JPG"], {"a": "x/a.JPG"}),
        (["a"], ["a", "a.jpg"], {"a": "a"}),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"], {"a.jpg": "a.jpg", "a.png": "a.png"}),
        (["frame_1"], ["frame_10", "frame_01"], {}),
    ],
)
def test_candidates_belong_to_paths_then_to_unique_stems(
    views: list[str], candidates: list[str], expected: dict[str, str]
):
    assert match_names(views, {name: name for name in candidates}) == expected


def test_nearest_names():
    assert nearest_names(["cam/frame_1", "other"], ["masks/frame_01", "zebra"]) == [("cam/frame_1", "masks/frame_01")]
    assert len(nearest_names([f"frame_{i}" for i in range(9)], ["frame_00"])) == 3
