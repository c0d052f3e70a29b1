"""What the viewer renders while the camera moves and when it rests."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.utils.writer import GLOBAL_BUFFER, EventName
from nerfstudio.viewer.render_state_machine import RenderAction
from nerfstudio.viewer.viewer import Viewer
from nerfstudio.viewer_legacy.server.viewer_utils import IOChangeException

from splatseg_ns.plugin.model import SplatsegModel
from splatseg_ns.plugin.moving import (
    GOOD_SIDE,
    LEAST_RATE,
    LEAST_SIDE,
    MOST_RATE,
    WANTED_RATE,
    MovingSize,
    PacedStateMachine,
    install,
    refresh,
)
from splatseg_ns.plugin.pictures import Pictures, current_wish
from tests.plugin.examples import document_of, halves, model_of
from tests.raster.scenes import cloud

MOST = 1024


def after(size: MovingSize, seconds: Callable[[int], float], pictures: int = 40, most: int = MOST) -> list[int]:
    """The sides of pictures that take as long as the function says."""
    sides = []
    for _ in range(pictures):
        sides.append(size.side(most))
        size.note(sides[-1], seconds(sides[-1]))
    return sides


def pixels(rate: float) -> Callable[[int], float]:
    """A machine that makes so many pictures with a side of ``GOOD_SIDE`` a second."""
    return lambda side: (side / GOOD_SIDE) ** 2 / rate


def test_a_machine_that_is_fast_enough_draws_the_good_side_until_it_could_draw_much_more():
    for rate in (LEAST_RATE + 0.01, WANTED_RATE, MOST_RATE - 0.01):
        assert set(after(MovingSize(), pixels(rate))) == {GOOD_SIDE}


@pytest.mark.parametrize("rate", [2.0, 4.0, 7.0, 20.0, 40.0])
def test_pictures_come_at_the_wanted_rate_whatever_the_machine(rate: float):
    side = after(MovingSize(), pixels(rate))[-1]
    assert side < GOOD_SIDE if rate < LEAST_RATE else side > GOOD_SIDE
    assert LEAST_RATE <= 1.0 / pixels(rate)(side) <= MOST_RATE


def test_what_does_not_depend_on_the_size_changes_the_way_and_not_the_end():
    for fixed in (0.02, 0.05):
        sides = after(MovingSize(), lambda side, fixed=fixed: fixed + 0.1 * (side / GOOD_SIDE) ** 2)
        last = fixed + 0.1 * (sides[-1] / GOOD_SIDE) ** 2
        assert sides[-10:] == sides[-1:] * 10
        assert LEAST_RATE <= 1.0 / last <= MOST_RATE


def test_sides_have_bounds():
    assert after(MovingSize(), lambda side: 10.0)[-1] == LEAST_SIDE
    assert after(MovingSize(), lambda side: 0.0)[-1] == MOST
    assert after(MovingSize(), lambda side: 10.0, most=100)[-1] == 100
    assert set(after(MovingSize(), lambda side: 1e-3, most=200)) == {200}


def test_one_picture_that_was_held_up_changes_nothing_and_a_slower_machine_does_at_once():
    size = MovingSize()
    steady = after(size, pixels(24.0))[-1]
    size.note(steady, 5.0)
    assert set(after(size, pixels(24.0))) == {steady}
    slower = after(size, pixels(3.0), pictures=10)
    assert slower[4] < steady and slower[-1] < GOOD_SIDE
    assert after(size, pixels(WANTED_RATE))[-1] == GOOD_SIDE


def test_times_that_tremble_do_not_make_the_size_flicker():
    random = np.random.default_rng(0)
    for rate in (6.0, 11.0, 25.0):
        size = MovingSize()
        after(size, pixels(rate))
        sides = after(size, lambda side, rate=rate: pixels(rate)(side) * random.uniform(0.95, 1.1), pictures=100)
        assert len(set(sides)) == 1


class Client:
    """Stands for a browser: keeps the pictures that it was sent."""

    def __init__(self, client_id: int = 0, aspect: float = 4 / 3) -> None:
        self.client_id = client_id
        self.camera = SimpleNamespace(
            fov=math.radians(60),
            aspect=aspect,
            wxyz=np.array([1.0, 0.0, 0.0, 0.0]),
            position=np.zeros(3),
            on_update=lambda callback: callback,
        )
        self.scene = SimpleNamespace(set_background_image=self._keep)
        self.sent: list[tuple[int, int]] = []
        self.pictures: list[np.ndarray] = []
        self._came = threading.Condition()

    def _keep(self, image: np.ndarray, **options: Any) -> None:
        with self._came:
            self.pictures.append(image)
            self.sent.append(image.shape[:2])
            self._came.notify_all()

    def wait_for(self, count: int) -> None:
        """Until so many pictures have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.sent) >= count, timeout=20), self.sent


