"""From the words on the command line to the command: its module, its arguments, its errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import getdoc
from typing import NamedTuple, Protocol

PROGRAM = "splatseg"

_FAILED, _MISUSED, _INTERRUPTED = 1, 2, 130


class RunnableCommand(Protocol):
    """A dataclass whose fields are the arguments."""

    def run(self) -> None: ...


class CommandEntry(NamedTuple):
    """Where a command is found, and what it does."""

    module: str
    name: str
    summary: str


COMMANDS = {
    "demo": CommandEntry("splatseg_ns.cli.demo", "Demo", "Label, judge and export the bundled capture."),
    "attach": CommandEntry("splatseg_ns.cli.attach", "Attach", "Make a splatseg run of other splats."),
    "label": CommandEntry("splatseg_ns.cli.label", "Label", "Turn the masks of views into objects."),
    "click": CommandEntry("splatseg_ns.cli.click", "Click", "Make an object of what is clicked at."),
    "everything": CommandEntry(
        "splatseg_ns.cli.everything", "Everything", "Find all objects without being pointed at."
    ),
    "objects": CommandEntry("splatseg_ns.cli.objects", "Objects", "List, rename, show, hide, delete or merge objects."),
    "masks": CommandEntry("splatseg_ns.cli.masks", "Masks", "Write masks of the objects in any views."),
    "export": CommandEntry("splatseg_ns.cli.export", "Export", "Write objects as .ply files."),
    "extract": CommandEntry("splatseg_ns.cli.extract", "Extract", "Write objects as a run of their own."),
    "remove": CommandEntry("splatseg_ns.cli.remove", "Remove", "Write the scene without some objects, as a run."),
    "inpaint": CommandEntry("splatseg_ns.cli.inpaint", "Inpaint", "Fill in what removed objects hid, as a run."),
    "prune": CommandEntry("splatseg_ns.cli.prune", "Prune", "Write the scene without what its pictures can spare."),
    "transfer": CommandEntry(
        "splatseg_ns.cli.transfer", "Transfer", "Find parts of objects by a few annotated pictures."
    ),
    "eval": CommandEntry("splatseg_ns.cli.eval", "Eval", "Judge the objects by masks of held-out views."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 only if it did what it was asked for."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else _MISUSED
    if words[0] == "--version":
        from splatseg_ns import __version__

        print(f"{PROGRAM} {__version__}")
        return 0
    if words[0] not in COMMANDS:
        close = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(COMMANDS)}"
        print(f"{PROGRAM}: unknown command {words[0]!r}; {hint}", file=sys.stderr)
        return _MISUSED
    from splatseg_ns.scene import error_line

    try:
        command = _command(words[0], words[1:])
        from splatseg_ns.raster import one_torch_thread

        with one_torch_thread():
            command.run()
    except (ValueError, LookupError, OSError, RuntimeError, ImportError) as error:
        print(f"{PROGRAM} {words[0]}: {error_line(error)}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print(f"{PROGRAM} {words[0]}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _command(name: str, arguments: Sequence[str]) -> RunnableCommand:
    import tyro

    entry = COMMANDS[name]
    kind = getattr(import_module(entry.module), entry.name)
    return tyro.cli(kind, prog=f"{PROGRAM} {name}", description=getdoc(kind) or entry.summary, args=list(arguments))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {entry.summary}" for name, entry in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [options]",
            "",
            "Turns 2D masks into 3D objects in Gaussian-splat scenes.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help says what a command takes.",
        ]
    )
