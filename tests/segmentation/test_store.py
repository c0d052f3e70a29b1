from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from splatseg_ns.scene import render_profile
from splatseg_ns.segmentation import EditingSession, Segmentation, SegmentationStore
from splatseg_ns.segmentation import store as store_module
from tests.segmentation.examples import example_document, example_splats, example_votes, state

SPLATS = example_splats()
FILES = ["labels.npz", "objects.json", "votes.npz"]


# Made once, because its history has the second in which it was made.
@cache
def document_with_votes(seed: int = 0, mass: float = 1.0) -> Segmentation:
    return example_document(SPLATS, seed, example_votes(len(SPLATS), mass))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def change_objects(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "objects.json").read_text())
    change(content)
    (folder / "objects.json").write_text(json.dumps(content))


@pytest.fixture
def store(tmp_path: Path) -> SegmentationStore:
    return SegmentationStore(tmp_path / "run" / "segmentation")


@pytest.fixture
def saved(store: SegmentationStore) -> SegmentationStore:
    """With a document in it."""
    store.save(document_with_votes())
    return store


@pytest.mark.parametrize("votes", [True, False])
def test_a_saved_document_comes_back(store: SegmentationStore, votes: bool):
    document = document_with_votes() if votes else example_document(SPLATS)
    document = replace(document, profile=render_profile("inria", antialiased=True), next_id=40_000)
    assert not store.exists()
    kept = store.save(document)
    assert store.exists()
    assert names_in(store.folder) == (FILES if votes else FILES[:2])
    assert state(store.load(SPLATS)) == state(store.load()) == state(kept) == state(document)


def test_a_hidden_background_stays_hidden(store: SegmentationStore):
    hidden = replace(document_with_votes(), background_visible=False)
    store.save(hidden)
    assert json.loads((store.folder / "objects.json").read_text())["background_visible"] is False
    assert state(store.load(SPLATS)) == state(hidden)
    store.save(document_with_votes())
    assert store.load(SPLATS).background_visible


def test_documents_from_before_there_was_a_choice_show_their_background(saved: SegmentationStore):
    change_objects(saved.folder, lambda content: content.pop("background_visible"))
    assert state(saved.load(SPLATS)) == state(document_with_votes())


@pytest.mark.parametrize("value", ["no", 0, None, []])
def test_a_background_that_is_neither_shown_nor_hidden(saved: SegmentationStore, value: object):
    change_objects(saved.folder, lambda content: content.update(background_visible=value))
    with pytest.raises(ValueError, match=r"segmentation: background_visible is true or false, got ") as caught:
        saved.load(SPLATS)
    assert "\n" not in str(caught.value)


def parts_document(seed: int = 3) -> Segmentation:
    """The same Gaussians, with kinds."""
    document = example_document(SPLATS, seed, example_votes(len(SPLATS), 5.0))
    kinds = {1: "paw", 2: "paw", 5: ""}
    return document.with_objects(*(replace(entry, kind=kinds[entry.id]) for entry in document.objects))


def test_kinds_are_kept_and_only_parts_state_one(store: SegmentationStore):
    parts = parts_document()
    store.save(parts)
    assert state(store.load(SPLATS)) == state(parts)
    assert [entry.kind for entry in store.load(SPLATS).objects] == ["paw", "paw", ""]
    stated = json.loads((store.folder / "objects.json").read_text())["objects"]
    assert [entry.get("kind") for entry in stated] == ["paw", "paw", None]
    # Documents of objects are written as they always were.
    store.save(document_with_votes())
    assert all("kind" not in entry for entry in json.loads((store.folder / "objects.json").read_text())["objects"])


def test_documents_from_before_there_were_parts_have_no_kinds(store: SegmentationStore):
    store.save(parts_document())
    change_objects(store.folder, lambda content: [entry.pop("kind", None) for entry in content["objects"]])
    assert [entry.kind for entry in store.load(SPLATS).objects] == ["", "", ""]


@pytest.mark.parametrize("value", [None, 7, ["paw"], {}])
def test_a_kind_that_is_no_text(store: SegmentationStore, value: object):
    store.save(parts_document())
    change_objects(store.folder, lambda content: content["objects"][0].update(kind=value))
    with pytest.raises(ValueError, match="segmentation: object bear: its kind is text, got ") as caught:
        store.load(SPLATS)
    assert "\n" not in str(caught.value)