@pytest.fixture
def model() -> SplatsegModel:
    splats = cloud(60, 5, size=0.2, degree=1)
    model = model_of(splats)
    model.show(document_of(splats, halves(splats), hidden=(1,)))
    return model


@pytest.fixture
def viewer(model: SplatsegModel, tmp_path: Path) -> Iterator[Viewer]:
    """Nerfstudio's own, on a pipeline with nothing but the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipeline: Any = SimpleNamespace(model=model, datamanager=SimpleNamespace(includes_time=False))
    # viser looks each of them up among 5,000 in an archive.
    with (
        mock.patch("viser._gui_api.svg_from_icon", return_value=""),
        mock.patch("viser._gui_handles.svg_from_icon", return_value=""),
    ):
        viewer = Viewer(
            ViewerConfig(websocket_port=port, websocket_host="127.0.0.1"),
            log_filename=tmp_path / "viewer.log",
            datapath=tmp_path,
            pipeline=pipeline,
            train_lock=threading.Lock(),
        )
    yield viewer
    for machine in viewer.render_statemachines.values():
        machine.running = False
    viewer.viser_server.stop()


def connected(viewer: Viewer, client: Client) -> PacedStateMachine:
    """The browser's state machine."""
    browser: Any = client
    viewer.handle_new_client(browser)
    machine = viewer.render_statemachines[client.client_id]
    assert isinstance(machine, PacedStateMachine)
    return machine


def state_of(viewer: Viewer, client: Client) -> Any:
    browser: Any = client
    return viewer.get_camera_state(browser)


def test_pictures_are_smaller_while_the_camera_moves_and_full_when_it_rests(viewer: Viewer):
    install(viewer)
    client = Client()
    machine = connected(viewer, client)
    client.wait_for(1)
    # It starts at rest, and a single move is not lost.
    assert client.sent == [(384, 512)]
    machine.action(RenderAction("move", state_of(viewer, client)))
    client.wait_for(3)
    assert client.sent[1:] == [(288, 384), (384, 512)]


def test_a_refresh_draws_in_full_at_once_where_the_camera_rests(viewer: Viewer, model: SplatsegModel):
    install(viewer)
    client = Client()
    machine = connected(viewer, client)
    client.wait_for(1)
    model.show(None)
    # The viewer knows of no browser but in here, so that its own wish to draw anew goes nowhere.
    with (
        mock.patch.object(viewer.viser_server, "get_clients", return_value={0: client}),
        mock.patch.object(machine, "action") as action,
    ):
        refresh(viewer)
    (asked,) = [call.args[0] for call in action.mock_calls if call.args[0].action != "move"]
    machine.action(asked)
    client.wait_for(2)
    assert client.sent == [(384, 512)] * 2 and not np.array_equal(*client.pictures)


def test_a_refresh_is_not_forgotten_by_a_machine_that_has_just_found_nothing_to_do(viewer: Viewer):
    install(viewer)
    viewer.ready = False
    client = Client()
    machine = connected(viewer, client)
    state = state_of(viewer, client)
    machine.state = "high"
    machine.redraw(state)
    machine.action(RenderAction("static", state))
    assert machine.next_action is not None and machine.next_action.action == "step"
    viewer.ready = True
    client.wait_for(1)
    machine.action(RenderAction("static", state))
    assert machine.next_action is None or machine.next_action.action == "static"


