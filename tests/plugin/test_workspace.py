"""A run's objects while they are worked on: every operation is on disk at once, and nothing else of the run changes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import numpy as np
import pytest
import torch
import tyro

from splatseg_ns.cli import main
from splatseg_ns.cli.export import Export
from splatseg_ns.cli.extract import Extract
from splatseg_ns.cli.objects import chosen_objects
from splatseg_ns.cli.remove import Remove
from splatseg_ns.demo.bundle import bundled_capture, bundled_splats
from splatseg_ns.edit import with_gamma
from splatseg_ns.lift import FlashSplat
from splatseg_ns.masks import CachedSegmenter, Embedding, LabelName
from splatseg_ns.plugin.after_training import label_splats
from splatseg_ns.plugin.attach import attach_splats
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.worker import Cancelled, Report
from splatseg_ns.plugin.workspace import EXPORTS, ChangedElsewhereError, Combination, Workspace, one_file
from splatseg_ns.raster import one_torch_thread, rasterizer_for
from splatseg_ns.scene import Capture, Splats, error_line, read_ply
from splatseg_ns.segmentation import EditingSession, Provenance, SceneObject, Segmentation, SegmentationStore
from splatseg_ns.segmentation.parts import parts_of_classes
from splatseg_ns.segmentation.prompts import FreeCamera, ObjectPrompts, ViewPrompts
from splatseg_ns.segmentation.propagate import FoundObject
from splatseg_ns.segmentation.transfer import Transferred
from tests.cli.examples import TEST_VIEWS, SceneOnDisk, change_json
from tests.lift.examples import votes_of
from tests.masks.fake_segmenter import PaintedSegmenter
from tests.plugin.examples import document_of, halves
from tests.segmentation.clicked import BLUE, GREEN, RED, ColourSegmenter
from tests.segmentation.examples import state
from tests.segmentation.test_pointing import HERE, THERE, middle

NAMES = ["red ball", "green ball", "blue ball"]
BAD_NAMES = ("../x", "/etc/passwd", "a/b", "..", "<b>x</b>", "x" * 400, "杯" * 200)


@pytest.fixture(scope="module", autouse=True)
def _few_threads() -> Iterator[None]:
    """The scenes are small: sharing them out among threads costs more than it brings."""
    with one_torch_thread():
        yield


def quiet(stage: str, done: int, total: int) -> None:
    """Nobody wants to know."""


def cancelling(stage: str, after: int = 0) -> Report:
    """Somebody presses Cancel after some steps of a stage."""
    steps = 0

    def report(current: str, done: int, total: int) -> None:
        nonlocal steps
        steps += current == stage
        if steps > after:
            raise Cancelled

    return report


class Painter(PaintedSegmenter):
    """Answers many questions at once about pictures of the balls as they are drawn."""

    def embed(self, image: torch.Tensor) -> Embedding:
        return super().embed(ColourSegmenter().embed(image).features[0])


class Desktop:
    """A run of the balls on the table, and workspaces on it."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self._folder = run, folder

    def open(self, saves: bool = True, segmenter: Any | None = None) -> Workspace:
        """As another program would, or the same one a second time."""
        asked = segmenter or ColourSegmenter()
        return Workspace(
            self.run,
            self.run.splats(),
            rasterizer_for("cpu"),
            saves=saves,
            segmenter=lambda device: CachedSegmenter(asked, self._folder / "cache" / asked.name),
        )

    def saved(self) -> Segmentation:
        """What is on disk."""
        return SegmentationStore(self.run.folder / "segmentation").load(self.run.splats())

    def files(self) -> dict[str, str]:
        """The digests of all files of the run but what it is meant to change."""
        return {
            str(path.relative_to(self.run.folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
            for path in self.run.folder.rglob("*")
            if path.is_file() and path.relative_to(self.run.folder).parts[0] not in ("segmentation", EXPORTS)
        }


@pytest.fixture(scope="module")
def labelled(scene: SceneOnDisk, tmp_path_factory: pytest.TempPathFactory) -> Segmentation:
    """The three balls, as their masks make them."""
    with one_torch_thread():
        folder = tmp_path_factory.mktemp("labelled") / "run"
        run = Run.open(attach_splats(scene.splats, Capture.load(scene.data), folder))
        return label_splats(run.splats(), run, rasterizer_for("cpu"), scene.masks, FlashSplat(), quiet)


def desktop_with(scene: SceneOnDisk, folder: Path, document: Segmentation | None) -> Desktop:
    config = attach_splats(scene.splats, Capture.load(scene.data), folder / "balls" / "splatseg" / "run", document)
    return Desktop(Run.open(config), folder)


@pytest.fixture
def bare(scene: SceneOnDisk, tmp_path: Path) -> Desktop:
    """Nothing is segmented."""
    return desktop_with(scene, tmp_path, None)


@pytest.fixture
def desktop(scene: SceneOnDisk, labelled: Segmentation, tmp_path: Path) -> Desktop:
    """The balls are labelled."""
    return desktop_with(scene, tmp_path, labelled)


@pytest.fixture
def workspace(desktop: Desktop) -> Workspace:
    return desktop.open()


# The document


def rename(id: int, name: str) -> Callable[[EditingSession], int]:
    return lambda session: session.rename(id, name)


OPERATIONS: dict[str, Callable[[EditingSession], Any]] = {
    "create": lambda session: session.create("half", halves_of(session)),
    "add": lambda session: session.add(1, halves_of(session)),
    "subtract": lambda session: session.subtract(3, torch.arange(len(session.document)) % 3 == 0),
    "rename": rename(1, "tomato"),
    "recolor": lambda session: session.recolor(2, (1, 2, 3)),
    "hide": lambda session: session.hide(0, 1),
    "show only": lambda session: session.show_only(3),
    "invert visible": lambda session: session.invert_visible(),
    "delete": lambda session: session.delete(2),
    "merge": lambda session: session.merge(1, 3),
    "grow": lambda session: session.grow(1),
    "shrink": lambda session: session.shrink(1),
    "intersect": lambda session: session.intersect(1, torch.arange(len(session.document)) % 3 == 0),
}


def halves_of(session: EditingSession) -> torch.Tensor:  # [N] bool
    return torch.arange(len(session.document)) % 2 == 0


def test_every_operation_is_saved_at_once_and_so_are_undo_and_redo(desktop: Desktop, workspace: Workspace):
    states = [state(desktop.saved())]
    for name, operation in OPERATIONS.items():
        workspace.do(operation)
        assert state(desktop.saved()) == state(workspace.document) != states[-1], name
        assert (workspace.undo_name, workspace.redo_name) == (name, None)
        states.append(state(workspace.document))
    for expected in states[-2::-1]:
        workspace.do(lambda session: session.undo())
        assert state(desktop.saved()) == state(workspace.document) == expected
    assert (workspace.undo_name, workspace.redo_name) == (None, "create")
    workspace.do(lambda session: session.redo())
    assert state(desktop.saved()) == states[1]


def test_the_first_object_of_a_run_makes_its_document(bare: Desktop):
    workspace = bare.open()
    assert workspace.document.objects == () and not bare.run.store.exists()
    assert workspace.do(lambda session: session.create("half", halves_of(session))) == len(workspace.document) // 2
    assert state(bare.saved()) == state(workspace.document)
    assert state(bare.open().document) == state(workspace.document)


def test_votes_are_written_only_when_there_are_others(bare: Desktop, scene: SceneOnDisk):
    workspace = bare.open()
    workspace.label(scene.masks, quiet)
    votes = bare.run.store.folder / "votes.npz"
    written = votes.stat().st_ino, votes.stat().st_mtime_ns
    workspace.do(rename(1, "tomato"))
    workspace.set_gamma(0.3)
    workspace.do(lambda session: session.undo())
    assert (votes.stat().st_ino, votes.stat().st_mtime_ns) == written
    workspace.make(found_at(workspace, BLUE))
    assert (votes.stat().st_ino, votes.stat().st_mtime_ns) != written


def test_what_fails_or_changes_nothing_is_not_saved(desktop: Desktop, workspace: Workspace):
    before = desktop.run.store.stamp()
    with pytest.raises(ValueError, match="two objects have the name 'blue ball'"):
        workspace.do(rename(1, "blue ball"))
    with pytest.raises(ValueError, match="name of an object is some visible text in one line"):
        workspace.do(rename(1, "two\nlines"))
    with pytest.raises(LookupError, match="nothing to undo"):
        workspace.do(lambda session: session.undo())
    assert workspace.do(lambda session: session.show(1)) == 0
    workspace.do(lambda session: None)
    assert desktop.run.store.stamp() == before


@pytest.mark.parametrize("name", [f"x{letter}y" for letter in "\n\r\t\0\x1b\x7f\u202e\u200b"] + ["", "  "])
def test_names_of_control_characters_are_refused(name: str, desktop: Desktop, workspace: Workspace):
    for operation in (rename(1, name), lambda session: session.create(name)):
        with pytest.raises(ValueError, match="is some visible text in one line") as caught:
            workspace.do(operation)
        assert error_line(caught.value).isprintable()
    assert desktop.saved().names == NAMES


def test_what_another_program_has_saved_is_shown_and_not_written_over(desktop: Desktop, workspace: Workspace):
    workspace.do(rename(1, "tomato"))
    ours = state(workspace.document)
    words = ["objects", "--load-config", str(workspace.config_file), "--device", "cpu"]
    assert main([*words, "--rename", "2", "pea", "--hide", "0"]) == 0
    theirs = state(desktop.saved())
    with pytest.raises(ChangedElsewhereError, match="another program has changed the segmentation; what it saved is"):
        workspace.do(rename(3, "globe"))
    # What was to be done has not been done.
    assert state(workspace.document) == state(desktop.saved()) == theirs
    assert workspace.document.names == ["tomato", "pea", "blue ball"]
    assert workspace.undo_name == "load"
    workspace.do(lambda session: session.undo())
    assert state(workspace.document) == state(desktop.saved()) == ours
    workspace.do(lambda session: session.redo())
    assert state(desktop.saved()) == theirs
    workspace.do(rename(3, "globe"))
    assert desktop.saved().names == ["tomato", "pea", "globe"]


@pytest.mark.parametrize("change", [lambda session: None, lambda session: session.undo(), rename(1, "tomato")])
def test_votes_that_another_program_has_replaced_come_back_by_undo(
    change: Callable[[EditingSession], Any], desktop: Desktop, workspace: Workspace
):
    workspace.do(lambda session: session.hide(1))
    ours, splats = state(workspace.document), desktop.run.splats()
    other = document_of(splats, halves(splats))
    SegmentationStore(desktop.run.store.folder).save(other)
    with pytest.raises(ChangedElsewhereError):
        workspace.do(change)
    assert state(workspace.document) == state(other)
    workspace.do(lambda session: session.undo())
    assert state(desktop.saved()) == ours and desktop.saved().votes() is not None
    # Further back, too.
    workspace.do(lambda session: session.undo())
    assert desktop.saved().hidden_names() == ()
    assert workspace.set_gamma(0.3) > 0


def test_two_workspaces_on_one_run_take_turns(desktop: Desktop):
    first, second = desktop.open(), desktop.open()
    first.do(rename(1, "tomato"))
    with pytest.raises(ChangedElsewhereError):
        second.do(rename(2, "pea"))
    second.do(rename(2, "pea"))
    with pytest.raises(ChangedElsewhereError):
        first.do(rename(3, "globe"))
    first.do(rename(3, "globe"))
    assert desktop.saved().names == ["tomato", "pea", "globe"]


def test_a_document_that_was_removed_meanwhile_is_written_anew(desktop: Desktop, workspace: Workspace):
    shutil.rmtree(desktop.run.store.folder)
    workspace.do(rename(1, "tomato"))
    assert desktop.saved().names[0] == "tomato" and desktop.saved().votes() is not None


def test_a_document_that_was_broken_meanwhile_is_named_and_left(desktop: Desktop, workspace: Workspace):
    path = desktop.run.store.folder / "objects.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"objects\.json: no valid JSON"):
        workspace.do(rename(1, "tomato"))
    assert workspace.document.names == NAMES and path.read_text() == "{"


def test_a_document_that_cannot_be_written_is_kept_and_written_later(
    desktop: Desktop, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(desktop.run.store.folder))

    before = state(desktop.saved())
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        for number in range(2):
            with pytest.raises(OSError, match="No space left") as caught:
                workspace.do(rename(1, f"name {number}"))
            assert error_line(caught.value) == f"{desktop.run.store.folder}: no space left on device; check the path"
            assert workspace.document.names[0] == f"name {number}" and state(desktop.saved()) == before
    workspace.do(lambda session: None)
    assert state(desktop.saved()) == state(workspace.document)
    assert desktop.saved().names[0] == "name 1"


def test_where_no_folder_can_be_the_document_is_kept_in_memory(bare: Desktop):
    bare.run.store.folder.write_text("in the way")
    workspace = bare.open()
    with pytest.raises(OSError, match="segmentation"):
        workspace.do(lambda session: session.create("half"))
    assert workspace.document.names == ["half"]
    bare.run.store.folder.unlink()
    workspace.do(lambda session: None)
    assert bare.saved().names == ["half"]


def test_splats_that_belong_to_no_checkpoint_are_not_saved(desktop: Desktop):
    """The document on disk is of others, and stays."""
    splats, before = desktop.run.splats().subset(torch.arange(500)), desktop.run.store.stamp()
    workspace = Workspace(desktop.run, splats, rasterizer_for("cpu"), saves=False)
    assert workspace.document.objects == () and len(workspace.document) == 500
    workspace.do(lambda session: session.create("some", halves_of(session)))
    workspace.do(lambda session: session.undo())
    workspace.do(lambda session: session.redo())
    assert desktop.run.store.stamp() == before
    # What others save is none of its business either.
    desktop.open().do(rename(1, "tomato"))
    workspace.do(rename(1, "few"))
    assert workspace.document.names == ["few"] and desktop.saved().names[0] == "tomato"
    with pytest.raises(ValueError, match="the splats have changed since they were segmented"):
        Workspace(desktop.run, splats, rasterizer_for("cpu"))


def test_without_saving_nothing_is_written(bare: Desktop):
    files = bare.files()
    workspace = bare.open(saves=False)
    workspace.do(lambda session: session.create("half", halves_of(session)))
    workspace.make(found_at(workspace, BLUE))
    assert bare.files() == files and not bare.run.store.exists()
    assert workspace.document.names == ["half", "ball"]


def test_votes_that_are_gone_are_missed_only_where_they_are_needed(desktop: Desktop):
    (desktop.run.store.folder / "votes.npz").unlink()
    workspace = desktop.open()
    workspace.do(rename(1, "tomato"))
    assert desktop.saved().names[0] == "tomato"
    with pytest.raises(ValueError, match=r"votes\.npz: is missing; .*, so segment again"):
        workspace.set_gamma(0.2)
    # That can be done here.
    workspace.do(lambda session: session.adopt("label", replace(workspace.document, votes_source=None)))
    assert state(desktop.saved()) == state(workspace.document)


def test_threads_that_change_it_at_once_leave_a_whole_document(desktop: Desktop, workspace: Workspace):
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(4):
                workspace.do(lambda session, step=step: session.create(f"object of {number}, {step}"))
                workspace.do(lambda session: session.hide(0) or session.show(0))
                workspace.set_gamma(0.1 * number)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert state(desktop.saved()) == state(workspace.document)
    made = {f"object of {number}, {step}" for number in range(4) for step in range(4)}
    assert set(workspace.document.names) == {*NAMES, *made}
    while workspace.undo_name is not None:
        workspace.do(lambda session: session.undo())
    assert desktop.saved().names == NAMES


# Layers


def halves_of_balls(run: Run, objects: Segmentation) -> Segmentation:
    """The layer of parts as a transfer leaves it: what lies above the middle of each ball, and what below."""
    splats = run.splats()
    middles = torch.stack([splats.means[objects.labels == id, 2].median() for id in range(4)])
    above = splats.means[:, 2] > middles[objects.labels.clamp_min(0)]
    inside = objects.labels > 0
    # What is near the middle is doubtful.
    share = (above.double() * 2 - 1) * (splats.means[:, 2] - middles[objects.labels.clamp_min(0)]).abs() * 4
    upper = (0.5 + share / 2).clamp(0, 1) * inside
    matrix = torch.stack([torch.where(inside, 0.2, 1.0).double(), upper, (1 - upper) * inside], dim=1)
    votes, solver = votes_of(matrix.tolist(), [0, 1, 2]), FlashSplat()
    found = Transferred(solver.decide(votes), votes, solver)
    classes = {id: LabelName(id, name, (id, 2, 3)) for id, name in ((1, "upper"), (2, "lower"))}
    parts = parts_of_classes(splats, objects, found, classes, Provenance(solver="flashsplat"))
    return parts.with_entry("label", solver="flashsplat", settled=vars(solver))


@pytest.fixture
def parted(desktop: Desktop) -> Desktop:
    """The balls have parts."""
    desktop.run.store.parts.save(halves_of_balls(desktop.run, desktop.saved()))
    return desktop


def saved_parts(desktop: Desktop) -> Segmentation:
    return SegmentationStore(desktop.run.folder / "segmentation" / "parts").load(desktop.run.splats())


PARTS = [f"{name} {kind}" for name in NAMES for kind in ("upper", "lower")]


def test_without_parts_there_are_objects_alone(desktop: Desktop, workspace: Workspace):
    before = state(workspace.document)
    assert workspace.layers() == ("objects",) and workspace.layer == "objects"
    with pytest.raises(ValueError, match="no parts are there; find some with 'splatseg transfer'"):
        workspace.show_layer("parts")
    assert workspace.layer == "objects" and state(workspace.document) == before
    workspace.show_layer("objects")
    # They are noticed as soon as somebody has found some.
    desktop.run.store.parts.save(halves_of_balls(desktop.run, desktop.saved()))
    assert workspace.layers() == ("objects", "parts")
    workspace.show_layer("parts")
    assert workspace.document.names == PARTS


def test_splats_that_belong_to_no_checkpoint_have_no_parts(parted: Desktop):
    assert parted.open(saves=False).layers() == ("objects",)
    with pytest.raises(ValueError, match="no parts are there"):
        parted.open(saves=False).show_layer("parts")


def test_what_is_done_to_parts_is_saved_there_and_objects_stay(parted: Desktop):
    workspace, objects = parted.open(), parted.run.store.stamp()
    assert workspace.layer == "objects" and workspace.document.names == NAMES
    workspace.show_layer("parts")
    assert workspace.layer == "parts" and workspace.document.names == PARTS
    states = [state(saved_parts(parted))]
    for operation in (rename(1, "skin"), lambda session: session.hide(2), lambda session: session.merge(3, 4)):
        workspace.do(operation)
        assert state(saved_parts(parted)) == state(workspace.document) != states[-1]
        states.append(state(workspace.document))
    assert saved_parts(parted).object("skin").kind == "upper"
    for expected in states[-2::-1]:
        workspace.do(lambda session: session.undo())
        assert state(saved_parts(parted)) == expected
    assert parted.run.store.stamp() == objects and parted.saved().names == NAMES


def test_what_is_done_to_objects_leaves_parts(parted: Desktop):
    workspace, parts = parted.open(), parted.run.store.parts.stamp()
    workspace.show_layer("parts")
    workspace.show_layer("objects")
    workspace.do(rename(1, "tomato"))
    assert parted.saved().names[0] == "tomato" and parted.run.store.parts.stamp() == parts


def test_what_makes_objects_of_masks_works_on_the_objects(parted: Desktop, scene: SceneOnDisk):
    workspace, parts = parted.open(), parted.run.store.parts.stamp()
    workspace.show_layer("parts")
    workspace.label(scene.masks, quiet)
    assert workspace.layer == "objects" and workspace.document.names == NAMES
    assert parted.run.store.parts.stamp() == parts


def test_a_layer_shows_what_another_program_has_saved_meanwhile(parted: Desktop):
    workspace = parted.open()
    workspace.show_layer("parts")
    workspace.show_layer("objects")
    parts = saved_parts(parted)
    parted.run.store.parts.save(replace(parts, background_visible=False))
    workspace.show_layer("parts")
    assert workspace.document.hidden_names() == ("background",)
    # Nothing is in the way of what comes next.
    workspace.do(lambda session: session.hide(1))
    assert not saved_parts(parted).object(1).visible


def test_each_layer_has_an_undo_of_its_own(parted: Desktop):
    workspace = parted.open()
    workspace.do(rename(1, "tomato"))
    workspace.show_layer("parts")
    assert (workspace.undo_name, workspace.redo_name) == (None, None)
    workspace.do(lambda session: session.hide(1))
    workspace.do(lambda session: session.undo())
    assert (workspace.undo_name, workspace.redo_name) == (None, "hide")
    with pytest.raises(LookupError, match="nothing to undo"):
        workspace.do(lambda session: session.undo())
    workspace.show_layer("objects")
    assert (workspace.undo_name, workspace.redo_name) == ("rename", None)
    workspace.do(lambda session: session.undo())
    assert parted.saved().names == NAMES
    workspace.show_layer("parts")
    workspace.do(lambda session: session.redo())
    assert saved_parts(parted).hidden_names() == (PARTS[0],) and parted.saved().hidden_names() == ()


def test_parts_that_another_program_has_changed_are_shown(parted: Desktop):
    workspace = parted.open()
    workspace.show_layer("parts")
    words = ["objects", "--parts", "--load-config", str(workspace.config_file), "--device", "cpu"]
    assert main([*words, "--rename", "1", "skin"]) == 0
    with pytest.raises(ChangedElsewhereError, match="another program has changed the segmentation"):
        workspace.do(lambda session: session.hide(2))
    assert workspace.document.names[0] == "skin" and workspace.undo_name == "load"
    # The objects are the same as ever.
    workspace.show_layer("objects")
    workspace.do(rename(1, "tomato"))
    assert workspace.undo_name == "rename" and saved_parts(parted).names[0] == "skin"


def test_parts_of_other_splats_are_named_and_the_objects_stay_shown(desktop: Desktop, workspace: Workspace):
    splats = desktop.run.splats().subset(torch.arange(500))
    desktop.run.store.parts.save(document_of(splats, halves(splats)))
    with pytest.raises(ValueError, match="parts: the splats have changed since they were segmented"):
        workspace.show_layer("parts")
    assert workspace.layer == "objects" and workspace.document.names == NAMES


def test_parts_have_a_bias_of_their_own(parted: Desktop):
    workspace, objects = parted.open(), parted.run.store.stamp()
    workspace.show_layer("parts")
    sizes = []
    for gamma in (0.5, 0.0, -0.5):
        workspace.set_gamma(gamma)
        sizes.append(sum(saved_parts(parted).counts().values()))
    assert sizes[0] < sizes[1] <= sizes[2] and parted.run.store.stamp() == objects
    assert workspace.undo_name == "gamma"
    workspace.show_layer("objects")
    assert workspace.undo_name is None


def test_what_is_at_a_pixel_is_of_the_layer_that_is_shown(parted: Desktop):
    workspace = parted.open()
    view = workspace.views[0]
    rows = workspace.document.rows(BLUE)
    center = workspace.splats.means[rows].mean(dim=0)
    x, y, depth = view.camera.K @ (view.camera.viewmat[:3, :3] @ center + view.camera.viewmat[:3, 3])
    place = float(x / depth), float(y / depth)
    assert workspace.object_at(view.camera, *place) == BLUE
    workspace.show_layer("parts")
    ids = {workspace.document.object(f"blue ball {kind}").id for kind in ("upper", "lower")}
    assert workspace.object_at(view.camera, *place) in ids


@pytest.mark.parametrize("name", ["export", "extract", "remove"])
def test_the_line_for_a_shell_says_that_it_is_about_parts(
    name: Literal["export", "extract", "remove"], parted: Desktop
):
    workspace = parted.open()
    assert "--parts" not in workspace.command(name, [workspace.document.object(1)])
    workspace.show_layer("parts")
    chosen = [workspace.document.object(id) for id in (2, 5)]
    words = shlex.split(workspace.command(name, chosen))
    parsed = tyro.cli({"export": Export, "extract": Extract, "remove": Remove}[name], args=words[2:])
    assert parsed.parts and parsed.objects == ("2", "5")
    assert chosen_objects(parsed.document(), parsed.objects) == chosen
    workspace.show_layer("objects")
    assert "--parts" not in workspace.command(name, [workspace.document.object(1)])


def test_parts_are_exported_as_the_command_exports_them(parted: Desktop, tmp_path: Path):
    workspace = parted.open()
    workspace.show_layer("parts")
    chosen = [workspace.document.object(PARTS[0]), workspace.document.object(PARTS[5])]
    paths = workspace.export(chosen, quiet)
    assert [path.name for path in paths] == ["red_ball_upper.ply", "blue_ball_lower.ply"]
    words = shlex.split(workspace.command("export", chosen))
    assert main([*words[1:-1], str(tmp_path / "again"), "--device", "cpu"]) == 0
    for path in paths:
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


# The bias to the background


def test_another_gamma_is_what_the_votes_decide_by_it(desktop: Desktop, workspace: Workspace):
    before = workspace.document
    changed = workspace.set_gamma(0.4)
    wanted = with_gamma(before, 0.4)
    assert torch.equal(workspace.document.labels, wanted.labels)
    assert changed == int((wanted.labels != before.labels).sum()) > 0
    assert torch.equal(desktop.saved().labels, wanted.labels)
    assert workspace.undo_name == "gamma"


def test_several_gammas_in_a_row_are_one_step(desktop: Desktop, workspace: Workspace):
    workspace.do(rename(1, "tomato"))
    before = workspace.document
    for gamma in (0.2, 0.4, -0.3, 0.1):
        workspace.set_gamma(gamma)
        # As if it were the first.
        assert torch.equal(workspace.document.labels, with_gamma(before, gamma).labels)
        assert len(workspace.document.history) == len(before.history) + 1
    workspace.do(lambda session: session.undo())
    assert state(desktop.saved()) == state(before) and workspace.undo_name == "rename"
    workspace.do(lambda session: session.redo())
    workspace.do(rename(1, "apple"))
    workspace.set_gamma(0.2)
    assert [workspace.do(lambda session: session.undo()) for _ in range(3)] == ["gamma", "rename", "gamma"]


def test_a_gamma_that_cannot_be_leaves_the_one_before(workspace: Workspace):
    document = workspace.document
    made = document.history[-1].parameters
    gradient = replace(document, history=()).with_entry("label", **{**made, "solver": "gradient", "settled": {}})
    workspace.do(lambda session: session.adopt("label", gradient))
    workspace.set_gamma(0.2)
    before = state(workspace.document)
    with pytest.raises(ValueError, match="gamma is a number from -1 to below 1"):
        workspace.set_gamma(1.0)
    assert state(workspace.document) == before and workspace.undo_name == "gamma" and workspace.redo_name is None


def test_without_votes_there_is_no_gamma(bare: Desktop):
    workspace = bare.open()
    workspace.do(lambda session: session.create("half", halves_of(session)))
    before = state(workspace.document)
    with pytest.raises(ValueError, match="the segmentation keeps no votes to decide by another gamma"):
        workspace.set_gamma(0.2)
    assert state(workspace.document) == state(bare.saved()) == before and workspace.undo_name == "create"


# Pointing


@pytest.mark.parametrize("object", [RED, GREEN, BLUE])
def test_what_is_at_a_pixel(object: int, workspace: Workspace):
    assert workspace.object_at(HERE, *middle(HERE, object)) == object
    assert workspace.object_at(THERE, *middle(THERE, object)) == object


def test_where_there_is_no_object(workspace: Workspace):
    assert workspace.object_at(HERE, *middle(HERE, 0)) == 0
    assert workspace.object_at(HERE, 60.0, 2.5) is None
    # The edges of the picture belong to its last pixels.
    assert workspace.object_at(HERE, float(HERE.width), float(HERE.height)) in (0, None)
    workspace.do(lambda session: session.delete(BLUE))
    assert workspace.object_at(HERE, *middle(HERE, BLUE)) == 0


def test_what_is_hidden_is_not_picked(workspace: Workspace):
    pixel = middle(HERE, BLUE)
    workspace.do(lambda session: session.hide(BLUE))
    # The table behind it.
    assert workspace.object_at(HERE, *pixel) == 0
    workspace.do(lambda session: session.show_only(RED))
    assert workspace.object_at(HERE, *pixel) in (RED, None)
    assert workspace.object_at(HERE, *middle(HERE, RED)) == RED
    workspace.do(lambda session: session.hide(0, *session.document.ids))
    assert all(workspace.object_at(HERE, *middle(HERE, object)) is None for object in (0, RED, GREEN, BLUE))


def found_at(workspace: Workspace, object: int, name: str = "ball", report: Report = quiet) -> FoundObject:
    """What a click on an object finds."""
    workspace.pointing.clear()
    workspace.pointing.click(HERE, *middle(HERE, object))
    return workspace.find(workspace.pointing.prompts(name), report)


def iou(scene: SceneOnDisk, document: Segmentation, id: int, *objects: int) -> float:
    """Over the Gaussians that were seen."""
    true = torch.isin(scene.truth, torch.tensor(objects))
    seen, mine = document.labels >= 0, document.rows(id)
    return float((mine & true & seen).sum() / ((mine | true) & seen).sum())


def test_a_click_becomes_an_object(bare: Desktop, scene: SceneOnDisk):
    workspace, told = bare.open(), []
    found = found_at(workspace, BLUE, report=lambda *step: told.append(step))
    assert {stage for stage, _, _ in told} == {"asking views"} and told[-1][1] == told[-1][2] > 0
    made = workspace.make(found)
    assert (made.id, made.name) == (1, "ball") and workspace.undo_name == "click"
    assert iou(scene, workspace.document, 1, BLUE) > 0.8
    assert state(bare.saved()) == state(workspace.document)
    assert bare.saved().history[0].parameters["segmenter"] == "colours"
    workspace.make(found_at(workspace, RED, "tomato"))
    assert workspace.document.names == ["ball", "tomato"]
    # Now there are votes to decide by.
    assert workspace.set_gamma(0.3) >= 0
    for _ in range(3):
        workspace.do(lambda session: session.undo())
    assert bare.saved().objects == ()


def test_an_object_is_refined_by_further_clicks(bare: Desktop):
    workspace = bare.open()
    workspace.make(found_at(workspace, BLUE))
    workspace.pointing.clear()
    # It has another name now, in another session.
    workspace.do(rename(1, "globe"))
    workspace = bare.open()
    entry = workspace.document.object("globe")
    prompts = workspace.earlier_prompts(entry)
    assert prompts.name == "globe" and prompts.views[0].camera == FreeCamera.of(HERE)
    workspace.pointing.take_up(prompts)
    workspace.pointing.click(THERE, *middle(THERE, RED), on=False)
    again = workspace.make(workspace.find(workspace.pointing.prompts("globe"), quiet))
    assert again.id == entry.id and workspace.document.names == ["globe"]
    assert [len(view.negative) for view in workspace.earlier_prompts(again).views] == [0, 1]


def test_clicks_in_pictures_that_were_held_out_can_be_refined(bare: Desktop, scene: SceneOnDisk):
    """As ``splatseg click`` takes them."""
    view = bare.run.capture().view(TEST_VIEWS[0])
    clicked = ViewPrompts(view.name, (middle(view.camera, BLUE),))
    workspace = bare.open()
    workspace.make(workspace.find(ObjectPrompts("ball", (clicked,)), quiet))
    workspace = bare.open()
    workspace.pointing.take_up(workspace.earlier_prompts(workspace.document.object("ball")))
    workspace.pointing.click(HERE, *middle(HERE, RED), on=False)
    made = workspace.make(workspace.find(workspace.pointing.prompts("ball"), quiet))
    assert iou(scene, workspace.document, made.id, BLUE) > 0.8
    # Nobody carries clicks into them.
    assert {used.view for used in found_at(workspace, BLUE).masks}.isdisjoint(TEST_VIEWS)


def test_objects_that_clicks_have_not_made_are_neither_refined_nor_replaced(desktop: Desktop, workspace: Workspace):
    with pytest.raises(ValueError, match="there is an object 'blue ball' that was not made by clicks"):
        workspace.earlier_prompts(workspace.document.object(BLUE))
    with pytest.raises(ValueError, match="there is an object 'blue ball' that was not made by clicks"):
        found_at(workspace, RED, "blue ball")
    assert desktop.saved().names == NAMES


COMBINED: dict[Combination, tuple[int, ...]] = {"add": (RED, BLUE), "subtract": (), "intersect": (RED,)}


@pytest.mark.parametrize("how", COMBINED)
def test_an_object_is_changed_by_what_is_pointed_at(
    how: Combination, desktop: Desktop, workspace: Workspace, scene: SceneOnDisk
):
    pointed_at = BLUE if how == "add" else RED
    before = workspace.document
    changed = workspace.combine(RED, how, found_at(workspace, pointed_at, "object_1"))
    after = workspace.document
    assert changed == int((before.labels != after.labels).sum()) > 0
    assert after.names == NAMES and workspace.undo_name == how
    assert state(desktop.saved()) == state(after)
    if COMBINED[how]:
        assert iou(scene, after, RED, *COMBINED[how]) > 0.7
    else:
        assert int(after.rows(RED).sum()) < 0.3 * int(before.rows(RED).sum())
    workspace.do(lambda session: session.undo())
    assert state(desktop.saved()) == state(before)


def test_looking_around_does_not_fill_the_memory(workspace: Workspace):
    scene = workspace.pointing.scene
    before = set(scene._views)
    for camera in (HERE, THERE):
        workspace.pointing.look(camera)
    found_at(workspace, BLUE)
    found_at(workspace, RED)
    assert set(scene._views) == before | {FreeCamera.of(HERE).name}
    workspace.pointing.clear()
    assert set(scene._views) == before == set(workspace.run.capture().names)


def test_a_cancelled_search_leaves_everything_as_it_was(desktop: Desktop, workspace: Workspace):
    before, stamp = state(workspace.document), desktop.run.store.stamp()
    with pytest.raises(Cancelled):
        found_at(workspace, BLUE, report=cancelling("asking views", after=3))
    assert state(workspace.document) == before and desktop.run.store.stamp() == stamp
    assert workspace.make(found_at(workspace, BLUE)).name == "ball"


# Masks


def test_masks_make_the_objects_that_the_command_makes(
    bare: Desktop, scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    workspace, told = bare.open(), []
    assert workspace.label(scene.masks, lambda *step: told.append(step)) == 3
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["masks", "votes"]
    words = ["label", "--load-config", str(workspace.config_file), "--device", "cpu", "--masks", str(scene.masks)]
    assert main([*words, "--segmentation", str(tmp_path / "again")]) == 0, capsys.readouterr().err
    again, ours = SegmentationStore(tmp_path / "again").load(), bare.saved()
    assert state(ours) == state(workspace.document)
    assert torch.equal(ours.labels, again.labels) and ours.objects == again.objects
    assert [entry.parameters for entry in ours.history] == [entry.parameters for entry in again.history]
    assert state(ours.with_votes(ours.votes()))[-1] == state(again)[-1]
    assert workspace.undo_name == "label"
    workspace.do(lambda session: session.undo())
    assert bare.saved().objects == ()


def test_masks_take_the_place_of_all_objects_and_undo_brings_them_back(
    desktop: Desktop, workspace: Workspace, scene: SceneOnDisk
):
    workspace.do(rename(1, "tomato"))
    before = state(workspace.document)
    workspace.label(scene.masks, quiet)
    assert desktop.saved().names == NAMES
    workspace.do(lambda session: session.undo())
    assert state(desktop.saved()) == before


@pytest.mark.parametrize(("stage", "after"), [("masks", 0), ("votes", 2)])
def test_cancelled_labelling_leaves_everything_as_it_was(
    stage: str, after: int, desktop: Desktop, workspace: Workspace, scene: SceneOnDisk
):
    before, stamp = state(workspace.document), desktop.run.store.stamp()
    with pytest.raises(Cancelled):
        workspace.label(scene.masks, cancelling(stage, after))
    assert state(workspace.document) == before and desktop.run.store.stamp() == stamp


def test_what_took_long_is_not_lost_if_another_program_saves_meanwhile(
    desktop: Desktop, workspace: Workspace, scene: SceneOnDisk
):
    other = desktop.open()

    def meanwhile(stage: str, done: int, total: int) -> None:
        if stage == "votes" and done == total:
            other.do(rename(1, "tomato"))

    made = workspace.label(scene.masks, meanwhile)
    assert made == len(workspace.document.objects) and state(desktop.saved()) == state(workspace.document)
    assert "tomato" not in workspace.document.names
    workspace.do(lambda session: session.undo())
    assert workspace.document.names[0] == "tomato"


def test_masks_that_are_none_are_named_in_one_line(workspace: Workspace, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such folder of label maps"):
        workspace.label(tmp_path / "nowhere", quiet)
    assert workspace.document.names == NAMES


def test_everything_becomes_objects(bare: Desktop, scene: SceneOnDisk):
    workspace, told = bare.open(segmenter=Painter()), []
    assert workspace.find_everything(lambda *step: told.append(step)) == 3
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["masks", "association", "votes"]
    document = bare.saved()
    assert state(document) == state(workspace.document) and workspace.undo_name == "everything"
    best = [max(iou(scene, document, id, object) for id in document.ids) for object in (RED, GREEN, BLUE)]
    assert min(best) > 0.7
    with pytest.raises(Cancelled):
        workspace.find_everything(cancelling("association"))
    assert state(workspace.document) == state(document)
    workspace.do(lambda session: session.undo())
    assert bare.saved().objects == ()


@pytest.fixture
def captured(scene: SceneOnDisk, tmp_path: Path) -> Desktop:
    """A run whose capture can be changed."""
    shutil.copytree(scene.data, tmp_path / "capture")
    return desktop_with(replace(scene, data=tmp_path / "capture"), tmp_path, None)


def test_folders_with_label_maps_are_offered_and_no_others(captured: Desktop, scene: SceneOnDisk, tmp_path: Path):
    folder = captured.run.folder
    assert captured.open().mask_folders() == []
    for name in ("labels", "second labels"):
        shutil.copytree(scene.masks, folder / name)
    objects = folder / "by object" / "ball"
    objects.mkdir(parents=True)
    shutil.copyfile(scene.masks / "view_00.png", objects / "view_00.png")
    others = folder / "others"
    others.mkdir()
    shutil.copyfile(scene.masks / "view_00.png", others / "holiday.png")
    (folder / "empty").mkdir()
    (folder / "view_00").mkdir()
    shutil.copytree(scene.masks, tmp_path / "elsewhere")
    offered = captured.open().mask_folders()
    assert offered == [folder / name for name in ("by object", "labels", "second labels")]
    # Exports and the segmentation are no masks.
    workspace = captured.open()
    workspace.do(lambda session: session.create("view_00", halves_of(session)))
    assert workspace.mask_folders() == offered


def test_the_masks_that_training_was_given_come_first(captured: Desktop, scene: SceneOnDisk):
    config: Any = captured.run.config
    shutil.copytree(scene.masks, captured.run.folder / "labels")
    config.pipeline.masks = scene.masks
    assert captured.open().mask_folders() == [scene.masks, captured.run.folder / "labels"]
    config.pipeline.masks = scene.masks / "gone"
    assert captured.open().mask_folders() == [captured.run.folder / "labels"]
    config.pipeline.masks = captured.run.folder / "labels"
    assert captured.open().mask_folders() == [captured.run.folder / "labels"]


def test_pictures_of_all_sizes_are_no_label_maps(captured: Desktop, scene: SceneOnDisk, tmp_path: Path):
    """They are called like views too."""
    data = tmp_path / "capture"
    for name in ("images_2", "images_16"):
        shutil.copytree(data / "images", data / name)
    for name in ("labels", "images_of_masks", "labels_2"):
        shutil.copytree(scene.masks, data / name)
    run = Run.open(captured.run.folder, data)
    workspace = Workspace(run, run.splats(), rasterizer_for("cpu"))
    assert workspace.mask_folders() == [data / "images_of_masks", data / "labels", data / "labels_2"]


def test_masks_of_what_is_not_to_be_looked_at_are_no_label_maps(captured: Desktop, scene: SceneOnDisk, tmp_path: Path):
    data = tmp_path / "capture"
    shutil.copytree(scene.masks, data / "masks")
    frames = json.loads((data / "transforms.json").read_text())["frames"]
    for frame in frames:
        frame["mask_path"] = frame["file_path"].replace("images/", "masks/")
    change_json(data / "transforms.json", {"frames": frames})
    run = Run.open(captured.run.folder, data)
    assert Workspace(run, run.splats(), rasterizer_for("cpu")).mask_folders() == []


# Files


def renamed(workspace: Workspace, *names: str) -> tuple[SceneObject, ...]:
    for entry, name in zip(workspace.document.objects, names, strict=False):
        workspace.do(rename(entry.id, name))
    return workspace.document.objects


def test_objects_are_exported_as_the_command_exports_them(desktop: Desktop, workspace: Workspace, tmp_path: Path):
    files, stamp, told = desktop.files(), desktop.run.store.stamp(), []
    chosen = [workspace.document.object(id) for id in (RED, BLUE)]
    paths = workspace.export(chosen, lambda *step: told.append(step))
    folder = desktop.run.folder / EXPORTS
    assert paths == [folder / "red_ball.ply", folder / "blue_ball.ply"]
    assert told == [("re-vote", 1, 2), ("re-vote", 2, 2)]
    words = shlex.split(workspace.command("export", chosen))
    assert words[0] == "splatseg" and words[-2:] == ["--out", str(folder)]
    assert main([*words[1:-1], str(tmp_path / "again"), "--device", "cpu"]) == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".ply"} == {
        name: content for name, content in again.items() if name.endswith(".ply")
    }
    assert set(again) == {"red_ball.ply", "blue_ball.ply", "remainder.ply", "labels.npz"}
    # Nothing else has changed, the document included.
    assert desktop.files() == files and desktop.run.store.stamp() == stamp and workspace.undo_name is None


@pytest.fixture
def badly_named(desktop: Desktop) -> Workspace:
    """An object for each of the bad names, of a few Gaussians of the blue ball."""
    workspace = desktop.open()
    places = workspace.document.rows(BLUE).nonzero().flatten()
    for number, name in enumerate(BAD_NAMES):
        rows = torch.zeros(len(workspace.document), dtype=torch.bool)
        rows[places[number :: 2 * len(BAD_NAMES)]] = True
        workspace.do(lambda session, name=name, rows=rows: session.create(name, rows))
    return workspace


def test_exports_stay_in_their_folder_whatever_objects_are_called(badly_named: Workspace, tmp_path: Path):
    run = badly_named.run.folder
    before, folder = set(tmp_path.rglob("*")), run / EXPORTS
    paths = badly_named.export(badly_named.document.objects, quiet)
    assert len(set(paths)) == len(NAMES) + len(BAD_NAMES)
    assert all(path.parent == folder and path.is_file() for path in paths)
    new = set(tmp_path.rglob("*")) - before
    assert new == {folder, *paths, folder / "remainder.ply", folder / "labels.npz"}
    with np.load(folder / "labels.npz", allow_pickle=False) as archive:
        assert archive["names"].tolist() == [*NAMES, *BAD_NAMES]


def test_runs_of_objects_stand_beside_their_run_whatever_objects_are_called(badly_named: Workspace, tmp_path: Path):
    run = badly_named.run.folder
    written = [badly_named.extract([badly_named.document.object(name)], quiet) for name in BAD_NAMES]
    written += [badly_named.remove([badly_named.document.object(name)], quiet) for name in BAD_NAMES]
    written.append(badly_named.extract(badly_named.document.objects, quiet))
    folders = [config.parent for config in written]
    assert len(set(folders)) == len(folders) and {folder.parent for folder in folders} == {run.parent}
    assert set(run.parent.iterdir()) == {run, *folders}
    assert {path.name for path in run.parents[1].iterdir()} == {"splatseg"} and "balls" in os.listdir(tmp_path)
    assert all(folder.name.startswith("run-") and len(Run.open(folder).splats()) > 0 for folder in folders)


def test_an_object_without_gaussians_has_no_file(workspace: Workspace):
    workspace.do(lambda session: session.create("nothing"))
    assert workspace.export([workspace.document.object("nothing")], quiet) == []
    with pytest.raises(ValueError, match="no Gaussian would be left; nothing is written"):
        workspace.extract([workspace.document.object("nothing")], quiet)
    assert [path.name for path in workspace.run.folder.parent.iterdir()] == ["run"]


def test_objects_that_nothing_is_known_of_are_not_exported(bare: Desktop):
    workspace = bare.open()
    workspace.do(lambda session: session.create("half", halves_of(session)))
    with pytest.raises(ValueError, match="keeps no votes, so nothing can vote again"):
        workspace.export(workspace.document.objects, quiet)
    assert not (bare.run.folder / EXPORTS).exists()


Derivation = Literal["extract", "remove"]


def derived_files(folder: Path) -> dict[str, object]:
    """All of a run but times, and its own name."""
    run = Run.open(folder)
    document = run.store.load(run.splats())
    history = [(entry.operation, entry.parameters) for entry in document.history]
    return {
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        "config": (folder / "config.yml").read_text().replace(folder.name, "THIS"),
        "frame": (folder / "dataparser_transforms.json").read_text(),
        "step": run.step,
        "tensors": {name: tensor.tolist() for name, tensor in run.tensors.items()},
        "document": (state(replace(document, history=())), history),
    }


@pytest.mark.parametrize("name", ["extract", "remove"])
def test_runs_of_objects_are_those_that_the_commands_make(name: Derivation, desktop: Desktop, workspace: Workspace):
    workspace.do(lambda session: session.hide(RED, 0))
    files, document = desktop.files(), state(desktop.saved())
    chosen = [workspace.document.object(RED), workspace.document.object(GREEN)]
    ours = getattr(workspace, name)(chosen, quiet).parent
    theirs = ours.with_name("run-made by the command")
    words = shlex.split(workspace.command(name, chosen))
    assert main([*words[1:], "--method", "splatseg", "--device", "cpu", "--out", str(theirs)]) == 0
    assert ours.name == {"extract": "run-red_ball-green_ball", "remove": "run-without-red_ball-green_ball"}[name]
    assert derived_files(ours) == derived_files(theirs)
    made = Run.open(ours)
    kept = made.store.load(made.splats())
    assert kept.names == (["red ball", "green ball"] if name == "extract" else ["blue ball"])
    # What is hidden is shown in a run of its own.
    assert [entry.visible for entry in kept.objects] == [True] * len(kept.objects)
    # A second one takes another folder.
    second = getattr(workspace, name)(chosen, quiet).parent
    assert second.name == f"{ours.name}-2" and derived_files(second) == derived_files(ours)
    # The run they were made of has not changed.
    assert desktop.files() == files and state(desktop.saved()) == state(workspace.document) == document


@pytest.mark.parametrize("name", ["export", "extract", "remove"])
def test_cancelling_writes_nothing(name: str, desktop: Desktop, workspace: Workspace):
    before = state(workspace.document)
    stage = "removal" if name == "remove" else "re-vote"
    with pytest.raises(Cancelled):
        getattr(workspace, name)(workspace.document.objects[:2], cancelling(stage))
    assert [path.name for path in desktop.run.folder.parent.iterdir()] == ["run"]
    assert not (desktop.run.folder / EXPORTS).exists() and state(workspace.document) == before


PARSED: dict[Literal["export", "extract", "remove"], type] = {"export": Export, "extract": Extract, "remove": Remove}


@pytest.mark.parametrize("name", PARSED)
def test_the_line_for_a_shell_means_the_same(
    name: Literal["export", "extract", "remove"], scene: SceneOnDisk, labelled: Segmentation, tmp_path: Path
):
    folder = tmp_path / "my runs; $HOME 'quoted'"
    workspace = desktop_with(scene, folder, labelled).open()
    objects = renamed(workspace, "--out", "$(rm -rf ~); echo `id`", "<b>x</b> \"quoted\" 'too'")
    for chosen in (objects[:1], objects[1:], objects):
        line = workspace.command(name, chosen)
        assert "\n" not in line
        program, command, *words = shlex.split(line)
        assert (program, command) == ("splatseg", name)
        parsed = tyro.cli(PARSED[name], args=words)
        assert parsed.load_config == workspace.config_file
        assert chosen_objects(workspace.document, parsed.objects) == list(chosen)
        # By their ids, which nothing in a shell can mistake for something else.
        assert parsed.objects == tuple(str(entry.id) for entry in chosen)
        if name == "export":
            assert parsed.out == workspace.run.folder / EXPORTS


def test_objects_that_are_called_like_others_ids_are_told_apart(workspace: Workspace):
    objects = renamed(workspace, "3", "1", "globe")
    for chosen in (objects[:1], objects[1:2], objects[2:]):
        parsed = tyro.cli(Extract, args=shlex.split(workspace.command("extract", chosen))[2:])
        assert chosen_objects(workspace.document, parsed.objects) == list(chosen)


def test_one_file_is_downloaded_as_it_is_and_several_in_an_archive(workspace: Workspace):
    paths = workspace.export(workspace.document.objects, quiet)
    name, content = one_file(paths[:1])
    assert (name, content) == ("red_ball.ply", paths[0].read_bytes())
    name, content = one_file(paths)
    assert name == "objects.zip"
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.namelist() == ["red_ball.ply", "green_ball.ply", "blue_ball.ply"]
        assert all(archive.read(path.name) == path.read_bytes() for path in paths)


def test_an_exported_object_is_what_is_left_of_it_alone(workspace: Workspace, desktop: Desktop):
    splats: Splats = desktop.run.splats()
    (path,) = workspace.export([workspace.document.object(BLUE)], quiet)
    alone = read_ply(path)
    rows = workspace.document.rows(BLUE)
    assert 0 < len(alone) <= int(rows.sum())
    # In the order of the scene.
    places = [int((splats.means == mean).all(dim=1).nonzero()[0]) for mean in alone.means]
    assert places == sorted(places) and bool(rows[places].all())


@pytest.mark.slow
def test_mobile_sam_sees_what_a_box_is_drawn_around_on_the_bundled_splats(tmp_path: Path):
    """In a picture that is drawn, from where one of the capture was taken, so that the truth is known."""
    capture, splats = bundled_capture(), bundled_splats()
    run = Run.open(attach_splats(splats, capture, tmp_path / "run"))
    workspace = Workspace(run, run.splats(), rasterizer_for("cpu"))
    view = capture.with_split("train").views[0]
    truth = view.label_map()
    assert truth is not None
    ids, counts = truth[truth > 0].unique(return_counts=True)
    true = truth == int(ids[counts.argmax()])
    rows, columns = true.nonzero().unbind(dim=1)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    workspace.pointing.draw_box(view.camera, *map(float, box))
    preview = workspace.pointing.preview(view.camera)
    assert workspace.segmenter.name.startswith("mobile-sam-") and preview is not None
    assert preview.mask.shape == true.shape
    assert float((preview.mask & true).sum() / (preview.mask | true).sum()) > 0.8
    assert bool(preview.share.max() > 0.9)
