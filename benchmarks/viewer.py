"""Pictures a second in the viewer, with no browser: ``python -m benchmarks.viewer --load-config RUN``.

The run is opened as ns-viewer does, and the thread's method that renders for a browser is called along a path through
the training views: Nerfstudio's, for which the model makes all outputs, and this plugin's, which has those made that
are shown, in turns, at the same size. ``splatseg attach`` makes a run of a .ply and its capture.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from nerfstudio.cameras.camera_utils import get_interpolated_poses
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from nerfstudio.utils.eval_utils import eval_setup
from nerfstudio.viewer.render_state_machine import RenderStateMachine
from nerfstudio.viewer.utils import CameraState
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer

from benchmarks.raster import Report, processor
from benchmarks.segmenter import in_turns
from splatseg_ns.plugin.display import PLAIN_LOOK, Accent, Look
from splatseg_ns.plugin.model import SplatsegModel
from splatseg_ns.plugin.moving import GOOD_SIDE, LEAST_RATE, PacedStateMachine
from splatseg_ns.segmentation import SceneObject, Segmentation

HIDDEN_SHARE = 0.1
"""Of the Gaussians, in an object in the middle of the scene."""


@dataclass(frozen=True)
class Case:
    """What the viewer shows."""

    name: str
    outputs: tuple[str, ...]
    """The second one is in the right half of a split picture."""

    hidden: bool = False
    look: Look = PLAIN_LOOK


def cases(document: Segmentation) -> list[Case]:
    """What is measured."""
    accent = Accent((0, 255, 255), document.rows("middle").float())
    return [
        Case("rgb", ("rgb",)),
        Case("objects, one hidden", ("objects",), hidden=True),
        Case("objects, one hidden with a ghost and selected", ("objects",), hidden=True, look=Look(0.1, accent)),
        Case("segmentation", ("segmentation",)),
        Case("rgb beside segmentation", ("rgb", "segmentation")),
    ]


def middle_object(model: SplatsegModel) -> Segmentation:
    """A document with one object: what is nearest to the middle of the scene."""
    splats = model.splats()
    distance = (splats.means - splats.means.median(dim=0).values).norm(dim=1)
    labels = (distance <= distance.quantile(HIDDEN_SHARE)).long()
    return Segmentation.of(splats, labels, [SceneObject.new(1, "middle")])


def path_of(pipeline: VanillaPipeline, pictures: int, field_of_view: float, aspect: float) -> list[CameraState]:
    """Views on the way along the training views, one after the other."""
    dataset = pipeline.datamanager.train_dataset
    assert dataset is not None
    names = list(dataset.image_filenames)
    order = sorted(range(len(names)), key=lambda place: names[place])
    poses = dataset.cameras.camera_to_worlds[order].double().numpy()
    states = []
    for number in range(pictures):
        place, part = divmod(number * (len(poses) - 1), pictures)
        pose = get_interpolated_poses(poses[place], poses[place + 1], pictures + 1)[part]
        states.append(
            CameraState(math.radians(field_of_view), aspect, torch.as_tensor(pose).float(), CameraType.PERSPECTIVE)
        )
    return states


class Stage:
    """A viewer with no browser, and the state machine that one would have: Nerfstudio's, and ours."""

    def __init__(self, viewer: Viewer, model: SplatsegModel, document: Segmentation, path: list[CameraState]) -> None:
        client: Any = SimpleNamespace()
        self.viewer = viewer
        self.path = path
        self.theirs = RenderStateMachine(viewer, VISER_NERFSTUDIO_SCALE_RATIO, client)
        self.ours = PacedStateMachine(viewer, VISER_NERFSTUDIO_SCALE_RATIO, client)
        self._model = model
        self._document = document

    def show(self, case: Case) -> None:
        """Have the model and the control panel show this."""
        entry = self._document.object("middle")
        document = self._document.with_objects(replace(entry, visible=not case.hidden))
        self._model.show(document, look=case.look)
        panel, (left, *right) = self.viewer.control_panel, case.outputs
        panel._output_render.value = left
        panel._split.value = bool(right)
        panel._split_output_render.value = right[0] if right else left

    def moving(self, machine: RenderStateMachine, side: int) -> Callable[[], None]:
        """What renders the whole path at this size."""
        return lambda: self._render(machine, "low_move", side)

    def still(self, machine: RenderStateMachine) -> Callable[[], None]:
        """What renders the whole path in full resolution."""
        return lambda: self._render(machine, "high", self.viewer.control_panel.max_res)

    def chosen_side(self) -> int:
        """The longer side that moving pictures come to have."""
        machine = PacedStateMachine(self.viewer, VISER_NERFSTUDIO_SCALE_RATIO, self.ours.client)
        machine.state = "low_move"
        sides = [max(machine._render_img(state)["rgb"].shape[:2]) for state in self.path]
        return sides[-1]

    def _render(self, machine: RenderStateMachine, state: Any, side: int) -> None:
        machine.state = state
        aspect = self.path[0].aspect
        size = (int(side / aspect), side) if aspect > 1.0 else (side, int(side * aspect))
        machine._calculate_image_res = lambda aspect_ratio: size
        for view in self.path:
            machine._render_img(view)


