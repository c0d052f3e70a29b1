from __future__ import annotations

from pathlib import Path

import pytest

from splatseg_ns.scene import atomic_write


def test_the_file_appears_whole_at_the_end(tmp_path: Path):
    path = tmp_path / "votes.npz"
    path.write_bytes(b"old")
    with atomic_write(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_nothing_behind(tmp_path: Path):
    def write_half() -> None:
        with atomic_write(tmp_path / "votes.npz") as stream:
            stream.write(b"half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert not list(tmp_path.iterdir())
