"""What is asked where nobody has chosen a segmenter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from splatseg_ns.masks import CachedSegmenter, segmenters
from splatseg_ns.masks.segmenters import CHECKPOINT_VARIABLE, default_segmenter
from tests.masks.segmenters import FakeSegmenter, plain_picture


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What is asked for; nothing is loaded."""
    asked: list[tuple[object, ...]] = []

    def segmenter_named(*words: object) -> FakeSegmenter:
        asked.append(words)
        return FakeSegmenter()

    monkeypatch.setattr(segmenters, "segmenter_named", segmenter_named)
    return asked


@pytest.mark.parametrize("value", [None, ""])
def test_mobile_sam_by_default(value: str | None, chosen: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(CHECKPOINT_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(CHECKPOINT_VARIABLE, value)
    default_segmenter()
    default_segmenter(torch.device("meta"))
    assert chosen == [("mobile-sam", None, "cpu"), ("mobile-sam", None, torch.device("meta"))]


def test_pictures_are_read_once(chosen: list[tuple[object, ...]]):
    made = default_segmenter()
    assert isinstance(made, CachedSegmenter) and isinstance(made.segmenter, FakeSegmenter)
    for _ in range(2):
        made.embed(plain_picture(7, height=5))
    assert len(made.segmenter.read) <= 1 and len(chosen) == 1


def test_segment_anything_where_its_checkpoint_is_named(
    chosen: list[tuple[object, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(CHECKPOINT_VARIABLE, str(tmp_path / "sam.pth"))
    assert default_segmenter("cpu").name == "fake"
    # It finds its checkpoint by the same variable.
    assert chosen == [("sam", None, "cpu")]


def test_a_checkpoint_that_is_named_but_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is not passed over for what comes with the program."""
    monkeypatch.setenv(CHECKPOINT_VARIABLE, str(tmp_path / "gone.pth"))
    with pytest.raises(FileNotFoundError, match=r"gone\.pth") as caught:
        default_segmenter()
    assert "\n" not in str(caught.value)
