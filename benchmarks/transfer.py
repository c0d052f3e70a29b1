"""How well classes of parts are carried over: python -m benchmarks.transfer --ply SPLATS --data CAPTURE

Needs a capture with true label maps of parts in all views (``CAPTURE/parts/VIEW.png``, and ``CAPTURE/parts.json`` with
the object and the affordance of each id), and its objects, labelled. Only what is chosen of the maps is given as
examples. Each protocol is run for several seeds, which choose the annotated views among the training views that show
all that is to be annotated; judged are held-out views, by the mean over views, then over classes:

* same scene, 1, 2 and 4 annotated views; the whole scene is asked;
* across objects: the parts of one object are annotated in one view, those of another one that has two affordances in
  common are asked for, within that object. The other object says nothing in the example.

``2D`` is what each held-out picture says alone, ``3D`` what the votes of all training pictures say, drawn into the
held-out view; features, neighbours, examples and upsampling are the same. Differences are paired by seed, with their
95 % interval.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from rich.table import Table
from scipy.stats import t as student
from torch import Tensor

from splatseg_ns.cli.console import output, say, table
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.lift import Labels, accumulate_shares, render_label_map
from splatseg_ns.masks import LabelFolder
from splatseg_ns.masks.examples import Example
from splatseg_ns.masks.features import CachedFeatures
from splatseg_ns.masks.memory_bank import Knn, MemoryBank
from splatseg_ns.masks.segmenter import reading_threads
from splatseg_ns.masks.upsample import Upsampling
from splatseg_ns.raster import Rasterizer, one_torch_thread
from splatseg_ns.scene import IGNORED, Splats, View
from splatseg_ns.segmentation import Segmentation
from splatseg_ns.segmentation.evaluation import is_shown
from splatseg_ns.segmentation.part_scores import ClassScores, ClassTally
from splatseg_ns.segmentation.transfer import (
    Classifier,
    Transfer,
    Voting,
    chosen_classes,
    shown_of,
    transfer,
)
from splatseg_ns.segmentation.transfer_recipe import FeatureConfig

FAILED = 0.2
"""Below this IoU in 2D and 3D it is the features that fail."""

Protocol = Literal["same", "objects"]


@dataclass(frozen=True, eq=False)
class TruePart:
    """One part of one object."""

    id: int
    object: str
    affordance: str


@dataclass(frozen=True, eq=False)
class Task:
    """What is annotated, and what is asked for."""

    name: str
    annotated: dict[int, int]
    """The class of each part that examples show."""

    ignored: tuple[int, ...]
    """Parts that examples do not speak of."""

    asked: dict[int, int]
    """The class of each part that is judged."""

    within: str | None
    """The object that is asked about; None for the whole scene."""

    views: int
    """How many are annotated."""


@dataclass(frozen=True)
class Outcome:
    """One task with one seed."""

    alone: ClassScores
    together: ClassScores


@dataclass(frozen=True)
class Seconds:
    """Per view."""

    features: float
    neighbours: float
    """And from patches to pixels."""

    votes: float


@dataclass(kw_only=True)
class Benchmark(SceneInputs):
    """Carry parts over and judge them."""

    seeds: int = 5
    only: tuple[Protocol, ...] = ("same", "objects")
    counts: tuple[int, ...] = (1, 2, 4)
    """Annotated views, in the same scene."""

    voting: Voting = Transfer.voting
    upsampling: Upsampling = Transfer.upsampling
    gamma: float = Transfer.gamma
    background: bool | None = None
    features: Annotated[FeatureConfig, tyro.conf.arg(name="")] = field(default_factory=FeatureConfig)
    knn: Annotated[Knn, tyro.conf.arg(name="")] = field(default_factory=Knn)

    def run(self) -> None:
        splats, objects = self.load()
        rasterizer = self.rasterizer()
        capture = self.capture()
        parts = read_parts(capture.folder / "parts.json")
        folder = LabelFolder.open(capture.folder / "parts", capture.names)
        capture = folder.attach(self.frame(rasterizer, splats, capture).move(capture))
        bench = Bench(
            rasterizer,
            splats,
            objects,
            [view for view in capture if view.split == "train"],
            [view for view in capture if view.split != "train"],
            self.features.extractor(self.torch_device()),
            Transfer(self.knn, self.upsampling, self.voting, self.gamma),
            self.background,
        )
        classes = {name: id for id, name in enumerate(sorted({part.affordance for part in parts}), 1)}
        tasks = []
        if "same" in self.only:
            tasks += [same_scene(parts, classes, count) for count in self.counts]
        if "objects" in self.only:
            tasks += across_objects(parts, classes)
        say(f"features {bench.extractor.name}, {self.knn}, {self.upsampling}, {self.voting}, gamma {self.gamma}")
        print_outcomes([(task, [bench.run(task, classes, seed) for seed in range(self.seeds)]) for task in tasks])
        seconds = bench.seconds(tasks[0])
        say(
            f"seconds per view ({tasks[0].name}): features {seconds.features:.3f}, neighbours and pixels "
            f"{seconds.neighbours:.3f}, votes {seconds.votes:.3f}"
        )


@dataclass(frozen=True, eq=False)
class Bench:
    """A scene with true parts."""

    rasterizer: Rasterizer
    splats: Splats
    objects: Segmentation
    training: Sequence[View]
    held_out: Sequence[View]
    extractor: CachedFeatures
    config: Transfer
    background: bool | None

    def run(self, task: Task, classes: dict[str, int], seed: int) -> Outcome:
        """One task with the views that a seed chooses."""
        examples = [self._example(view, task) for view in chosen_at_random(self.training, task, seed)]
        bank = MemoryBank.of(self.extractor, examples)
        bank = chosen_classes(bank, self.background, within_objects=task.within is not None)
        classifier = Classifier(self.extractor, bank, self.config)
        names = {id: name for name, id in classes.items() if id in task.asked.values()}
        within = None if task.within is None else self.objects.rows(task.within).to(self.splats.device)
        found = transfer(self.rasterizer, self.splats, self.training, classifier, within)
        alone, together = ClassTally(names), ClassTally(names)
        for view in self.held_out:
            truth = mapped(true_parts(view), task.asked)
            everywhere = torch.ones_like(truth, dtype=torch.bool)
            shown = shown_of(self.rasterizer, self.splats, view.camera, within)
            alone.add(classifier.answer(view.image(), shown), truth, everywhere)
            together.add(self._drawn(found.labels, view), truth, everywhere)
        return Outcome(alone.scores(), together.scores())

    def seconds(self, task: Task) -> Seconds:
        """What each step takes, in the held-out views; pictures are read from disk before."""
        bank = MemoryBank.of(
            self.extractor, [self._example(view, task) for view in chosen_at_random(self.training, task, 0)]
        )
        classifier, views = Classifier(self.extractor, bank, self.config), self.held_out
        images = [view.image() for view in views]
        with reading_threads():
            features = _seconds_of(lambda: [self.extractor.extractor(image) for image in images])
        said = [(view.camera, classifier.shares(image)) for view, image in zip(views, images, strict=True)]
        neighbours = _seconds_of(lambda: [classifier.shares(image) for image in images])
        votes = _seconds_of(lambda: accumulate_shares(self.rasterizer, self.splats, said, bank.ids))
        return Seconds(*(seconds / len(views) for seconds in (features, neighbours, votes)))

    def _drawn(self, labels: Labels, view: View) -> Tensor:  # [H, W] int64
        return render_label_map(self.rasterizer, self.splats, view.camera, labels, labels.objects).cpu()

    def _example(self, view: View, task: Task) -> Example:
        truth = true_parts(view)
        labels = mapped(truth, task.annotated)
        labels[torch.isin(truth, torch.tensor(task.ignored, dtype=truth.dtype))] = IGNORED
        return Example(view.name, view.image(), labels)


def read_parts(path: Path) -> list[TruePart]:
    """The parts that a parts.json speaks of."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [
        TruePart(int(id), entry["object"], entry["affordance"])
        for id, entry in content.items()
        if entry["affordance"] is not None
    ]


