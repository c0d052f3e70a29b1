"""The benchmark of parts carried over, on balls whose upper and lower halves are parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import transfer as benchmark
from benchmarks.transfer import (
    Bench,
    Benchmark,
    Outcome,
    Task,
    TruePart,
    across_objects,
    chosen_at_random,
    interval,
    mapped,
    print_outcomes,
    read_parts,
    same_scene,
)
from splatseg_ns.lift import Labels, render_label_map
from splatseg_ns.masks.embedding_cache import CACHE_VARIABLE
from splatseg_ns.masks.examples import Example
from splatseg_ns.masks.features import CachedFeatures, FeatureExtractor, unit_length
from splatseg_ns.masks.memory_bank import Knn, MemoryBank
from splatseg_ns.masks.writer import write_label_map
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import IGNORED, Capture, Lens, View
from splatseg_ns.segmentation import SceneObject, Segmentation, SegmentationStore
from splatseg_ns.segmentation.part_scores import ClassScore, ClassScores
from splatseg_ns.segmentation.transfer import Transfer
from tests.cli.examples import SceneOnDisk, write_scene

RED_TOP, RED_BOTTOM, GREEN_TOP, GREEN_BOTTOM, BLUE_TOP, BLUE_BACK = range(1, 7)
PARTS = [
    TruePart(RED_TOP, "red ball", "lid"),
    TruePart(RED_BOTTOM, "red ball", "stand"),
    TruePart(GREEN_TOP, "green ball", "lid"),
    TruePart(GREEN_BOTTOM, "green ball", "stand"),
    TruePart(BLUE_TOP, "blue ball", "lid"),
    TruePart(BLUE_BACK, "blue ball", "back"),
]
"""Red and green have two affordances in common, each of them only one with blue."""

CLASSES = {"back": 1, "lid": 2, "stand": 3}

CLASS_OF_PART = {part.id: CLASSES[part.affordance] for part in PARTS}


@dataclass(frozen=True)
class Parts:
    """A scene with a segmentation of its objects, and true parts."""

    scene: SceneOnDisk
    capture: Capture
    """With the true maps of parts."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    scene = write_scene(tmp_path_factory.mktemp("parts"), 64, 48)
    names = {1: "red ball", 2: "green ball", 3: "blue ball"}
    objects = [SceneObject.new(id, name) for id, name in names.items()]
    SegmentationStore(scene.ply.with_name("scene.segmentation")).save(
        Segmentation.of(scene.splats, scene.truth, objects)
    )
    of_gaussians = torch.zeros_like(scene.truth)
    for ball in names:
        heights = scene.splats.means[:, 2]
        own = scene.truth == ball
        lower = heights < heights[own].mean()
        of_gaussians = torch.where(own, 2 * ball - 1 + lower.long(), of_gaussians)
    labels = Labels(of_gaussians, torch.ones(len(of_gaussians)))
    capture = Capture.load(scene.data)
    for view in capture:
        drawn = render_label_map(rasterizer_for("cpu"), scene.splats, view.camera, labels, torch.arange(1, 7))
        write_label_map(scene.data / "parts", view.name, drawn)
    content = {str(part.id): {"object": part.object, "affordance": part.affordance} for part in PARTS}
    (scene.data / "parts.json").write_text(json.dumps(content))
    return Parts(scene, capture.with_label_maps(scene.data / "parts"))


class TrueFeatures:
    """Features that are the affordance of each pixel, which it knows by the picture."""

    name = "truth"

    def __init__(self, capture: Capture, classes: dict[int, int] = CLASS_OF_PART) -> None:
        """``classes`` of the parts."""
        self._maps: dict[bytes, Tensor] = {}
        for view in capture:
            truth = view.label_map()
            assert truth is not None
            self._maps[view.image().numpy().tobytes()] = mapped(truth, classes)

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [H, W, 4]
        return unit_length(torch.nn.functional.one_hot(self._maps[image.numpy().tobytes()].long(), 4).float())


def bench_of(parts: Parts, extractor: FeatureExtractor) -> Bench:
    objects = SegmentationStore(parts.scene.ply.with_name("scene.segmentation")).load()
    return Bench(
        rasterizer_for("cpu"),
        parts.scene.splats,
        objects,
        parts.capture.with_split("train").views,
        parts.capture.with_split("val", "test").views,
        CachedFeatures(extractor),
        # With a feature for each pixel there is nothing to make finer, and what is like no example is unknown.
        Transfer(Knn(least_similarity=0.5), upsampling="bilinear"),
        None,
    )