def test_parts_lie_in_a_folder_within_and_leave_the_objects_as_they_are(saved: SegmentationStore):
    def files() -> dict[str, tuple[bytes, int, int]]:
        stats = {path.name: path.stat() for path in saved.folder.iterdir() if path.is_file()}
        return {name: ((saved.folder / name).read_bytes(), s.st_ino, s.st_mtime_ns) for name, s in stats.items()}

    before, objects, parts = files(), state(saved.load(SPLATS)), parts_document()
    assert saved.parts.folder == saved.folder / "parts" and not saved.parts.exists()
    assert not saved.parts.folder.exists() and saved.parts.stamp() is None
    saved.parts.save(parts)
    assert saved.parts.exists() and names_in(saved.parts.folder) == FILES
    assert files() == before and names_in(saved.folder) == [*FILES[:2], "parts", *FILES[2:]]
    assert state(saved.load(SPLATS)) == objects and state(saved.parts.load(SPLATS)) == state(parts)


def test_objects_leave_their_parts_as_they_are(saved: SegmentationStore):
    parts = parts_document()
    saved.parts.save(parts)
    stamp = saved.parts.stamp()
    saved.save(document_with_votes(seed=1, mass=2.0))
    assert saved.parts.stamp() == stamp and state(saved.parts.load(SPLATS)) == state(parts)


def test_parts_need_no_objects(store: SegmentationStore):
    parts, objects = parts_document(), document_with_votes()
    store.parts.save(parts)
    assert not store.exists() and store.stamp() is None
    assert state(store.parts.load(SPLATS)) == state(parts)
    store.save(objects)
    assert state(store.load(SPLATS)) == state(objects)


def test_the_stamp_tells_one_save_from_another(store: SegmentationStore):
    assert store.stamp() is None
    store.save(document_with_votes())
    first = store.stamp()
    assert first is not None and first == store.stamp() == SegmentationStore(store.folder).stamp()
    store.load(SPLATS).votes()
    assert store.stamp() == first
    # The same document again is a save of its own.
    stamps = [first]
    for _ in range(3):
        store.save(document_with_votes())
        stamps.append(store.stamp())
    assert len(set(stamps)) == 4
    (store.folder / "objects.json").unlink()
    assert store.stamp() is None


