"""The affordance benchmark of the masked-gradient paper (arXiv 2409.11681): python -m benchmarks.umd --root DIR

**This has not been run on the real data**, which could not be had where it was written: it was tested on a small
folder of the same layout, as public readers of the data describe it. It needs these folders below ``--root``; the
first is the clutter part of UMD Part Affordance as it is, unpacked here, in ``clutter`` or in
``part-affordance-clutter/clutter``. The others are not released, and must be brought::

    scene_0N/scene_0N_00000001_label.mat     the true maps; the pictures beside them are not read
    examples/                                annotated pictures: labelme files, or label maps in labels/
    splats/scene_0N.ply                      splats of the scene
    splats/scene_0N.dataparser_transforms.json   only for splats that ns-export wrote in the dataparser's frame
    captures/scene_0N/                       COLMAP or transforms.json; views are called scene_0N_00000001_rgb

1. The patches of the annotated pictures are compared with those of each view of the capture: this is the 2D answer.
   All views vote with it, and what the Gaussians become is drawn into the judged frames: this is the 3D answer.
2. Judged are the frames with a true map that a person has drawn (gt_type is not automatic) and with a view. They vote,
   too, as all views do: no map of the scene is ever shown to the method.
3. Recall and IoU of each class are means over the images that show at least one pixel of it, then over the classes that
   some image shows. The row of all scenes is over the images of all of them together.

The code of the paper does this: features of DINOv2 with registers, large, of pictures that are rendered from the splats
and squeezed to 896x896; 5 neighbours with the same say, the class of most of them for all of a patch; each pixel votes
for one class; in 3D a class covers each pixel of which it has more than 64/255, so that several may claim the same one
(``--rule published``); finding a class in an image that does not show it is an IoU of 0 (``--absent zero``); the sum of
the means of all classes is divided by the number of classes in the last image. The nearest to it here, which reads the
photographs in their own aspect, and divides by the number of classes that it has means of::

    --features dinov2 --temperature inf --balance 0 --upsampling nearest --voting labels --rule published --absent zero
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from benchmarks.nvos import in_frame_of
from benchmarks.umd_layout import AFFORDANCES, ClutterScene, TrueMap, affordance_examples, find_scenes, read_true_map
from splatseg_ns.cli.console import output, progress, say, table
from splatseg_ns.cli.inputs import ProfileName
from splatseg_ns.lift import Labels, render_label_map, render_shares
from splatseg_ns.masks.examples import Examples
from splatseg_ns.masks.memory_bank import Knn, MemoryBank
from splatseg_ns.masks.resize import fit_label_map
from splatseg_ns.masks.upsample import Upsampling
from splatseg_ns.raster import Rasterizer, one_torch_thread, rasterizer_for
from splatseg_ns.scene import (
    Camera,
    Capture,
    Splats,
    View,
    atomic_write,
    error_line,
    match_names,
    read_ply,
    render_profile,
)
from splatseg_ns.segmentation.part_scores import ClassScore, ClassScores
from splatseg_ns.segmentation.transfer import Classifier, NothingKnownError, Transfer, Voting, transfer
from splatseg_ns.segmentation.transfer_recipe import FeatureConfig

PUBLISHED_SHARE = 64 / 255
"""Of a pixel: a class that has more covers it by the published rule."""

IDS = torch.tensor(list(AFFORDANCES))  # [C] int64

Rule = Literal["argmax", "published"]
"""argmax: a pixel is of its strongest class; published: of every class that has more than 64/255 of it."""

Absent = Literal["leave-out", "zero"]
"""Of an image that does not show a class: leave-out: it says nothing of it; zero: finding it there is an IoU of 0."""


@dataclass(frozen=True)
class SceneScores:
    """How good the classes of one scene are."""

    views: int
    """That voted."""

    judged: int
    automatic: int
    """Frames that no person has annotated."""

    without_view: int
    """Frames that a person has annotated, but the capture has no view of."""

    alone: ClassScores
    together: ClassScores


class AffordanceTally:
    """Collects what each image says about each class; several classes may cover a pixel."""

    def __init__(self, absent: Absent) -> None:
        self._absent: Absent = absent
        self._recalls: dict[int, list[float]] = {id: [] for id in AFFORDANCES}
        self._ious: dict[int, list[float]] = {id: [] for id in AFFORDANCES}

    def add(
        self,
        covered: Tensor,  # [C, H, W] bool, by each of IDS
        truth: Tensor,  # [H, W] integer
        counts: Tensor,  # [H, W] bool, False: the picture is not to be used there
    ) -> None:
        """Compare one image with the truth."""
        for id, mask in zip(AFFORDANCES, covered, strict=True):
            true, ours = (truth == id) & counts, mask & counts
            shared, shown = int((true & ours).sum()), int(true.sum())
            if shown:
                self._recalls[id].append(shared / shown)
                self._ious[id].append(shared / int((true | ours).sum()))
            elif self._absent == "zero" and bool(ours.any()):
                self._ious[id].append(0.0)

    def scores(self) -> ClassScores:
        """The means so far; a class that no image shows has none."""
        return ClassScores(
            tuple(
                ClassScore(name, len(self._recalls[id]), _mean(self._recalls[id]), _mean(self._ious[id]))
                if self._recalls[id]
                else ClassScore(name, 0, None, None)
                for id, name in AFFORDANCES.items()
            )
        )


@dataclass(frozen=True, eq=False)
class Judge:
    """What all scenes are judged by."""

    rasterizer: Rasterizer
    classifier: Classifier
    rule: Rule
    absent: Absent
    profile: str
    alone: AffordanceTally
    """Of the images of all scenes."""

    together: AffordanceTally

    def scores(self, scene: ClutterScene) -> SceneScores:
        """Let all views of a scene vote, and judge its frames."""
        capture = Capture.load(scene.capture)
        by_hand, automatic = maps_by_hand(scene)
        labelled = with_true_maps(capture, by_hand, scene)
        splats = read_ply(scene.ply, profile=render_profile(self.profile)).to(self.rasterizer.device)
        views = in_frame_of(self.rasterizer, splats, labelled, scene.ply).views
        with progress(scene.name) as report:
            try:
                found = transfer(self.rasterizer, splats, views, self.classifier, progress=report)
            except NothingKnownError as error:
                raise ValueError(
                    f"{scene.capture}: {error}; lower --least-similarity, or give other examples"
                ) from error
        judged = [view for view in views if view.label_source is not None]
        alone, together = AffordanceTally(self.absent), AffordanceTally(self.absent)
        with progress(f"{scene.name}, judged") as report:
            for done, view in enumerate(judged, 1):
                truth, counts = true_ids(view), usable(view)
                said = said_alone(self.classifier, view)
                drawn = said_together(self.rasterizer, splats, view.camera, found.labels, self.rule)
                for covered, tallies in ((said, (alone, self.alone)), (drawn, (together, self.together))):
                    for tally in tallies:
                        tally.add(covered, truth, counts)
                report(done, len(judged))
        without_view = len(by_hand) - len(judged)
        return SceneScores(len(views), len(judged), automatic, without_view, alone.scores(), together.scores())


@dataclass(kw_only=True)
class Benchmark:
    """Carry affordances into the clutter scenes, and judge them."""

    root: Path
    """The folder with everything, see above."""

    examples: Path | None = None
    """Annotated pictures; by default the folder examples of the root."""

    scenes: tuple[str, ...] = ()
    """Some scenes; all that are there by default."""

    rule: Rule = "argmax"
    """argmax: a pixel is of its strongest class in 3D; published: of every class that has more than 64/255 of it."""

    absent: Absent = "leave-out"
    """An image that does not show a class says nothing of it, or zero: finding it there is an IoU of 0."""

    voting: Voting = Transfer.voting
    upsampling: Upsampling = Transfer.upsampling
    gamma: float = Transfer.gamma
    features: Annotated[FeatureConfig, tyro.conf.arg(name="")] = field(default_factory=FeatureConfig)
    knn: Annotated[Knn, tyro.conf.arg(name="")] = field(default_factory=Knn)
    profile: ProfileName = "gsplat-1.4"
    """What trained the splats."""

    device: str = "cpu"
    """cpu or cuda."""

    json: Path | None = None
    """A file for all results."""

    def run(self) -> None:
        """Print a table of each scene and one of all."""
        scenes = find_scenes(self.root, self.scenes)
        extractor = self.features.extractor(self.device)
        examples = Examples.open(self.root / "examples" if self.examples is None else self.examples)
        bank = MemoryBank.of(extractor, affordance_examples(examples))
        judge = Judge(
            rasterizer_for(self.device),
            Classifier(extractor, bank, Transfer(self.knn, self.upsampling, self.voting, self.gamma)),
            self.rule,
            self.absent,
            self.profile,
            AffordanceTally(self.absent),
            AffordanceTally(self.absent),
        )
        settings = (
            f"features {extractor.name}, {self.knn}, {self.upsampling}, {self.voting}, gamma {self.gamma}, "
            f"rule {self.rule}, absent {self.absent}, profile {self.profile}"
        )
        say(settings)
        say(f"{len(bank)} patches of {len(examples)} examples{_not_annotated(bank)}")
        results: dict[str, SceneScores] = {}
        for scene in scenes:
            results[scene.name] = scores = judge.scores(scene)
            print_scores(scene.name, scores.alone, scores.together)
            say(
                f"{scores.views} views voted, {scores.judged} were judged; left out are {scores.automatic} automatic "
                f"frames and {scores.without_view} without a view"
            )
        alone, together = judge.alone.scores(), judge.together.scores()
        print_scores("all scenes", alone, together)
        if self.json is not None:
            content = {"settings": settings, **_as_json(alone, together), "scenes": _scenes_as_json(results)}
            with atomic_write(self.json) as stream:
                stream.write(json.dumps(content, indent=1).encode())


def maps_by_hand(scene: ClutterScene) -> tuple[dict[str, TrueMap], int]:
    """The true maps that a person has drawn, by frame, and how many others there are."""
    by_hand = {frame: found for frame, path in scene.labels.items() if not (found := read_true_map(path)).automatic}
    automatic = len(scene.labels) - len(by_hand)
    if not by_hand:
        folder = next(iter(scene.labels.values())).parent
        raise ValueError(
            f"{folder}: all {automatic} label files are automatic; the evaluation needs frames drawn by hand"
        )
    return by_hand, automatic


def with_true_maps(capture: Capture, by_hand: Mapping[str, TrueMap], scene: ClutterScene) -> Capture:
    """The capture with the true maps of its frames, and no others."""
    found = match_names(capture.names, by_hand)
    if not found:
        raise ValueError(
            f"{scene.capture}: no view is called like an annotated frame, as {next(iter(by_hand))}; the views are "
            f"called {', '.join(capture.names[:3])}, ...: take a capture with the original names of the pictures"
        )

    def source(view: View) -> Callable[[], Tensor] | None:
        if (true := found.get(view.name)) is None:
            return None
        fitting = fit_label_map(true.labels, (view.width, view.height), str(true.path))
        return lambda: fitting

    return replace(capture, views=tuple(replace(view, label_source=source(view)) for view in capture))


def said_alone(classifier: Classifier, view: View) -> Tensor:  # [C, H, W] bool
    """Where the picture of a view alone has each of IDS."""
    return classifier.label_map(classifier.shares(view.image())) == IDS[:, None, None]


def said_together(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    labels: Labels,
    rule: Rule,
) -> Tensor:  # [C, H, W] bool
    """Where the classes of the Gaussians are seen, for each of IDS."""
    if rule == "published":
        return render_shares(rasterizer, splats, camera, labels, IDS).permute(2, 0, 1).cpu() > PUBLISHED_SHARE
    return render_label_map(rasterizer, splats, camera, labels, IDS).cpu() == IDS[:, None, None]


def true_ids(view: View) -> Tensor:  # [H, W] integer
    """The true map of a judged view."""
    truth = view.label_map()
    assert truth is not None
    return truth


def usable(view: View) -> Tensor:  # [H, W] bool
    """Where the picture of a view is to be used."""
    valid = view.valid_mask()
    return torch.ones(view.camera.height, view.camera.width, dtype=torch.bool) if valid is None else valid


def print_scores(what: str, alone: ClassScores, together: ClassScores) -> None:
    """A row for each class, and the means over those that are shown."""
    rows = table(f"Affordances of {what}", "id", "class", "images", "2D recall", "IoU", "3D recall", "IoU")
    for id, single, joint in zip(AFFORDANCES, alone.classes, together.classes, strict=True):
        cells = (single.recall, single.iou, joint.recall, joint.iou)
        rows.add_row(str(id), single.name, str(single.views), *map(_percent, cells))
    means = (alone.recall, alone.iou, together.recall, together.iou)
    rows.add_row("", "mean", "", *map(_percent, means))
    output().print(rows)


def main(words: Sequence[str] | None = None) -> int:
    """0 only if everything was judged."""
    benchmark = tyro.cli(Benchmark, prog="python -m benchmarks.umd", description=__doc__, args=words)
    try:
        with one_torch_thread():
            benchmark.run()
    except (ValueError, LookupError, OSError, RuntimeError, ImportError) as error:
        print(f"benchmarks.umd: {error_line(error)}", file=sys.stderr)
        return 1
    return 0


def _not_annotated(bank: MemoryBank) -> str:
    lacking = [name for id, name in AFFORDANCES.items() if id not in bank.classes]
    return f"; none shows {', '.join(lacking)}" if lacking else ""


def _scenes_as_json(results: Mapping[str, SceneScores]) -> dict[str, Any]:
    return {
        name: {
            **{key: value for key, value in asdict(scores).items() if isinstance(value, int)},
            **_as_json(scores.alone, scores.together),
        }
        for name, scores in results.items()
    }


def _as_json(alone: ClassScores, together: ClassScores) -> dict[str, Any]:
    return {"2d": alone.as_json(), "3d": together.as_json()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