@pytest.fixture
def true_bench(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # Pictures of other tests must not be known by what this extractor says of them.
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return bench_of(parts, TrueFeatures(parts.capture))


def small_view(name: str, labels: Sequence[Sequence[int]] | None) -> View:
    """A view that has a true map, and no picture."""
    source = None if labels is None else lambda: torch.tensor(labels)
    return View(name, "train", torch.eye(4), Lens(5.0, 5.0, 1.5, 1.0), 3, 2, Path(f"{name}.png"), label_source=source)


def test_all_parts_of_the_scene_are_annotated_and_asked_for():
    task = same_scene(PARTS, CLASSES, 2)
    assert (task.name, task.ignored, task.within, task.views) == ("same scene, 2 views", (), None, 2)
    assert task.annotated == task.asked == {1: 2, 2: 3, 3: 2, 4: 3, 5: 2, 6: 1}
    assert same_scene(PARTS, CLASSES, 1).name == "same scene, 1 view"


def test_pairs_of_objects_with_two_affordances_in_common():
    there, back = across_objects(PARTS, CLASSES)
    assert (there.name, there.within, there.views) == ("green ball to red ball", "red ball", 1)
    assert there.annotated == {GREEN_TOP: 2, GREEN_BOTTOM: 3} and there.asked == {RED_TOP: 2, RED_BOTTOM: 3}
    assert there.ignored == (RED_TOP, RED_BOTTOM)
    assert (back.name, back.annotated, back.asked) == ("red ball to green ball", there.asked, there.annotated)


def test_only_what_objects_have_in_common_is_annotated():
    more = [*PARTS, TruePart(7, "red ball", "back"), TruePart(8, "green ball", "spout")]
    # Now blue and red have lid and back in common, too; of green nobody else has a spout.
    tasks = {task.name: task for task in across_objects(more, {**CLASSES, "spout": 4})}
    assert sorted(tasks) == [
        "blue ball to red ball",
        "green ball to red ball",
        "red ball to blue ball",
        "red ball to green ball",
    ]
    assert tasks["red ball to blue ball"].annotated == {RED_TOP: 2, 7: 1}
    task = tasks["green ball to red ball"]
    assert task.annotated == {GREEN_TOP: 2, GREEN_BOTTOM: 3} and task.asked == {RED_TOP: 2, RED_BOTTOM: 3}
    # The example says nothing of any part of the other object, asked for or not.
    assert task.ignored == (RED_TOP, RED_BOTTOM, 7)


def test_one_affordance_twice_is_one_in_common():
    twice = [TruePart(1, "a", "lid"), TruePart(2, "a", "lid"), TruePart(3, "b", "lid"), TruePart(4, "b", "lid")]
    assert across_objects(twice, CLASSES) == []


def test_views_that_show_all_are_chosen():
    task = same_scene(PARTS[:2], CLASSES, 2)
    good = [small_view(f"good_{number}", [[1, 2, 0], [0, 5, 0]]) for number in range(6)]
    bad = [small_view("lacks_2", [[1, 1, 0], [0, 5, 0]]), small_view("empty", [[0, 0, 0], [0, 0, 0]])]
    views = [bad[0], *good, bad[1]]
    chosen = {seed: [view.name for view in chosen_at_random(views, task, seed)] for seed in range(8)}
    assert all(len(set(names)) == 2 and all("good" in name for name in names) for names in chosen.values())
    assert len({tuple(names) for names in chosen.values()}) > 1
    assert [view.name for view in chosen_at_random(views, task, 3)] == chosen[3]


def test_too_few_views_that_show_all():
    views = [small_view("a", [[1, 2, 0], [0, 0, 0]]), small_view("b", [[1, 0, 0], [0, 0, 0]])]
    assert chosen_at_random(views, same_scene(PARTS[:2], CLASSES, 1), 0) == [views[0]]
    with pytest.raises(ValueError, match="same scene, 2 views: only 1 training views show all parts"):
        chosen_at_random(views, same_scene(PARTS[:2], CLASSES, 2), 0)
    with pytest.raises(ValueError, match="view c: no map of parts; every view needs one"):
        chosen_at_random([small_view("c", None)], same_scene(PARTS[:2], CLASSES, 1), 0)


def test_classes_of_parts():
    truth = torch.tensor([[1, 2, 3], [0, -1, 2]])
    found = mapped(truth, {1: 2, 2: 7})
    assert found.dtype == torch.int32 and found.tolist() == [[2, 7, 0], [0, 0, 7]]
    # A class may be called like another part.
    assert mapped(torch.tensor([[1, 2]]), {1: 2, 2: 1}).tolist() == [[2, 1]]


def test_intervals_by_hand():
    # Mean 2, deviation sqrt(2), which the root of 2 takes away; Student's t is 12.706 for one degree of freedom.
    assert interval([0.01, 0.03]) == "+2.0 +- 12.7"
    # Mean -1, deviation 1, over the root of 3 it is 0.577; t is 4.303 for two.
    assert interval([0.0, -0.01, -0.02]) == "-1.0 +- 2.5"
    assert interval([0.05]) == "+5.0"
    assert interval([0.01, 0.01]) == "+1.0 +- 0.0"


def test_parts_that_have_an_affordance(tmp_path: Path):
    content = {
        "3": {"object": "cup", "affordance": "contain"},
        "1": {"object": "cup", "affordance": None},
        "12": {"object": "knife", "affordance": "cut"},
    }
    (tmp_path / "parts.json").write_text(json.dumps(content))
    found = [(part.id, part.object, part.affordance) for part in read_parts(tmp_path / "parts.json")]
    assert found == [(3, "cup", "contain"), (12, "knife", "cut")]


def test_with_true_features_parts_of_the_same_scene_are_found(true_bench: Bench):
    outcome = true_bench.run(same_scene(PARTS, CLASSES, 1), CLASSES, seed=0)
    assert outcome.alone.names == ["back", "lid", "stand"]
    # Each pixel has the feature of its class, so each picture alone is right everywhere.
    assert outcome.alone.recall == 1.0 == outcome.alone.iou
    # So are the Gaussians, but for some that only the held-out views see well.
    assert [entry.views for entry in outcome.together.classes] == [2, 2, 2]
    assert all((entry.iou or 0) > 0.8 for entry in outcome.together.classes)
    seconds = true_bench.seconds(same_scene(PARTS, CLASSES, 1))
    assert min(seconds.features, seconds.neighbours, seconds.votes) > 0


def test_with_true_features_parts_of_another_object_are_found(true_bench: Bench):
    for task in across_objects(PARTS, CLASSES):
        outcome = true_bench.run(task, CLASSES, seed=1)
        # The third class is not asked for.
        assert outcome.together.names == ["lid", "stand"]
        assert outcome.alone.recall == 1.0 == outcome.alone.iou
        assert all((entry.iou or 0) > 0.7 for entry in outcome.together.classes)


def test_features_that_mean_something_else_on_the_other_object_fail(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    exchanged = {GREEN_TOP: CLASSES["stand"], GREEN_BOTTOM: CLASSES["lid"]}
    bench = bench_of(parts, TrueFeatures(parts.capture, {**CLASS_OF_PART, **exchanged}))
    (task,) = (task for task in across_objects(PARTS, CLASSES) if task.within == "green ball")
    outcome = bench.run(task, CLASSES, seed=0)
    assert outcome.alone.recall == 0.0
    assert (outcome.together.recall or 0) < 0.2 and (outcome.together.iou or 0) < 0.1


def test_examples_say_nothing_of_ignored_parts(true_bench: Bench, monkeypatch: pytest.MonkeyPatch):
    given: list[Example] = []

    class Recorder(MemoryBank):
        @staticmethod
        def of(extractor: FeatureExtractor, examples: Sequence[Example]) -> MemoryBank:
            given.extend(examples)
            return MemoryBank.of(extractor, examples)

    monkeypatch.setattr(benchmark, "MemoryBank", Recorder)
    task = next(task for task in across_objects(PARTS, CLASSES) if task.within == "red ball")
    true_bench.run(task, CLASSES, seed=2)
    (example,) = given
    (view,) = (view for view in true_bench.training if view.name == example.name)
    truth = view.label_map()
    assert truth is not None and torch.equal(example.image, view.image())
    expected = {0: 0, RED_TOP: IGNORED, RED_BOTTOM: IGNORED, GREEN_TOP: 2, GREEN_BOTTOM: 3, BLUE_TOP: 0, BLUE_BACK: 0}
    for part, label in expected.items():
        assert bool((example.labels[truth == part] == label).all())
    assert set(example.labels.unique().tolist()) == {IGNORED, 0, 2, 3}


def test_seeds_choose_the_annotated_views(true_bench: Bench, monkeypatch: pytest.MonkeyPatch):
    task = same_scene(PARTS, CLASSES, 1)
    asked: list[tuple[str, ...]] = []
    choose = benchmark.chosen_at_random

    def recorded(views: Sequence[View], task: Task, seed: int) -> list[View]:
        chosen = choose(views, task, seed)
        asked.append(tuple(view.name for view in chosen))
        return chosen

    monkeypatch.setattr(benchmark, "chosen_at_random", recorded)
    first = true_bench.run(task, CLASSES, seed=4)
    again = true_bench.run(task, CLASSES, seed=4)
    assert asked[0] == asked[1] and set(asked[0]) <= {view.name for view in true_bench.training}
    assert (first.alone, first.together) == (again.alone, again.together)


def test_a_run_with_packaged_features_prints_all_tasks(parts: Parts, capsys: pytest.CaptureFixture[str]):
    Benchmark(ply=parts.scene.ply, data=parts.scene.data, device="cpu", seeds=2, counts=(1, 2)).run()
    printed = capsys.readouterr().out
    assert "features efficientnet-lite0" in printed
    for task in ("same scene, 1 view", "same scene, 2 views", "green ball to red ball", "red ball to green ball"):
        assert task in printed
    assert printed.count("+-") == 4 * 2


def test_protocols_can_be_left_out(parts: Parts, capsys: pytest.CaptureFixture[str]):
    Benchmark(ply=parts.scene.ply, data=parts.scene.data, device="cpu", seeds=1, only=("objects",)).run()
    printed = capsys.readouterr().out
    assert "same scene" not in printed and "green ball to red ball" in printed


def scores(recall: float | None, iou: float | None) -> ClassScores:
    return ClassScores((ClassScore("lid", 0 if iou is None else 2, recall, iou), ClassScore("stand", 2, 0.5, 0.5)))


def test_means_over_seeds_and_paired_differences(capsys: pytest.CaptureFixture[str]):
    task = same_scene(PARTS, CLASSES, 1)
    runs = [
        Outcome(scores(0.10, 0.10), scores(0.30, 0.12)),
        Outcome(scores(0.30, 0.20), scores(0.70, 0.18)),
    ]
    print_outcomes([(task, runs)])
    rows = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    lid, stand, mean, difference = ([cell.strip() for cell in row] for row in rows)
    # Both IoUs are below 20 % on the mean of the seeds.
    assert lid == ["same scene, 1 view", "lid", "20.0", "15.0", "50.0", "15.0", "the features fail"]
    assert stand == ["same scene, 1 view", "stand", "50.0", "50.0", "50.0", "50.0", ""]
    assert mean == ["same scene, 1 view", "mean", "35.0", "32.5", "50.0", "32.5", ""]
    # Recalls differ by 10 and 20: mean 15, deviation 7.07, times 12.706 / 1.414. IoUs by +1 and -1: 12.706 again.
    assert difference == ["same scene, 1 view", "2", "+15.0 +- 63.5", "+0.0 +- 12.7"]


def test_a_class_that_no_view_shows_has_no_score(capsys: pytest.CaptureFixture[str]):
    task = same_scene(PARTS, CLASSES, 1)
    unseen = Outcome(scores(None, None), scores(None, None))
    print_outcomes([(task, [unseen])])
    (row,) = (line for line in capsys.readouterr().out.splitlines() if " lid " in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][2:] == ["-", "-", "-", "-", ""]
    nothing = ClassScores((ClassScore("lid", 0, None, None),))
    with pytest.raises(ValueError, match="no held-out view shows any of the classes"):
        print_outcomes([(task, [replace(unseen, alone=nothing, together=nothing)])])
