"""Clicks and boxes as things in the viewer's scene."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import viser
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

from splatseg_ns.segmentation.pointing import Mark

_COLORS = {"on": (40, 200, 80), "off": (230, 50, 50), "box": (60, 140, 255)}
_RADIUS = 0.008
"""Of the distance from the camera."""

_PER_EDGE = 12


class MarkLayer:
    """Shows marks."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._shown: list[tuple[Mark, viser.SceneNodeHandle]] = []

    def show(self, marks: Sequence[Mark]) -> None:
        """These, and no others."""
        wanted = set(map(id, marks))
        for mark, handle in self._shown:
            if id(mark) not in wanted:
                handle.remove()
        self._shown = [entry for entry in self._shown if id(entry[0]) in wanted]
        there = {id(mark) for mark, _ in self._shown}
        for mark in marks:
            if id(mark) not in there:
                self._shown.append((mark, self._drawn(mark)))

    def _drawn(self, mark: Mark) -> viser.SceneNodeHandle:
        points = np.stack([point.cpu().numpy() for point in mark.points]) * VISER_NERFSTUDIO_SCALE_RATIO
        name, color = f"/segmentation/{mark.kind}_{id(mark)}", _COLORS[mark.kind]
        if mark.kind == "box":
            corners = np.concatenate([points, points[:1]])
            shares = np.linspace(0.0, 1.0, _PER_EDGE, endpoint=False)[:, None]
            edges = [begin + shares * (end - begin) for begin, end in pairwise(corners)]
            return self._server.scene.add_spline_catmull_rom(
                name, np.concatenate(edges), closed=True, line_width=3.0, color=color
            )
        radius = _RADIUS * mark.depth * VISER_NERFSTUDIO_SCALE_RATIO
        position = (float(points[0, 0]), float(points[0, 1]), float(points[0, 2]))
        return self._server.scene.add_icosphere(name, radius=radius, color=color, position=position)