def test_where_no_folder_can_be_there_is_no_document(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    store = SegmentationStore(tmp_path / "file")
    assert not store.exists() and store.stamp() is None
    with pytest.raises(OSError, match="file"):
        store.save(document_with_votes())


def test_documents_without_objects_or_gaussians(store: SegmentationStore):
    for splats in (SPLATS, SPLATS.subset(torch.arange(0))):
        store.save(Segmentation.of(splats))
        assert state(store.load(splats)) == state(Segmentation.of(splats))


def test_people_can_read_it(saved: SegmentationStore):
    content = json.loads((saved.folder / "objects.json").read_text())
    assert content["version"] == 1
    assert content["splats"]["count"] == len(SPLATS)
    assert content["splats"]["profile"]["name"] == "gsplat-1.4"
    counts = document_with_votes().counts()
    assert [(entry["name"], entry["gaussians"]) for entry in content["objects"]] == [
        ("bear", counts[1]),
        ("cup", counts[2]),
        ("knife", counts[5]),
    ]
    with np.load(saved.folder / "labels.npz", allow_pickle=False) as archive:
        assert archive["labels"].tolist() == document_with_votes().labels.tolist()


def test_votes_are_read_only_when_asked_for(saved: SegmentationStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module.Votes, "load", staticmethod(lambda path: pytest.fail("votes were read")))
    document = saved.load(SPLATS)
    assert document.votes_source is not None
    saved.save(replace(document, objects=(), labels=torch.zeros_like(document.labels)))


def test_votes_that_have_not_changed_are_not_written_again(saved: SegmentationStore):
    written = (saved.folder / "votes.npz").stat().st_mtime_ns, (saved.folder / "votes.npz").stat().st_ino
    document = saved.load(SPLATS)
    document.votes()
    session = EditingSession(document, SPLATS)
    for _ in range(2):
        session.rename(2, session.document.object(2).name + "x")
        saved.save(session.document)
    assert ((saved.folder / "votes.npz").stat().st_mtime_ns, (saved.folder / "votes.npz").stat().st_ino) == written
    assert state(saved.load(SPLATS)) == state(session.document)


def test_votes_that_were_just_saved_need_not_be_read_again(store: SegmentationStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module.Votes, "load", staticmethod(lambda path: pytest.fail("votes were read")))
    kept = store.save(document_with_votes())
    assert state(kept) == state(document_with_votes())
    # Also after a save that found them on disk as they are.
    assert state(store.save(replace(kept, history=()))) == state(replace(document_with_votes(), history=()))


def test_new_votes_replace_old_ones_and_none_remove_them(saved: SegmentationStore):
    document = saved.load(SPLATS).with_votes(example_votes(len(SPLATS), 7.0))
    saved.save(document)
    assert state(saved.load(SPLATS)) == state(document)
    saved.save(document.with_votes(None))
    assert saved.load(SPLATS).votes() is None
    assert names_in(saved.folder) == FILES[:2]


def test_a_document_moves_to_another_folder_with_its_votes(saved: SegmentationStore, tmp_path: Path):
    other = SegmentationStore(tmp_path / "other")
    other.save(saved.load(SPLATS))
    assert state(other.load(SPLATS)) == state(saved.load(SPLATS))


def test_votes_replaced_by_another_process_are_not_mistaken_for_the_old(saved: SegmentationStore):
    document, loaded = saved.load(SPLATS), saved.load(SPLATS)
    loaded.votes()
    SegmentationStore(saved.folder).save(document_with_votes(seed=1, mass=9.0))
    with pytest.raises(ValueError, match="another process has replaced the votes of this document; load again"):
        saved.save(document)
    with pytest.raises(ValueError, match=r"votes\.npz: does not belong to objects\.json"):
        document.votes()
    saved.save(loaded)
    assert state(saved.load(SPLATS)) == state(document_with_votes())


def test_splats_that_have_changed_are_named_in_one_line(saved: SegmentationStore):
    for splats in (example_splats(61), SPLATS.subset(torch.arange(len(SPLATS)).flip(0))):
        with pytest.raises(ValueError, match="segmentation: the splats have changed since they were segme") as caught:
            saved.load(splats)
        assert "\n" not in str(caught.value)


def test_nothing_saved(store: SegmentationStore):
    with pytest.raises(FileNotFoundError, match="no segmentation has been saved here"):
        store.load()


def test_a_newer_version_is_neither_read_nor_overwritten(saved: SegmentationStore):
    change_objects(saved.folder, lambda content: content.update(version=2))
    before = {name: (saved.folder / name).read_bytes() for name in FILES}
    with pytest.raises(
        ValueError, match=r"objects\.json: has version 2, this splatseg_ns knows 1; install a newer one"
    ):
        saved.load()
    with pytest.raises(ValueError, match="has version 2"):
        saved.save(document_with_votes())
    assert {name: (saved.folder / name).read_bytes() for name in names_in(saved.folder)} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("version"), "states no version"),
        (lambda content: content.pop("digests"), "does not state the digests of its files"),
        (lambda content: content.pop("splats"), "lacks 'splats'"),
        (lambda content: content["splats"].update(count=3), "labels.npz has 60 labels, objects.json speaks of 3"),
        (lambda content: content["splats"]["profile"].update(colour=3), "the unknown entries colour"),
        (lambda content: content["objects"].pop(), "has the label 5, but no object has this id"),
        (lambda content: content["objects"][0].update(name="cup"), "two objects have the name 'cup'"),
        (lambda content: content["objects"][0].update(color=[1, 2, 300]), "a colour is three whole numbers"),
        (lambda content: content["objects"][0].update(id="../x"), "the id of an object is a whole number"),
        (lambda content: content["digests"].update(labels="../../x"), r"labels\.npz: does not belong to objects"),
        (lambda content: content.update(objects=7), "segmentation: "),
        (lambda content: content["splats"].update(profile=7), "segmentation: "),
    ],
)
def test_documents_that_make_no_sense_are_refused(
    saved: SegmentationStore, change: Callable[[dict[str, Any]], object], message: str
):
    change_objects(saved.folder, change)
    with pytest.raises(ValueError, match=message):
        saved.load(SPLATS)


