"""What Nerfstudio's viewer renders for each browser: only what it shows, and as large as keeps up with the camera."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Any

from nerfstudio.viewer.render_state_machine import RenderAction, RenderStateMachine
from nerfstudio.viewer.utils import CameraState
from nerfstudio.viewer.viewer import Viewer

from splatseg_ns.plugin.pictures import Pictures, Wish, wishing

GOOD_SIDE = 384
"""The longer side, in pixels, that a moving picture should have."""

LEAST_SIDE = 128
"""Below that nobody sees where the camera goes, and a smaller picture is hardly made sooner."""

LEAST_RATE = 10.0
"""Pictures a second below which they become smaller."""

WANTED_RATE = 12.0
"""Pictures a second that a new size is chosen for."""

MOST_RATE = 16.0
"""Pictures a second above which they become larger."""

_STEP = 32
"""Sides are multiples of that."""

_REMEMBERED = 5
_MOST_CHANGE = 2.0
"""The factor that one picture can ask for, however long it took."""


class MovingSize:
    """How long the longer side of a picture may be while the camera moves, by how long the last pictures took.

    As if the time were in proportion to the pixels: what does not depend on them makes the way longer, not the end
    another one. The median of a few pictures decides, so that one that was held up changes nothing, and a size stays
    while the rate is neither too low nor much too high, so that it does not flicker.
    """

    def __init__(self) -> None:
        self._fitting: deque[float] = deque(maxlen=_REMEMBERED)
        self._side = GOOD_SIDE

    def note(self, side: int, seconds: float) -> None:
        """Tell how long a picture with this longer side took."""
        change = (WANTED_RATE * max(seconds, 1e-6)) ** -0.5
        self._fitting.append(side * min(max(change, 1.0 / _MOST_CHANGE), _MOST_CHANGE))
        fitting = median(self._fitting)
        rate = WANTED_RATE * (fitting / self._side) ** 2
        if rate < LEAST_RATE or rate > MOST_RATE or self._side < GOOD_SIDE <= fitting:
            self._side = max(int(fitting // _STEP) * _STEP, LEAST_SIDE)
            if self._side < GOOD_SIDE and WANTED_RATE * (fitting / GOOD_SIDE) ** 2 >= LEAST_RATE:
                self._side = GOOD_SIDE

    def side(self, most: int) -> int:
        """Of the next picture, in pixels; ``most`` is what a still picture has."""
        return min(self._side, most)


class PacedStateMachine(RenderStateMachine):
    """Nerfstudio's, but only the outputs that the viewer shows are rendered, and on a CPU at a size that keeps up.

    A picture in full resolution follows as soon as the camera rests, without a second small one between. Only the full
    one can be interrupted: Nerfstudio's also drops the first small one after a rest, and runs slowly as Python calls
    back at every line.
    """

    def __init__(self, viewer: Viewer, viser_scale_ratio: float, client: Any) -> None:
        super().__init__(viewer, viser_scale_ratio, client)
        self.transitions["low_move"]["static"] = "high"
        self._moving_size = MovingSize()
        self._owed = False

    def redraw(self, camera_state: CameraState) -> None:
        """Draw anew: in full at once where the camera rests, with the next picture where it moves."""
        self._owed = True
        self.action(RenderAction("step", camera_state))

    def action(self, action: RenderAction) -> None:
        """Remember what is to be done next."""
        # Nerfstudio's own thread asks for "static" whenever it has nothing to do, which takes the place of a "step"
        # that has come in just then, and in this state means to do nothing.
        if action.action == "static" and self.state == "high" and self._owed:
            action = RenderAction("step", action.camera_state)
        super().action(action)

    def check_interrupt(self, frame: Any, event: str, arg: Any) -> Any:
        """What Python calls while a picture is made; None asks for no more calls from this function."""
        if self.state == "high":
            return super().check_interrupt(frame, event, arg)
        self.interrupt_render_flag = False
        return None

    def _calculate_image_res(self, aspect_ratio: float) -> tuple[int, int]:
        if self.state == "high" or self.viewer.get_model().device.type != "cpu":
            return super()._calculate_image_res(aspect_ratio)
        side = self._moving_size.side(self.viewer.control_panel.max_res)
        height, width = (side / aspect_ratio, side) if aspect_ratio > 1.0 else (side, side * aspect_ratio)
        return max(1, int(height)), max(1, int(width))

    def _render_img(self, camera_state: CameraState) -> Any:
        self._owed = False
        with wishing(self._wish()):
            pictures = super()._render_img(camera_state)
        assert isinstance(pictures, Pictures)
        if self.state != "high":
            self._moving_size.note(max(pictures["background"].shape[:2]), pictures.seconds)
        return pictures

    def _wish(self) -> Wish:
        """What the control panel says is shown."""
        panel = self.viewer.control_panel
        shown = (panel.output_render, *([panel.split_output_render] if panel.split else []))
        if not panel.layer_depth:
            return Wish(shown)
        return Wish((*shown, "depth"), depth_of="rgb" if "depth" in shown else panel.output_render)


class _Machines(dict[int, RenderStateMachine]):
    """The state machines of a viewer's browsers: what Nerfstudio puts here becomes a paced one before it starts."""

    def __setitem__(self, client_id: int, machine: RenderStateMachine) -> None:
        super().__setitem__(client_id, PacedStateMachine(machine.viewer, machine.viser_scale_ratio, machine.client))


def install(viewer: Viewer) -> None:
    """Have this viewer render so for all browsers, those that are connected already included."""
    before, machines = viewer.render_statemachines, _Machines()
    viewer.render_statemachines = machines
    for client_id, machine in list(before.items()):
        machine.running = False
        machines[client_id] = machine
        machines[client_id].start()


def refresh(viewer: Viewer) -> None:
    """Have all browsers draw anew; see ``PacedStateMachine.redraw``."""
    clients = viewer.viser_server.get_clients()
    for client_id, machine in list(viewer.render_statemachines.items()):
        if client_id in clients and isinstance(machine, PacedStateMachine):
            machine.redraw(viewer.get_camera_state(clients[client_id]))