def same_scene(parts: Sequence[TruePart], classes: dict[str, int], count: int) -> Task:
    """All parts of the scene, annotated in some views."""
    every = {part.id: classes[part.affordance] for part in parts}
    return Task(f"same scene, {count} view" + "s" * (count > 1), every, (), every, None, count)


def across_objects(parts: Sequence[TruePart], classes: dict[str, int]) -> list[Task]:
    """The parts of one object by those of another, for all pairs that have two affordances or more in common."""
    by_object: dict[str, dict[int, int]] = {}
    for part in parts:
        by_object.setdefault(part.object, {})[part.id] = classes[part.affordance]
    tasks = []
    for source, target in permutations(sorted(by_object), 2):
        common = set(by_object[source].values()) & set(by_object[target].values())
        if len(common) >= 2:
            annotated, asked = (
                {id: kind for id, kind in by_object[name].items() if kind in common} for name in (source, target)
            )
            tasks.append(Task(f"{source} to {target}", annotated, tuple(by_object[target]), asked, target, 1))
    return tasks


def chosen_at_random(views: Sequence[View], task: Task, seed: int) -> list[View]:
    """Some views that show all that is to be annotated."""

    def shows_all(view: View) -> bool:
        truth = true_parts(view)
        return all(is_shown(truth == id, torch.ones_like(truth, dtype=torch.bool)) for id in task.annotated)

    good = [view for view in views if shows_all(view)]
    if len(good) < task.views:
        raise ValueError(f"{task.name}: only {len(good)} training views show all parts; give a capture that has more")
    return [good[place] for place in np.random.default_rng(seed).choice(len(good), task.views, replace=False)]


