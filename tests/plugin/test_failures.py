"""What is wrong with a run ends every ``splatseg`` command, and what runs inside ns-*, with one clear line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image

from splatseg_ns.cli import main
from splatseg_ns.plugin.runs import Run
from tests.cli.examples import SceneOnDisk
from tests.cli.test_label import failure
from tests.plugin.examples import document_of, halves
from tests.plugin.test_training import quick, training

pytestmark = pytest.mark.slow

COMMANDS = {
    "attach": ["--out", "{out}"],
    "eval": ["--masks", "{masks}"],
    "export": ["--all", "--no-revote", "--out", "{out}"],
    "extract": ["--objects", "1", "--no-revote", "--out", "{out}"],
    "label": ["--masks", "{masks}"],
    "masks": ["--out", "{out}"],
    "objects": [],
    "prune": ["--out", "{out}"],
    "remove": ["--objects", "1", "--out", "{out}"],
}
"""Each with what it needs."""


def truncated_checkpoint(run: Run) -> str:
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:5000])
    return "no readable checkpoint"


def checkpoint_of_something_else(run: Run) -> str:
    torch.save({"step": 3, "pipeline": {"_model.field.weight": torch.ones(3)}}, run.checkpoint)
    return "is it a checkpoint of splatfacto?"


def checkpoint_with_a_hole(run: Run) -> str:
    content = torch.load(run.checkpoint, weights_only=True)
    content["pipeline"]["_model.gauss_params.means"][7] = torch.nan
    torch.save(content, run.checkpoint)
    return "are not finite"


def no_checkpoint(run: Run) -> str:
    shutil.rmtree(run.checkpoint_folder)
    return "no checkpoint"


def other_splats(run: Run) -> str:
    splats = run.splats().subset(torch.arange(100))
    run.store.save(document_of(splats, halves(splats)))
    return "the splats have changed since they were segmented"


def broken_document(run: Run) -> str:
    (run.store.folder / "objects.json").write_text("{")
    return "no valid JSON"


def document_without_labels(run: Run) -> str:
    (run.store.folder / "labels.npz").unlink()
    return "is missing"


def document_of_the_future(run: Run) -> str:
    path = run.store.folder / "objects.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    return "has version 99"


def no_capture(run: Run) -> str:
    config = run.folder / "config.yml"
    config.write_text(config.read_text().replace("- capture\n", "- gone\n"))
    return "say with --data where it is now"


OF_CHECKPOINTS = (truncated_checkpoint, checkpoint_of_something_else, checkpoint_with_a_hole, no_checkpoint)
OF_DOCUMENTS = (other_splats, broken_document, document_without_labels, document_of_the_future)


@pytest.mark.parametrize("damage", [*OF_CHECKPOINTS, *OF_DOCUMENTS, no_capture], ids=lambda damage: damage.__name__)
def test_every_command_says_what_is_wrong_and_writes_nothing(
    damage: Callable[[Run], str],
    labelled_run: Run,
    scene: SceneOnDisk,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    reason = damage(labelled_run)
    harmless = {
        # Labels are made anew, whatever those were that do not fit.
        other_splats: {"label"},
        document_without_labels: {"label"},
        # They need no pictures.
        no_capture: {"objects", "export"},
    }
    files = {path: path.read_bytes() for path in labelled_run.folder.rglob("*") if path.is_file()}
    for command, words in COMMANDS.items():
        if command in harmless.get(damage, set()):
            continue
        given = [word.format(out=tmp_path / "out", masks=scene.masks) for word in words]
        named = ["--load-config", str(labelled_run.folder / "config.yml"), "--device", "cpu"]
        line = failure(capsys, command, *named, *given)
        assert line.startswith(f"splatseg {command}: ") and reason in line, line
        assert not (tmp_path / "out").exists(), command
    assert {path: path.read_bytes() for path in labelled_run.folder.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("damage", OF_DOCUMENTS, ids=lambda damage: damage.__name__)
def test_a_bad_document_ends_ns_tools_with_one_line(damage: Callable[[Run], str], labelled_run: Run):
    """All of ns-viewer, ns-eval, ns-render and ns-export load a run by this function, and leave SystemExit alone."""
    reason = damage(labelled_run)
    with pytest.raises(SystemExit) as stopped:
        eval_setup(labelled_run.folder / "config.yml", test_mode="inference")
    line = str(stopped.value)
    assert line.startswith("splatseg: ") and reason in line and "\n" not in line


@pytest.mark.parametrize("damage", OF_CHECKPOINTS, ids=lambda damage: damage.__name__)
def test_broken_splats_are_not_attached_without_a_document_either(
    damage: Callable[[Run], str], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reason = damage(run)
    assert reason in failure(capsys, "attach", "--load-config", str(run.folder), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_capture_that_is_gone_ends_ns_tools_with_one_line(run: Run):
    no_capture(run)
    with pytest.raises(SystemExit, match=r"^splatseg: .*gone: no such capture; .*splatseg attach"):
        eval_setup(run.folder / "config.yml", test_mode="inference")


@pytest.mark.parametrize("name", ["view_01", "view_03"], ids=["train", "test"])
def test_bad_pictures_end_training_with_one_line(name: str, scene: SceneOnDisk, tmp_path: Path):
    data = tmp_path / "capture"
    shutil.copytree(scene.data, data)
    picture = data / "images" / f"{name}.png"
    config = quick(replace(scene, data=data), tmp_path, steps=2)
    with Image.open(picture) as whole:
        whole.resize((48, 36)).save(picture)
    line = r"^splatseg: .*capture: its pictures cannot be used \(.*48, 36.*\); put them right$"
    with pytest.raises(SystemExit, match=line), training(config):
        pass
    picture.unlink()
    line = rf"^splatseg: .*{name}\.png: no such picture, and 0 others of .* are missing; put them back$"
    with pytest.raises(SystemExit, match=line), training(config):
        pass


def test_pictures_that_are_missing_or_broken(
    run: Run, scene: SceneOnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Refinement needs all of those that training used."""
    data = tmp_path / "capture"
    shutil.copytree(scene.data, data)
    words = ["--load-config", str(run.folder), "--data", str(data), "--device", "cpu", "--masks", str(scene.masks)]
    refine = ["--refine", str(tmp_path / "fine.ply"), "--refine-steps", "2"]
    (data / "images" / "view_01.png").write_bytes(b"no picture")
    assert "view_01.png" in failure(capsys, "label", *words, *refine)
    (data / "images" / "view_01.png").unlink()
    assert "view_01.png" in failure(capsys, "label", *words, *refine)
    assert not (tmp_path / "fine.ply").exists()
    # Votes need masks alone.
    assert main(["label", *words]) == 0