def test_browsers_that_are_there_already_are_taken_over(viewer: Viewer):
    client = Client(3)
    browser: Any = client
    viewer.ready = False
    viewer.handle_new_client(browser)
    before = viewer.render_statemachines[3]
    install(viewer)
    assert not before.running and isinstance(viewer.render_statemachines[3], PacedStateMachine)
    viewer.ready = True
    client.wait_for(1)
    viewer.handle_disconnect(browser)
    assert not viewer.render_statemachines


def test_only_what_is_shown_is_made_under_the_lock(viewer: Viewer):
    install(viewer)
    viewer.ready = False
    client = Client()
    machine = connected(viewer, client)
    state = state_of(viewer, client)
    panel = viewer.control_panel

    def made() -> set[str]:
        pictures = machine._render_img(state)
        assert isinstance(pictures, Pictures)
        return set(pictures.made()) - {"background", "gl_z_buf_depth"}

    # Nothing has been chosen yet, and something is hidden.
    assert made() == {"objects", "depth"}
    panel.update_output_options(["rgb", "objects", "segmentation", "depth"])
    panel._output_render.value = "rgb"
    assert made() == {"rgb", "depth"}
    panel._split.value = True
    panel._split_output_render.value = "segmentation"
    assert made() == {"rgb", "segmentation", "depth"}
    panel._split.value = False
    panel._layer_depth.value = False
    assert made() == {"rgb"}


def test_markers_hide_behind_what_is_shown(viewer: Viewer, model: SplatsegModel):
    install(viewer)
    viewer.ready = False
    client = Client()
    machine = connected(viewer, client)
    machine.state = "high"
    state, panel = state_of(viewer, client), viewer.control_panel
    panel.update_output_options(["rgb", "objects", "depth"])
    depths = {}
    for name in ("rgb", "objects", "depth"):
        panel._output_render.value = name
        depths[name] = machine._render_img(state)["gl_z_buf_depth"]
    assert torch.equal(depths["rgb"], depths["depth"]) and not torch.equal(depths["rgb"], depths["objects"])


def test_only_a_full_picture_is_interrupted(viewer: Viewer):
    install(viewer)
    viewer.ready = False
    client = Client()
    machine = connected(viewer, client)
    state = state_of(viewer, client)
    machine.state, machine.interrupt_render_flag = "high", True
    with pytest.raises(IOChangeException):
        machine._render_img(state)
    assert current_wish() is None and viewer.train_lock is not None and not viewer.train_lock.locked()
    machine.state, machine.interrupt_render_flag = "low_move", True
    assert machine._render_img(state)["rgb"].shape == (288, 384, 3) and not machine.interrupt_render_flag


def test_the_sizes_of_moving_pictures_are_ours_on_a_cpu_even_where_nerfstudio_has_measured(viewer: Viewer):
    install(viewer)
    viewer.ready = False
    machine = connected(viewer, Client())
    machine.state = "low_move"
    events = {"events": {EventName.VIS_RAYS_PER_SEC.value: {"avg": 30 * 64 * 64}}}
    with (
        mock.patch("nerfstudio.utils.writer.is_initialized", return_value=True),
        mock.patch.dict(GLOBAL_BUFFER, events),
    ):
        assert machine._calculate_image_res(16 / 9) == (216, 384)
        assert machine._calculate_image_res(0.5) == (384, 192)
        gpu = SimpleNamespace(device=torch.device("cuda"))
        with mock.patch.object(viewer, "get_model", return_value=gpu):
            assert machine._calculate_image_res(1.0) == (60, 60)


def test_a_slow_picture_makes_the_next_moving_one_smaller(viewer: Viewer, model: SplatsegModel):
    install(viewer)
    viewer.ready = False
    client = Client()
    machine = connected(viewer, client)
    machine.state = "low_move"
    state = state_of(viewer, client)
    render = model._engine().render

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(0.15)
        return render(*args, **options)

    with mock.patch.object(model, "_engine", return_value=SimpleNamespace(render=slow)):
        assert machine._render_img(state)["rgb"].shape == (288, 384, 3)
    height, width = machine._render_img(state)["rgb"].shape[:2]
    assert LEAST_SIDE <= width < GOOD_SIDE and height == int(width * 3 / 4)
