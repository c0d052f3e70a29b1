"""Pictures are read once, whoever asks, and in the background if that is wanted."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from splatseg_ns.masks import CachedSegmenter, Embedding, Prompts
from tests.masks.segmenters import FakeSegmenter, noise_picture, plain_picture


@pytest.fixture
def fake() -> FakeSegmenter:
    return FakeSegmenter()


@pytest.fixture
def cached(fake: FakeSegmenter, tmp_path: Path) -> CachedSegmenter:
    return CachedSegmenter(fake, tmp_path)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "splatseg-reader"]


def join_readers() -> None:
    for reader in readers():
        reader.join(timeout=10)


def assert_same(one: Embedding, other: Embedding) -> None:
    assert (one.width, one.height) == (other.width, other.height)
    assert [part.dtype for part in one.features] == [part.dtype for part in other.features]
    assert all(map(torch.equal, one.features, other.features))


def test_a_picture_is_read_once_in_a_run(cached: CachedSegmenter, fake: FakeSegmenter):
    first = cached.embed(plain_picture(7))
    assert cached.embed(plain_picture(7)) is first
    assert fake.read == [7]
    assert cached.name == "fake"
    assert cached.predict(first, Prompts.of([(1, 1)])).masks().shape == (1, 3, 4, 6)


def test_and_once_in_all_runs(cached: CachedSegmenter, fake: FakeSegmenter, tmp_path: Path):
    first = cached.embed(plain_picture(7))
    assert_same(CachedSegmenter(fake, tmp_path).embed(plain_picture(7)), first)
    assert fake.read == [7]


def test_pictures_and_models_are_told_apart(fake: FakeSegmenter, tmp_path: Path):
    flat, tall = plain_picture(7, 4, 6), plain_picture(7, 6, 4)
    cached = CachedSegmenter(fake, tmp_path)
    for picture in (flat, tall, plain_picture(8)):
        cached.embed(picture)
    assert fake.read == [7, 7, 8]
    other = FakeSegmenter("other/../model 2")
    CachedSegmenter(other, tmp_path).embed(flat)
    assert other.read == [7]
    assert sorted({path.parent.name for path in files(tmp_path)}) == ["fake", "other-model-2"]


def test_a_part_of_a_picture_is_a_picture(cached: CachedSegmenter, fake: FakeSegmenter):
    whole = noise_picture(8, 8)
    cached.embed(whole[2:6, 2:6])
    cached.embed(whole[2:6, 2:6].clone())
    assert len(fake.read) == 1


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"features_1") + 150] ^= 4
    path.write_bytes(content)


def tell_of_fewer_numbers(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b"(2, 3000)") == 1
    path.write_bytes(content.replace(b"(2, 3000)", b"(2, 1000)"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose_an_array(path: Path) -> None:
    np.savez(path, size=np.array([6, 4]), other=np.zeros(3))


def hide_code(path: Path) -> None:
    np.savez(path, size=np.array([6, 4]), features_0=np.array([Trap(path.parent / "sprung")], dtype=object))


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, tell_of_fewer_numbers, empty, lose_an_array, hide_code])
def test_a_damaged_file_is_read_anew(fake: FakeSegmenter, tmp_path: Path, damage):
    first = CachedSegmenter(fake, tmp_path).embed(plain_picture(7))
    (path,) = files(tmp_path)
    damage(path)
    assert_same(CachedSegmenter(fake, tmp_path).embed(plain_picture(7)), first)
    assert_same(CachedSegmenter(fake, tmp_path).embed(plain_picture(7)), first)
    assert fake.read == [7, 7]
    assert files(tmp_path) == [path]


def test_what_was_not_used_for_longest_goes_first(fake: FakeSegmenter, tmp_path: Path):
    CachedSegmenter(fake, tmp_path).embed(plain_picture(0))
    (path,) = files(tmp_path)
    room = 3 * path.stat().st_size
    for value in (1, 2):
        CachedSegmenter(fake, tmp_path, room).embed(plain_picture(value))
    for age, path in enumerate(sorted(files(tmp_path), key=lambda path: path.stat().st_mtime_ns, reverse=True)):
        os.utime(path, ns=(10**18 - age, 10**18 - age))
    (tmp_path / "fake" / "notes.txt").write_text("not ours")
    CachedSegmenter(fake, tmp_path, room).embed(plain_picture(0))  # used again
    CachedSegmenter(fake, tmp_path, room).embed(plain_picture(3))
    fake.read.clear()
    for value in (0, 2, 3, 1):
        CachedSegmenter(fake, tmp_path, 10 * room).embed(plain_picture(value))
    assert fake.read == [1]
    assert (tmp_path / "fake" / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_is_said_once(fake: FakeSegmenter, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    cached = CachedSegmenter(fake, tmp_path / "file" / "below")
    with pytest.warns(UserWarning, match=r"file.below: not a directory; .* SPLATSEG_CACHE") as said:
        cached.embed(plain_picture(1))
    assert len(said) == 1
    with warnings.catch_warnings(action="error"):
        cached.embed(plain_picture(2))
        for value in (1, 2):
            cached.embed(plain_picture(value))
    assert fake.read == [1, 2]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"SPLATSEG_CACHE": "{}/chosen", "XDG_CACHE_HOME": "{}/shared"}, "chosen/embeddings"),
        ({"XDG_CACHE_HOME": "{}/shared"}, "shared/splatseg_ns/embeddings"),
        ({"XDG_CACHE_HOME": "relative"}, ".cache/splatseg_ns/embeddings"),
        ({}, ".cache/splatseg_ns/embeddings"),
    ],
)
def test_the_user_s_folder(
    variables: dict[str, str], folder: str, fake: FakeSegmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("SPLATSEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    CachedSegmenter(fake).embed(plain_picture(1))
    assert len(list((tmp_path / folder / "fake").glob("*.npz"))) == 1


def test_one_reads_for_all_who_ask(fake: FakeSegmenter, tmp_path: Path):
    slow = SlowSegmenter()
    cached = CachedSegmenter(slow, tmp_path)
    found: list[Embedding] = []
    askers = [threading.Thread(target=lambda: found.append(cached.embed(plain_picture(5)))) for _ in range(4)]
    for asker in askers:
        asker.start()
    slow.begun.acquire(timeout=10)
    slow.gate.set()
    for asker in askers:
        asker.join(timeout=10)
    assert slow.read == [5] and len(found) == 4


class SlowSegmenter(FakeSegmenter):
    """Reads no picture before the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)

    def embed(self, image: Tensor) -> Embedding:
        self.begun.release()
        assert self.gate.wait(timeout=10)
        return super().embed(image)