def test_files_that_were_harmed_are_noticed(saved: SegmentationStore):
    (saved.folder / "labels.npz").unlink()
    with pytest.raises(ValueError, match=r"labels\.npz: is missing"):
        saved.load()
    saved.save(document_with_votes())
    (saved.folder / "votes.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"votes\.npz: does not belong to objects\.json"):
        saved.load().votes()
    (saved.folder / "objects.json").write_text("{")
    with pytest.raises(ValueError, match=r"objects\.json: no valid JSON"):
        saved.load()


def test_labels_with_pickles_are_not_opened(saved: SegmentationStore):
    np.savez(saved.folder / "labels.npz", labels=np.array([{}], object))
    digest = store_module._digest_of(saved.folder / "labels.npz")
    change_objects(saved.folder, lambda content: content["digests"].update(labels=digest))
    with pytest.raises(ValueError, match=r"labels\.npz: no readable labels"):
        saved.load()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("first_save", [False, True])
def test_a_save_that_ends_at_any_step_leaves_the_old_or_the_new_document(
    store: SegmentationStore, monkeypatch: pytest.MonkeyPatch, first_save: bool
):
    old, new, later = (document_with_votes(seed, mass) for seed, mass in ((0, 1.0), (1, 2.0), (2, 3.0)))
    outcomes = []
    for step in range(100):
        calls = 0

        def counted(original: Callable[..., Any], step: int = step) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                # A dead process runs none of its cleaning up either.
                if calls > step:
                    raise Killed
                return original(*arguments, **named)

            return call

        if first_save:
            for path in store.folder.glob("*"):
                path.unlink()
        else:
            store.save(old)
        try:
            with monkeypatch.context() as patched:
                for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "open")):
                    patched.setattr(owner, name, counted(getattr(owner, name)))
                store.save(new)
        except Killed:
            pass
        else:
            break
        if store.exists():
            found = state(store.load(SPLATS))
            assert found in (state(old), state(new))
            outcomes.append(found == state(new))
        else:
            assert first_save
            outcomes.append(False)
        store.save(later)
        assert state(store.load(SPLATS)) == state(later)
        assert names_in(store.folder) == FILES
    else:
        pytest.fail("the save never ended")
    # Old documents first, then new ones, and both do occur.
    assert outcomes == sorted(outcomes)
    assert {True, False} <= set(outcomes)


KILLS = 40

KILLING = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from splatseg_ns.segmentation import SceneObject, Segmentation, SegmentationStore
from tests.segmentation.examples import example_splats, example_votes

# A forked process must not wait for threads that only its parent has.
torch.set_num_threads(1)
splats = example_splats(2000)
store = SegmentationStore(Path(sys.argv[1]))

def document(number):
    labels = torch.full((len(splats),), number)
    return Segmentation.of(splats, labels, [SceneObject.new(number, f"object {number}")],
                           example_votes(len(splats), float(number)))

def number_of(found):
    numbers = {*found.ids, *found.labels.tolist(), int(found.objects[0].name.split()[1]), *found.votes().mass.tolist()}
    assert len(numbers) == 1, numbers
    return numbers.pop()

store.save(document(1))
random.seed(0)
last, moved = 1, 0
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        try:
            for number in range(last + 1, last + 10_000):
                store.save(document(number))
        finally:
            os._exit(1)
    time.sleep(random.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    found = number_of(store.load(splats))
    assert found >= last, (found, last)
    moved += found > last
    last = found
store.save(document(last + 1))
print(moved, *sorted(path.name for path in store.folder.iterdir()))
"""


def test_killing_a_process_that_saves_leaves_a_whole_document(tmp_path: Path):
    command = [sys.executable, "-c", KILLING, str(tmp_path / "segmentation"), str(KILLS)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr
    moved, *files = result.stdout.split()
    assert files == FILES
    assert int(moved) > KILLS // 4


def test_two_savers_and_a_reader_at_once(saved: SegmentationStore):
    documents = [document_with_votes(seed, float(seed + 1)) for seed in range(2)]
    states = [state(document) for document in documents]
    saved.save(documents[0])
    failures: list[BaseException] = []

    def repeat(work: Callable[[], object]) -> None:
        try:
            for _ in range(15):
                work()
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        found = SegmentationStore(saved.folder).load(SPLATS)
        votes_gone = False
        try:
            found.votes()
        except ValueError:
            votes_gone = True
        assert votes_gone or state(found) in states

    savers = [lambda document=document: SegmentationStore(saved.folder).save(document) for document in documents]
    threads = [threading.Thread(target=repeat, args=(work,)) for work in (*savers, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert state(saved.load(SPLATS)) in states
