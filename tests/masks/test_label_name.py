from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from splatseg_ns.masks import LabelName, as_color, default_color
from splatseg_ns.masks.label_name import find_label_names, read_label_names, write_label_names

BEAR = LabelName(3, "bear", (230, 25, 75))
CUP = LabelName(70_000, "Tasse, groß", (0, 255, 1))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.json", '{"0": {"name": "background"}, "3": {"name": "bear", "color": [230, 25, 75], "model": "x"}}'),
        ("a.json", '{"3": {"name": "bear", "color": "#E6194b"}}'),
        ("a.json", '[{"id": 3, "name": "bear", "color": [230, 25, 75]}]'),
        ("a.csv", "id,name,color\n0,background,\n3,bear,#e6194b\n"),
        ("a.csv", "name, id, red, green, blue\nbear, 3, 230, 25, 75\n"),
        ("a.csv", "\ufeffid,name,color\r\n3,bear,e6194b\r\n"),
    ],
)
def test_every_form_is_read(tmp_path: Path, file: str, text: str):
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert read_label_names(tmp_path / file) == {3: BEAR}


def test_what_is_not_stated_has_a_default(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"5": "milk", "6": {"object": "cup", "part": "rim"}}')
    assert read_label_names(tmp_path / "a.json") == {
        5: LabelName(5, "milk", default_color(5)),
        6: LabelName(6, "object_6", default_color(6)),
    }


def test_written_names_come_back(tmp_path: Path):
    write_label_names(tmp_path / "labels.json", [CUP, BEAR])
    assert read_label_names(tmp_path / "labels.json") == {3: BEAR, 70_000: CUP}
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


def test_names_of_the_tabletop(shared_data: Path):
    names = read_label_names(shared_data / "tabletop" / "labels.json")
    assert list(names) == list(range(1, 10))
    assert names[1] == LabelName(1, "mixer", (230, 25, 75))


def test_names_lie_in_the_folder_or_beside_it(tmp_path: Path):
    folder = tmp_path / "parts"
    folder.mkdir()
    assert find_label_names(folder) is None
    (tmp_path / "parts.json").touch()
    assert find_label_names(folder) == tmp_path.resolve() / "parts.json"
    (folder / "labels.csv").touch()
    assert find_label_names(folder) == folder / "labels.csv"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.json", "{", r"a\.json: no readable names of labels"),
        ("a.json", '{"bear": 3}', "an id is a whole number of at least 0, got 'bear'"),
        ("a.json", '{"3": {"name": 4}}', "the name of 3 is 4, no text"),
        ("a.json", '[{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]', "the id 3 stands there twice"),
        ("a.json", '{"3": {"color": [256, 0, 0]}}', "a colour is three whole numbers from 0 to 255 or #rrggbb"),
        ("a.json", "7", "neither an object with ids as keys nor a list"),
        ("a.csv", "3,bear\n", "the first line of a CSV names the columns id and name"),
        ("a.csv", "id,name\n-1,bear\n", "an id is a whole number of at least 0, got '-1'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, file: str, text: str, message: str):
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_label_names(tmp_path / file)


def test_default_colors_of_neighbouring_ids_differ():
    colors = [default_color(id) for id in range(1, 21)]
    assert len(set(colors)) == 20
    for color, following in pairwise(colors):
        assert max(abs(a - b) for a, b in zip(color, following, strict=True)) > 60


@pytest.mark.parametrize("value", [[1, 2], [1, 2, 3, 4], [0.5, 0, 0], [True, 0, 0], "red", "#12345", None])
def test_what_is_no_color(value: object):
    with pytest.raises(ValueError, match="a colour is three whole numbers"):
        as_color(value)
