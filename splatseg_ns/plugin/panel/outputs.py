"""Nerfstudio's output type, switched to what helps and back again."""

from __future__ import annotations

from nerfstudio.viewer.control_panel import ControlPanel


class OutputSwitch:
    """Chooses the output type as long as the user does not."""

    def __init__(self, control_panel: ControlPanel) -> None:
        # Nerfstudio has no other way to it.
        self._dropdown = control_panel._output_render
        self._before: str | None = None
        self._ours: str | None = None

    def want(self, output: str | None) -> None:
        """Show this output; None: what was shown before, unless the user has chosen something else meanwhile."""
        current = self._dropdown.value
        if self._ours is not None and current != self._ours:
            # The user's choice stands until something else is wanted.
            if output == self._ours:
                return
            self._ours = self._before = None
        if output is None:
            if self._ours is not None and self._before is not None:
                self._show(self._before)
            self._ours = self._before = None
        elif output != current and output in self._dropdown.options:
            if self._ours is None:
                self._before = current
            self._ours = output
            self._show(output)

    def _show(self, output: str) -> None:
        if output in self._dropdown.options:
            self._dropdown.value = output