def test_pictures_are_read_ahead_in_order(cached: CachedSegmenter, fake: FakeSegmenter):
    cached.embed(plain_picture(3))
    with cached.prefetch(plain_picture(value) for value in range(20)):
        join_readers()
        read = list(zip(fake.read_by, fake.read, strict=True))
        assert len(read) == 20
        for reader in set(fake.read_by) - {threading.get_ident()}:
            own = [value for by, value in read if by == reader]
            assert own == sorted(own) and 3 not in own
        for value in range(20):
            assert cached.embed(plain_picture(value)).features[0][0] == value
    assert len(fake.read) == 20


def test_none_is_read_twice_however_the_caller_goes_through_them(cached: CachedSegmenter, fake: FakeSegmenter):
    with cached.prefetch(plain_picture(value) for value in range(50)):
        for value in (*range(50), *reversed(range(50))):
            assert cached.embed(plain_picture(value)).features[0][0] == value
    assert sorted(fake.read) == list(range(50))
    assert readers() == []


def test_they_are_read_while_the_caller_does_something_else(fake: FakeSegmenter, tmp_path: Path):
    slow = SlowSegmenter()
    slow.gate.set()
    cached = CachedSegmenter(slow, tmp_path)
    with cached.prefetch([plain_picture(1), plain_picture(2)]):
        for _ in range(2):
            assert slow.begun.acquire(timeout=10)
        assert {cached.embed(plain_picture(value)).width for value in (1, 2)} == {6}
    assert sorted(slow.read) == [1, 2]


def test_at_the_end_of_the_block_the_rest_is_left(tmp_path: Path):
    slow = SlowSegmenter()
    cached = CachedSegmenter(slow, tmp_path)

    def interrupted() -> None:
        with cached.prefetch(plain_picture(value) for value in range(100)):
            assert slow.begun.acquire(timeout=10)
            threading.Timer(0.1, slow.gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert readers() == []
    assert len(slow.read) <= 2
    cached.embed(plain_picture(99))
    assert slow.read[-1] == 99


class FailingSegmenter(FakeSegmenter):
    def embed(self, image: Tensor) -> Embedding:
        if image[0, 0, 0] == 2:
            raise RuntimeError("out of memory")
        return super().embed(image)


def test_what_goes_wrong_with_a_picture_comes_out_where_it_is_wanted(tmp_path: Path):
    cached = CachedSegmenter(FailingSegmenter(), tmp_path)
    with cached.prefetch(plain_picture(value) for value in range(3)):
        for value in (0, 1):
            cached.embed(plain_picture(value))
        with pytest.raises(RuntimeError, match="out of memory"):
            cached.embed(plain_picture(2))
    assert readers() == []
    with pytest.raises(RuntimeError, match="out of memory"):
        cached.embed(plain_picture(2))
    cached.embed(plain_picture(3))


def test_and_only_there(tmp_path: Path):
    cached = CachedSegmenter(FailingSegmenter(), tmp_path)
    with cached.prefetch([plain_picture(2)]):
        join_readers()
        cached.embed(plain_picture(3))
        with pytest.raises(RuntimeError, match="out of memory"):
            cached.embed(plain_picture(2))


def test_and_so_does_what_goes_wrong_with_the_pictures_themselves(cached: CachedSegmenter):
    def pictures() -> Iterator[Tensor]:
        yield plain_picture(0)
        raise OSError("frame_2.png: cut short")

    with cached.prefetch(pictures()):
        cached.embed(plain_picture(0))
        join_readers()
        with pytest.raises(OSError, match="cut short"):
            cached.embed(plain_picture(1))
        cached.embed(plain_picture(1))


def test_the_caller_keeps_its_threads(cached: CachedSegmenter):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with cached.prefetch(plain_picture(value) for value in range(5)):
            cached.embed(plain_picture(9))
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
