"""The list of objects and what can be done with them, in ns-viewer on the bundled scene with its nine objects.

All tests work on one viewer and one page; each leaves the document as it has found it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splatseg_ns.cli import main
from splatseg_ns.demo.bundle import MASKS
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.workspace import EXPORTS
from splatseg_ns.segmentation import SceneObject, Segmentation
from tests.browser.areas import SEEN, UNSEEN, area_of, change
from tests.browser.demo_runs import HERE, write_demo_run
from tests.browser.panel import LONG, Panel

pytestmark = pytest.mark.slow


MIXER, TEDDY, MILK, CACTUS = 1, 2, 3, 8
"""In the true masks and, as it happens, in the document."""

FEW = "every eighth"
"""The folder of label maps."""

MARKUP = ("<b>x</b>", "**x**", "![](http://x.example/y.png)")
PATHS = ("../../x", "/etc/x")

MANY = 100


@pytest.fixture(scope="module")
def shown_run(document: Segmentation, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With a few label maps in its folder."""
    run = write_demo_run(tmp_path_factory.mktemp("objects") / "run", document)
    (run.folder / FEW).mkdir()
    for file in (*sorted(MASKS.iterdir())[::8], MASKS.with_name("labels.json")):
        shutil.copy(file, run.folder / FEW)
    return run


@pytest.fixture(scope="module")
def plain(panel: Panel) -> np.ndarray:  # [H, W, 3] uint8
    """The scene before anybody does anything."""
    return panel.page.canvas()


def crowd(document: Segmentation) -> Segmentation:
    """A hundred objects: those of the document, some with paths for names, and many small ones, some with markup."""
    names = [*document.names[: -len(PATHS)], *PATHS]
    known = [replace(entry, name=name) for entry, name in zip(document.objects, names, strict=True)]
    ids = range(document.next_id, document.next_id + MANY - len(known))
    small = [*MARKUP, *(f"thing {id}" for id in ids)][: len(ids)]
    labels = document.labels.clone()
    free = (labels == 0).nonzero().flatten()[: 20 * len(ids)]
    labels[free] = torch.tensor(ids).repeat_interleave(20)
    return replace(document, labels=labels, objects=(*known, *map(SceneObject.new, ids, small)))


def all_names(panel: Panel) -> list[str]:
    """Of all pages, from the first."""
    found: list[str] = []
    while True:
        found += panel.names
        if panel.names[-1] == "background":
            return found
        panel.turn(">")


def test_a_click_in_the_scene_selects_what_is_there(panel: Panel, plain: np.ndarray):
    cactus = area_of(HERE, CACTUS, plain, -3)
    panel.use_mouse("pick an object")
    assert "cactus" not in panel.names
    panel.click_on(HERE, CACTUS)
    panel.until("the cactus to be selected", lambda: panel.selected_name == "cactus")
    panel.until("the cactus to stand out", lambda: change(plain, panel.page.canvas(), cactus) > SEEN)
    panel.page.wait_until_still()
    assert change(plain, panel.page.canvas(), ~area_of(HERE, CACTUS, plain, 24)) < UNSEEN
    assert panel.output.text == "objects"
    # The table.
    panel.page.click(panel.page.spot_of(HERE, 60, 300))
    panel.until("nothing to be selected", lambda: panel.selected_name is None)
    panel.until("the usual output", lambda: panel.output.text == "rgb")
    panel.use_mouse("move the camera")
    panel.turn("<")


def test_one_alone_all_others_or_only_the_objects_are_shown(panel: Panel, plain: np.ndarray, shown_run: Run):
    page = panel.page
    mixer, teddy = (area_of(HERE, id, plain, -6) for id in (MIXER, TEDDY))
    table = ~np.logical_or.reduce([area_of(HERE, id, plain, 12) for id in range(1, 10)])

    def shows(*areas: np.ndarray) -> bool:
        now = page.canvas()
        return all((change(plain, now, area) < UNSEEN) == any(area is one for one in areas) for area in every)

    every = mixer, teddy, table
    panel.in_row("mixer", "Solo").press()
    panel.until("the mixer alone", lambda: shows(mixer))
    assert shown_run.store.load().visible_rows().sum() == panel.counts["mixer"]
    panel.objects.button_in_group("All", "Flip").press()
    panel.until("all objects but the mixer", lambda: shows(teddy))
    panel.objects.button_in_group("All", "Show").press()
    panel.until("all", lambda: shows(*every))
    panel.turn(">")
    panel.hide("background")
    panel.until("all but the table", lambda: shows(mixer, teddy))
    panel.turn("<")
    for _ in range(4):
        panel.undo()
    panel.until("all", lambda: shows(*every))
    assert panel.output.text == "rgb"
    assert shown_run.store.load().hidden_names() == ()


def test_a_ghost_is_between_what_is_shown_and_what_is_hidden(panel: Panel, plain: np.ndarray):
    page, mixer = panel.page, area_of(HERE, MIXER, plain, -6)
    panel.hide("mixer")
    panel.until("the mixer to go", lambda: change(plain, page.canvas(), mixer) > SEEN)
    page.wait_until_still()
    hidden = page.canvas()
    panel.objects.number("Ghosts, %").set(30)
    panel.until("its ghost", lambda: change(hidden, page.canvas(), mixer) > SEEN)
    page.wait_until_still()
    ghost, whole = page.canvas(), change(plain, hidden, mixer)
    assert 0.1 * whole < change(plain, ghost, mixer) < 0.9 * whole
    # What is between two pictures is no farther from both than they are from each other.
    assert change(plain, ghost, mixer) + change(ghost, hidden, mixer) < 1.2 * whole
    panel.objects.number("Ghosts, %").set(0)
    panel.until("the ghost to go", lambda: change(hidden, page.canvas(), mixer) < UNSEEN)
    panel.undo()
    panel.until("the mixer to come back", lambda: change(plain, page.canvas(), mixer) < UNSEEN)