def true_parts(view: View) -> Tensor:  # [H, W] integer
    """The true parts of a view."""
    truth = view.label_map()
    if truth is None:
        raise ValueError(f"view {view.name}: no map of parts; every view needs one")
    return truth


def mapped(
    truth: Tensor,  # [H, W] integer, parts
    classes: dict[int, int],
) -> Tensor:  # [H, W] int32, their classes, 0 for all other parts
    """The classes of some parts."""
    labels = torch.zeros_like(truth, dtype=torch.int32)
    for part, kind in classes.items():
        labels[truth == part] = kind
    return labels


def print_outcomes(outcomes: Sequence[tuple[Task, Sequence[Outcome]]]) -> None:
    """Means over the seeds, class by class, and paired differences."""
    rows = table("Classes of held-out views", "task", "class", "2D recall", "IoU", "3D recall", "IoU", "")
    differences = table("3D less 2D, paired by seed", "task", "seeds", "recall", "IoU")
    for task, runs in outcomes:
        _add_rows(rows, task, runs)
        gains = [
            [_needed(pick(run.together)) - _needed(pick(run.alone)) for run in runs]
            for pick in (lambda scores: scores.recall, lambda scores: scores.iou)
        ]
        differences.add_row(
            task.name,
            str(len(runs)),
            *(interval(gain) for gain in gains),
        )
    output().print(rows)
    output().print(differences)


def _add_rows(rows: Table, task: Task, runs: Sequence[Outcome]) -> None:
    def mean(pick: Callable[[ClassScores], float | None]) -> list[float | None]:
        both = ([pick(run.alone) for run in runs], [pick(run.together) for run in runs])
        return [
            statistics.mean(known) if (known := [value for value in values if value is not None]) else None
            for values in both
        ]

    for place, entry in enumerate(runs[0].alone.classes):
        recalls = mean(lambda scores, place=place: scores.classes[place].recall)
        ious = mean(lambda scores, place=place: scores.classes[place].iou)
        failed = all(value is not None and value < FAILED for value in ious)
        cells = (recalls[0], ious[0], recalls[1], ious[1])
        rows.add_row(task.name, entry.name, *map(_percent, cells), "the features fail" if failed else "")
    recalls, ious = mean(lambda scores: scores.recall), mean(lambda scores: scores.iou)
    rows.add_row(task.name, "mean", *map(_percent, (recalls[0], ious[0], recalls[1], ious[1])), "")
    rows.add_section()


def interval(differences: Sequence[float]) -> str:
    """The mean and the half width of its 95 % interval (Student's t), in percent."""
    mean = 100 * statistics.mean(differences)
    if len(differences) < 2:
        return f"{mean:+.1f}"
    half = student.ppf(0.975, len(differences) - 1) * 100 * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.1f} +- {half:.1f}"


def _seconds_of(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _needed(value: float | None) -> float:
    if value is None:
        raise ValueError("no held-out view shows any of the classes; give a capture whose views do")
    return value


if __name__ == "__main__":
    with one_torch_thread():
        tyro.cli(Benchmark, description=__doc__).run()
