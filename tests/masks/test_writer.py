from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from splatseg_ns.masks import LabelFolder, LabelFolderConfig, LabelName, write_label_folder, write_label_map
from splatseg_ns.scene import IGNORED

NAMES = [LabelName(3, "bear", (1, 2, 3)), LabelName(70_000, "cup", (4, 5, 6))]


def test_what_is_written_comes_back(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    maps = {
        view: torch.randint(0, highest + 1, (6, 8), generator=generator)
        for view, highest in {"a": 255, "left/1": 65_535, "right/1": 2**31 - 1, "empty": 0}.items()
    }
    write_label_folder(tmp_path / "new" / "masks", maps.items(), NAMES)
    folder = LabelFolder.open(tmp_path / "new" / "masks", maps)
    assert list(folder.sources) == list(maps)
    for view, label_map in maps.items():
        assert torch.equal(folder.read(view).long(), label_map)
    assert list(folder.names.values()) == NAMES


@pytest.mark.parametrize(("highest", "file", "mode"), [(255, "a.png", "L"), (256, "a.png", "I;16")])
def test_pictures_are_as_small_as_their_ids_allow(tmp_path: Path, highest: int, file: str, mode: str):
    path = write_label_map(tmp_path, "a", torch.tensor([[0, highest]]))
    assert path == tmp_path / file
    with Image.open(path) as picture:
        assert picture.mode == mode


def test_a_map_replaces_one_of_another_kind(tmp_path: Path):
    write_label_map(tmp_path, "a.b", torch.tensor([[70_000]]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.b.npy"]
    write_label_map(tmp_path, "a.b", torch.tensor([[7]]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.b.png"]


def test_ignored_pixels_need_a_value(tmp_path: Path):
    label_map = torch.tensor([[0, IGNORED, 3]])
    with pytest.raises(ValueError, match="the map of view a has ignored pixels; say which value stands for them"):
        write_label_map(tmp_path, "a", label_map)
    write_label_map(tmp_path, "a", label_map, ignore=255)
    assert LabelFolder.open(tmp_path, ["a"], LabelFolderConfig(ignore=255)).read("a").tolist() == label_map.tolist()


def test_other_negative_ids_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="the map of view a holds -5; ids are 0 or more"):
        write_label_map(tmp_path, "a", torch.tensor([[-5]]))


@pytest.mark.parametrize("view", ["../a", "a/../../b", "/a", "", "a\\b", "a\0"])
def test_no_view_leads_out_of_the_folder(tmp_path: Path, view: str):
    with pytest.raises(ValueError, match="is no name of a view"):
        write_label_map(tmp_path / "masks", view, torch.tensor([[1]]))
    assert list(tmp_path.iterdir()) == []