def report_case(stage: Stage, case: Case, rounds: int, side: int) -> list[str]:
    """One row of the table."""
    stage.show(case)
    jobs = {
        "theirs, moving": stage.moving(stage.theirs, side),
        "ours, moving": stage.moving(stage.ours, side),
        "theirs, still": stage.still(stage.theirs),
        "ours, still": stage.still(stage.ours),
    }
    count = len(stage.path)
    seconds = {name: (wall / count, cpu / count) for name, (wall, cpu) in in_turns(jobs, rounds).items()}
    cells = [case.name]
    for what in ("moving", "still"):
        (their_wall, their_cpu), (wall, cpu) = seconds[f"theirs, {what}"], seconds[f"ours, {what}"]
        cells += [f"{their_wall * 1e3:.1f} ({their_cpu * 1e3:.1f})", f"{wall * 1e3:.1f} ({cpu * 1e3:.1f})"]
        cells.append(f"{their_wall / wall:.1f} ({their_cpu / cpu:.1f})")
    rate = 1.0 / seconds["ours, moving"][0]
    return [*cells, f"{rate:.1f}", str(stage.chosen_side())]


def opened(config_file: Path) -> tuple[VanillaPipeline, SplatsegModel]:
    """A run as ns-viewer opens it."""
    _, pipeline, _, _ = eval_setup(config_file, test_mode="test")
    model = pipeline.model
    if not isinstance(pipeline, VanillaPipeline) or not isinstance(model, SplatsegModel):
        raise SystemExit(f"{config_file}: not a run of splatseg; make one of it with splatseg attach")
    return pipeline, model


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a run of splatseg")
    parser.add_argument("--pictures", type=int, default=24, help="on the path")
    parser.add_argument("--rounds", type=int, default=5, help="of which the fastest counts")
    parser.add_argument("--side", type=int, default=GOOD_SIDE, help="the longer one of a moving picture, in pixels")
    parser.add_argument("--max-res", type=int, default=512, help="the longer side of a still picture")
    parser.add_argument("--aspect", type=float, default=4 / 3, help="width by height")
    parser.add_argument("--fov", type=float, default=75.0, help="from top to bottom, in degrees; 75 is a browser's")
    given = parser.parse_args(arguments)
    report = Report()
    pipeline, model = opened(given.load_config)
    document = middle_object(model)
    # Without the panel, which would go on with what the run's document says.
    bare: Any = SimpleNamespace(model=model, datamanager=SimpleNamespace(includes_time=False))
    with TemporaryDirectory() as folder:
        viewer = Viewer(ViewerConfig(), Path(folder) / "viewer.log", Path(folder), bare, train_lock=threading.Lock())
    viewer.control_panel._max_res.value = given.max_res
    viewer.control_panel.update_output_options(["rgb", "objects", "segmentation"])
    stage = Stage(viewer, model, document, path_of(pipeline, given.pictures, given.fov, given.aspect))
    load = os.getloadavg()[0]
    report.say(f"{datetime.date.today()}, {processor()}, {len(document)} Gaussians, load {load:.1f} at the start")
    report.say(
        f"Wall ms (CPU ms) of a picture, the least of {given.rounds} rounds; moving: longer side {given.side} pixels, "
        f"still: {given.max_res}; beside Nerfstudio's way, how many times as fast."
    )
    report.say()
    rows = [report_case(stage, case, given.rounds, given.side) for case in cases(document)]
    report.table(
        ["shown", "moving, Nerfstudio's", "ours", "ratio", "still, Nerfstudio's", "ours", "ratio", "a second", "side"],
        rows,
    )
    for row in rows:
        report.target(f"{row[0]}, moving", float(row[-2]), LEAST_RATE, " a second", at_least=True)
    viewer.viser_server.stop()


if __name__ == "__main__":
    main()
