"""What all segmenters share."""

from __future__ import annotations

from threading import Thread

import pytest
import torch

from splatseg_ns.masks import Candidates, Prompts
from splatseg_ns.masks.segmenter import reading_threads


def test_one_question_of_points_a_box_and_a_mask():
    prompts = Prompts.of([(1, 2), (3, 4)], [(5, 6)], [0, 1, 7, 8], torch.zeros(4, 4))
    assert len(prompts) == 1
    assert prompts.points.tolist() == [[[1, 2], [3, 4], [5, 6]]]
    assert prompts.positive.tolist() == [[True, True, False]]
    assert prompts.boxes is not None and prompts.boxes.tolist() == [[0, 1, 7, 8]]
    assert prompts.masks is not None and prompts.masks.shape == (1, 4, 4)


def test_a_question_without_points():
    prompts = Prompts.of(box=[0, 1, 7, 8])
    assert prompts.points.shape == (1, 0, 2) and prompts.positive.shape == (1, 0) and prompts.masks is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"points": torch.zeros(2, 3, 3)}, r"points are \[B, P, 2\]"),
        ({"positive": torch.ones(2, 2, dtype=torch.bool)}, r"\[2, 3, 2\] and \[2, 2\]"),
        ({"boxes": torch.zeros(1, 4)}, r"boxes \[2, 4\], got \[1, 4\]"),
        ({"masks": torch.zeros(2, 1, 8, 8)}, r"masks \[2, h, w\], got \[2, 1, 8, 8\]"),
        ({"masks": torch.zeros(3, 8, 8)}, r"got \[3, 8, 8\]"),
    ],
)
def test_questions_that_do_not_fit_each_other(changed: dict, says: str):
    right = {"points": torch.zeros(2, 3, 2), "positive": torch.ones(2, 3, dtype=torch.bool)}
    Prompts(**right)
    with pytest.raises(ValueError, match=says):
        Prompts(**right | changed)


def test_masks_are_as_large_as_the_picture_and_lie_where_the_logits_do():
    logits = torch.full((1, 2, 4, 8), -1.0)
    logits[0, 0, :2, :4] = 1.0  # the upper left quarter
    logits[0, 1, 2:, 4:] = 1.0
    candidates = Candidates(logits, torch.ones(1, 2), width=160, height=60)
    masks = candidates.masks()
    assert masks.shape == (1, 2, 60, 160)
    quarters = torch.zeros(2, 60, 160, dtype=torch.bool)
    quarters[0, :30, :80] = True
    quarters[1, 30:, 80:] = True
    assert (masks[0] == quarters).float().mean() > 0.99
    assert torch.equal(candidates.mask_logits(logits[:, 1:]) > 0, masks[:, 1:])


def test_reading_takes_all_cores_of_one_thread_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    before = torch.get_num_threads()
    seen: dict[str, int] = {}

    def read() -> None:
        with reading_threads(2):
            seen["within"] = torch.get_num_threads()

    torch.set_num_threads(1)
    try:
        reader = Thread(target=read)
        reader.start()
        reader.join()
        with reading_threads():
            seen["here"] = torch.get_num_threads()
        seen["after"] = torch.get_num_threads()
        with reading_threads(9):
            seen["crowded"] = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert seen == {"within": 2, "here": 4, "after": 1, "crowded": 1}
