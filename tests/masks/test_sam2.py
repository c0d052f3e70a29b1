"""SAM 2 from folders, beside transformers' own processors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from splatseg_ns.masks import Prompts
from tests.masks.segmenters import (
    SAM2_SIDE,
    disc_picture,
    noise_picture,
    write_tiny_sam2,
    write_tiny_sam2_of_pictures,
)

transformers = pytest.importorskip("transformers", reason="SAM 2 needs transformers (the extra sam2)")

from splatseg_ns.masks.sam2 import Sam2, Sam2Video, sam2, sam2_video  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2") / "video")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Sam2:
    return sam2(folder)


@pytest.fixture(scope="module")
def video(folder: Path) -> Sam2Video:
    return sam2_video(folder)


@pytest.fixture(scope="module")
def image_processor():
    return transformers.Sam2ImageProcessor(size={"height": SAM2_SIDE, "width": SAM2_SIDE})


# Its points are pixels by number: that of number 10 has its centre half a pixel of the square further.
QUESTIONS = {
    "a point": ({"points": [(30.0, 40.0)]}, {"input_points": [[[[30, 40]]]], "input_labels": [[[1]]]}),
    "points on and off": (
        {"points": [(30.0, 40.0)], "negative": [(70.0, 20.0)]},
        {"input_points": [[[[30, 40], [70, 20]]]], "input_labels": [[[1, 0]]]},
    ),
    "a box": ({"box": [10.0, 20.0, 60.0, 50.0]}, {"input_boxes": [[[10, 20, 60, 50]]]}),
    "a box and a point off": (
        {"negative": [(30.0, 40.0)], "box": [10.0, 20.0, 60.0, 50.0]},
        {"input_points": [[[[30, 40]]]], "input_labels": [[[0]]], "input_boxes": [[[10, 20, 60, 50]]]},
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("size", [(SAM2_SIDE, SAM2_SIDE), (60, 100)], ids=str)
def test_answers_are_those_of_transformers(folder: Path, tiny: Sam2, image_processor, question: str, size):
    image = noise_picture(*size)
    processor = transformers.Sam2Processor(image_processor)
    asked, inputs = QUESTIONS[question]
    model = transformers.Sam2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model(**processor(images=image.numpy(), return_tensors="pt", **inputs), multimask_output=True)
    half = torch.tensor([size[1], size[0]]) / SAM2_SIDE / 2
    prompts = Prompts.of(**asked)
    prompts = Prompts(
        prompts.points + half, prompts.positive, None if prompts.boxes is None else prompts.boxes + half.repeat(2)
    )
    found = tiny.predict(tiny.embed(image), prompts)
    logits = expected.pred_masks[0]
    assert (found.logits - logits).abs().max() < 0.02 * logits.std()
    assert (found.scores - expected.iou_scores[0]).abs().max() < 0.01
    assert found.masks().shape == (1, 3, *size)


def test_questions_in_a_batch_are_answered_one_by_one(tiny: Sam2):
    embedding = tiny.embed(noise_picture(90, 60))
    points = torch.tensor([[[10.0, 20.0]], [[40.0, 70.0]], [[55.0, 5.0]]])
    earlier = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 5
    positive = torch.ones(3, 1, dtype=torch.bool)
    together = tiny.predict(embedding, Prompts(points, positive, masks=earlier)).logits
    apart = [
        tiny.predict(embedding, Prompts.of([tuple(point[0].tolist())], mask=mask)).logits
        for point, mask in zip(points, earlier, strict=True)
    ]
    assert torch.allclose(together, torch.cat(apart), atol=1e-4)
    without = tiny.predict(embedding, Prompts(points, positive)).logits
    assert (together - without).abs().max() > 0.1 * without.std()


def test_a_model_for_pictures_alone_answers_too(tmp_path: Path):
    segmenter = sam2(write_tiny_sam2_of_pictures(tmp_path / "pictures"))
    found = segmenter.predict(segmenter.embed(noise_picture(40, 30)), Prompts.of([(5, 5)]))
    assert found.masks().shape == (1, 3, 40, 30)
    with pytest.raises(ValueError, match="of type sam2; give one of type sam2_video"):
        sam2_video(tmp_path / "pictures")


def test_other_weights_have_another_name(folder: Path, tiny: Sam2, tmp_path: Path):
    assert sam2(folder).name == tiny.name
    assert sam2(write_tiny_sam2_of_pictures(tmp_path)).name != tiny.name


@pytest.fixture(scope="module")
def row() -> tuple[list[Tensor], list[Tensor]]:
    """A disc that moves through seven pictures, as large as the model reads them, and its masks [1, H, W]."""
    shown = [disc_picture(SAM2_SIDE, SAM2_SIDE, 20 + 8 * place, 50, 15) for place in range(7)]
    return [image for image, _ in shown], [mask[None] for _, mask in shown]


def test_masks_are_carried_as_transformers_does_it(folder: Path, video: Sam2Video, image_processor, row):
    pictures, masks = row
    model = transformers.Sam2VideoModel.from_pretrained(folder).eval()
    size = {"height": SAM2_SIDE, "width": SAM2_SIDE}
    processor = transformers.Sam2VideoProcessor(image_processor, transformers.Sam2VideoVideoProcessor(size=size))
    session = processor.init_video_session(video=torch.stack(pictures).numpy())
    for place in (2, 4):
        processor.add_inputs_to_inference_session(session, place, 1, input_masks=masks[place][0])
        model(session, frame_idx=place)
    expected: dict[int, Tensor] = {}
    for reverse in (False, True):
        for answer in model.propagate_in_video_iterator(session, start_frame_idx=2, reverse=reverse):
            expected[answer.frame_idx] = answer.pred_masks[:, 0]
    found = dict(video.carry(pictures, {2: masks[2], 4: masks[4]}))
    assert list(found) == [2, 3, 4, 5, 6, 1, 0]
    for place in (3, 5, 6, 1, 0):
        low = torch.nn.functional.interpolate(expected[place][:, None], (SAM2_SIDE, SAM2_SIDE), mode="bilinear")[:, 0]
        assert found[place].shape == (1, SAM2_SIDE, SAM2_SIDE)
        assert (found[place] - low).abs().max() < 1e-4 * low.std()
    for place in (2, 4):
        assert torch.equal(found[place] > 0, masks[place])


def test_several_objects_are_carried_through_pictures_of_several_sizes(video: Sam2Video, row):
    pictures, masks = row
    mixed = [*pictures[:3], pictures[3][:40, :80], pictures[4]]
    both = torch.cat([masks[0], ~masks[0]])
    found = dict(video.carry(mixed, {0: both}))
    assert [tuple(logits.shape) for logits in found.values()] == [(2, *picture.shape[:2]) for picture in mixed]
    alone = dict(video.carry(mixed, {0: both[1:]}))
    assert all(torch.allclose(found[place][1:], alone[place], atol=1e-3) for place in found)


def test_a_long_row_is_not_kept(video: Sam2Video, row):
    pictures, masks = row
    long = [pictures[place % 7] for place in range(40)]
    session = video._session(long, {20: masks[6]})
    for place in range(21, 40):
        video._go_on(session, place, reverse=False)
        video._forget(session, place, 20)
    ((_, outputs),) = session.output_dict_per_obj.items()
    carried = outputs["non_cond_frame_outputs"]
    assert video._reach == 7
    assert sorted(carried) == [*range(21, 28), *range(32, 40)]
    kept = [*carried.values(), *outputs["cond_frame_outputs"].values()]
    assert not any("high_res_masks" in output for output in kept)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({}, "there are none"),
        ({7: (1, SAM2_SIDE, SAM2_SIDE)}, "there are 7 pictures"),
        ({-1: (1, SAM2_SIDE, SAM2_SIDE)}, "there are 7 pictures"),
        ({0: (1, SAM2_SIDE, SAM2_SIDE), 3: (2, SAM2_SIDE, SAM2_SIDE)}, r"the same objects.*\[1, 2\]"),
        ({0: (0, SAM2_SIDE, SAM2_SIDE)}, r"one or more.*\[0\]"),
        ({0: (1, 60, 90)}, r"picture 0 is \[128, 128\], its masks are \[60, 90\]"),
    ],
)
def test_what_is_known_must_fit(video: Sam2Video, row, known: dict[int, tuple[int, ...]], says: str):
    with pytest.raises(ValueError, match=says):
        next(video.carry(row[0], {place: torch.ones(shape, dtype=torch.bool) for place, shape in known.items()}))


def missing(path: Path) -> str:
    return "no folder with config.json and model.safetensors.*download the two from"


def an_empty_folder(path: Path) -> str:
    path.mkdir()
    return missing(path)


def a_file(path: Path) -> str:
    path.write_bytes(b"weights")
    return "a file; SAM 2 is read from a folder"


def without_weights(path: Path) -> str:
    write_tiny_sam2(path)
    (path / "model.safetensors").unlink()
    return missing(path)


def with_a_pickle_instead(path: Path) -> str:
    write_tiny_sam2(path)
    (path / "model.safetensors").unlink()
    torch.save({}, path / "pytorch_model.bin")
    return missing(path)


def cut_short(path: Path) -> str:
    write_tiny_sam2(path)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return "cannot be read; download model.safetensors again"


def of_pictures_called_video(path: Path) -> str:
    write_tiny_sam2_of_pictures(path)
    config = path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "sam2_video"}))
    return "its weights are missing"


def another_model(path: Path) -> str:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "bert"}')
    return "a model of type bert; give one of type sam2_video"


BAD = [
    missing,
    an_empty_folder,
    a_file,
    without_weights,
    with_a_pickle_instead,
    cut_short,
    of_pictures_called_video,
    another_model,
]


@pytest.mark.parametrize("make", BAD)
def test_what_is_no_model_is_said_in_a_line(make, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = tmp_path / "given"
    says = make(path)
    capfd.readouterr()
    with pytest.raises((ValueError, OSError), match=says) as caught:
        sam2_video(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_without_a_network_it_says_what_to_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="download the two from https://") as caught:
        sam2("facebook/sam2.1-hiera-none")
    assert str(caught.value).startswith("facebook/sam2.1-hiera-none: no folder with") and "\n" not in str(caught.value)


def test_loading_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]):
    sam2(folder)
    assert capfd.readouterr() == ("", "")
    assert transformers.logging.is_progress_bar_enabled()