def test_the_bias_to_the_background_is_one_step(panel: Panel, shown_run: Run):
    before, bias = panel.counts, panel.edit.number("Background")
    last = panel.last_step
    assert bias.value == 0.0
    for value in (0.4, 0.8):
        mixer = panel.counts["mixer"]
        bias.set(value)
        panel.until("fewer Gaussians", lambda mixer=mixer: panel.counts["mixer"] < mixer)
    assert panel.last_step == "gamma"
    assert all(panel.counts[name] < count for name, count in before.items())
    document = shown_run.store.load()
    assert document.counts()[document.object("mixer").id] == panel.counts["mixer"]
    panel.undo()
    panel.until("all to be as it was", lambda: (panel.counts, panel.last_step, bias.value) == (before, last, 0.0))


def test_what_goes_wrong_is_said_as_on_the_command_line(
    panel: Panel, shown_run: Run, capsys: pytest.CaptureFixture[str]
):
    panel.choose("milk_carton")
    panel.selected.text_field("New name").write("mixer")
    panel.selected.button("Rename").press()
    panel.until("a message", panel.said)
    assert main(["objects", "--load-config", str(shown_run.folder / "config.yml"), "--rename", "milk_carton", "mixer"])
    (line,) = capsys.readouterr().err.splitlines()
    assert [f"splatseg objects: {said}" for said in panel.said()] == [line]
    assert panel.selected_name == "milk_carton"
    panel.deselect()


def test_label_maps_become_objects(panel: Panel, shown_run: Run):
    before = panel.counts
    masks = panel.masks.open()
    assert masks.dropdown("Label maps").options() == [f"{shown_run.folder.name}/{FEW}"]
    masks.button("Label from masks").press()
    panel.until("other objects", lambda: panel.counts != before, LONG)
    panel.until("them to be shown", lambda: panel.output.text == "segmentation")
    panel.until_idle()
    document = shown_run.store.load()
    assert len(document.objects) == 9 and document.history[-1].operation == "label"
    assert Path(document.history[-1].parameters["masks"]) == shown_run.folder / FEW
    panel.choose("mixer")
    panel.until("it to stand out", lambda: panel.output.text == "objects")
    panel.deselect()
    panel.until("the usual output", lambda: panel.output.text == "rgb")
    panel.undo()
    panel.until("the objects of before", lambda: panel.counts == before)
    masks.close()


@pytest.fixture(scope="module")
def crowded(panel: Panel, shown_run: Run) -> Segmentation:
    """What another program has saved meanwhile, and the panel has taken over."""
    made = crowd(shown_run.store.load(shown_run.splats()))
    shown_run.store.save(made)
    panel.files.open().button("Save").press()
    panel.until("the new document", lambda: f"{MANY} objects" in panel.objects.text)
    assert any(line.startswith("another program has changed the segmentation") for line in panel.said())
    return made


def test_a_hundred_objects_have_pages(panel: Panel, crowded: Segmentation):
    assert len(panel.names) == 6
    assert all_names(panel) == [*crowded.names, "background"]
    panel.use_mouse("pick an object")
    panel.click_on(HERE, MIXER)
    panel.until("its page", lambda: panel.selected_name == "mixer" and panel.names[0] == "mixer")
    panel.use_mouse("move the camera")
    panel.deselect()


def test_markup_in_names_is_shown_as_it_was_typed(panel: Panel, crowded: Segmentation):
    asked: list[str] = []
    panel.page.page.on("request", lambda request: asked.append(request.url))
    while MARKUP[-1] not in panel.names:
        panel.turn(">")
    for name in MARKUP:
        panel.choose(name)
        assert panel.selected.text_field("New name").text == name
        panel.edit.dropdown("Next one").choose("added to selected")
        panel.until("the name in a line of text", lambda name=name: f"is added to {name}\n" in panel.select.text)
        panel.edit.dropdown("Next one").choose("a new object")
    assert panel.page.page.locator("b, strong").count() == 0
    assert not any("x.example" in url for url in asked)
    panel.deselect()


def test_names_that_are_paths_stay_inside_the_run(panel: Panel, crowded: Segmentation, shown_run: Run):
    def files() -> set[Path]:
        return {path for path in shown_run.folder.parent.rglob("*") if path.is_file()}

    before = files()
    while PATHS[0] not in panel.names:
        panel.turn("<" if MARKUP[-1] in panel.names else ">")
    for name in PATHS:
        panel.choose(name)
        with panel.page.downloading() as downloads:
            panel.files.button_in_group("Export .ply", "Selected").press()
        assert "/" not in downloads[0].suggested_filename
        panel.until_idle()
    written = files() - before
    assert {path.parent for path in written} == {shown_run.folder / EXPORTS}
    assert len([path for path in written if path.suffix == ".ply"]) == 3
    panel.deselect()
