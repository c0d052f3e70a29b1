from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from splatseg_ns.scene import PROFILES, Splats, read_ply, read_ply_scene, read_points_ply, write_ply
from tests.scene.examples import random_splats, read_rows_by_hand, write_ply_by_hand

STANDARD = {
    degree: [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{number}" for number in range(rest_count)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    for degree, rest_count in enumerate((0, 9, 24, 45))
}
"""The fields of a 3DGS file as the first trainer wrote them."""


def columns_of(splats: Splats) -> dict[str, np.ndarray]:
    """The fields of a file by name, assembled one by one."""
    columns = {name: splats.means[:, index] for index, name in enumerate("xyz")}
    columns |= {f"n{axis}": torch.zeros(len(splats)) for axis in "xyz"}
    columns |= {f"f_dc_{channel}": splats.sh[:, 0, channel] for channel in range(3)}
    rest_count = splats.sh.shape[1] - 1
    for channel in range(3):
        for k in range(rest_count):
            columns[f"f_rest_{channel * rest_count + k}"] = splats.sh[:, 1 + k, channel]
    columns["opacity"] = splats.logit_opacities
    columns |= {f"scale_{index}": splats.log_scales[:, index] for index in range(3)}
    columns |= {f"rot_{index}": splats.raw_quats[:, index] for index in range(4)}
    return {name: column.numpy() for name, column in columns.items()}


def assert_same_bits(one: Splats, other: Splats) -> None:
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor.view(torch.int32), other.tensors()[name].view(torch.int32)), name


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("layout", ["inria", "without normals", "shuffled"])
def test_every_layout_is_read(tmp_path: Path, degree: int, layout: str):
    splats = random_splats(5, degree)
    columns = columns_of(splats)
    if layout == "inria":
        assert list(columns) == STANDARD[degree]
    if layout == "without normals":
        columns = {name: column for name, column in columns.items() if name[0] != "n"}
    if layout == "shuffled":
        order = np.random.default_rng(degree).permutation(list(columns))
        columns = {name: columns[name] for name in order}
    read = read_ply(write_ply_by_hand(tmp_path / "scene.ply", columns))
    assert read.sh_degree == degree
    assert_same_bits(read, splats)
    assert all(tensor.is_contiguous() for tensor in read.tensors().values())


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("normals", [True, False])
def test_the_standard_layout_is_written(tmp_path: Path, degree: int, normals: bool):
    splats = random_splats(5, degree)
    path = tmp_path / "scene.ply"
    write_ply(path, splats, normals=normals)
    header = path.read_bytes().partition(b"end_header\n")[0].decode().splitlines()
    assert header[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 5"]
    wanted = [name for name in STANDARD[degree] if normals or name not in ("nx", "ny", "nz")]
    assert header[3:] == [f"property float {name}" for name in wanted]
    written = read_rows_by_hand(path)
    for name, column in columns_of(splats).items():
        if name in wanted:
            assert np.array_equal(written[name], column), name
    assert_same_bits(read_ply(path), splats)


def test_rest_coefficients_are_channel_major(tmp_path: Path):
    splats = random_splats(1, 1)
    splats.sh[0] = torch.tensor([[0.0, 0.0, 0.0], [11.0, 12.0, 13.0], [21.0, 22.0, 23.0], [31.0, 32.0, 33.0]])
    write_ply(tmp_path / "scene.ply", splats)
    row = read_rows_by_hand(tmp_path / "scene.ply")[0]
    assert [row[f"f_rest_{number}"] for number in range(9)] == [11, 21, 31, 12, 22, 32, 13, 23, 33]


def test_a_round_trip_keeps_every_bit_of_the_chosen_rows(tmp_path: Path):
    count, degree = 300, 3
    patterns = np.random.default_rng(0).integers(0, 2**32, (count, len(STANDARD[degree])), dtype=np.uint32)
    patterns[0, :] = 0x7F800001  # signalling NaN with a payload
    patterns[1, :] = 0xFFC12345  # negative quiet NaN with a payload
    patterns[2, :] = 0x80000000  # minus zero
    patterns[3, :] = 0x00000001  # the smallest subnormal number
    source = write_ply_by_hand(
        tmp_path / "source.ply",
        {name: patterns[:, index].copy().view(np.float32) for index, name in enumerate(STANDARD[degree])},
    )
    scene = read_ply_scene(source)
    rows = torch.tensor([7, 0, 1, 2, 3, 299, 7])
    write_ply(tmp_path / "part.ply", scene.splats.subset(rows), {name: x[rows] for name, x in scene.extra.items()})
    written = read_rows_by_hand(tmp_path / "part.ply")
    assert written.dtype.names == tuple(STANDARD[degree])
    assert np.array_equal(written.view(np.uint32).reshape(len(rows), -1), patterns[rows.numpy()])


def test_a_whole_file_comes_back_byte_for_byte(tmp_path: Path):
    columns = columns_of(random_splats(4, 2)) | {"nx": np.arange(4, dtype=np.float32)}
    source = write_ply_by_hand(tmp_path / "source.ply", {name: columns[name] for name in STANDARD[2]})
    scene = read_ply_scene(source)
    write_ply(tmp_path / "copy.ply", scene.splats, scene.extra, blocks=scene.blocks)
    assert (tmp_path / "copy.ply").read_bytes() == source.read_bytes()


def test_extra_fields_and_elements_are_kept_on_request(tmp_path: Path):
    columns = columns_of(random_splats(3, 0))
    columns["label"] = np.array([7, 0, 65535], np.uint16)
    columns["confidence"] = np.array([0.1, 0.2, 0.3], np.float64)
    camera = (b"element camera 2\nproperty double focal\nproperty uchar id\n", bytes(range(18)))
    faces = (b"element face 1\nproperty list uchar int vertex_indices\n", b"\x02" + bytes(8))
    source = write_ply_by_hand(tmp_path / "source.ply", columns, before=camera, after=faces)
    assert_same_bits(read_ply(source), random_splats(3, 0))

    scene = read_ply_scene(source)
    assert set(scene.extra) == {"nx", "ny", "nz", "label", "confidence"}
    assert scene.extra["label"].dtype == torch.uint16
    write_ply(tmp_path / "copy.ply", scene.splats, scene.extra, blocks=scene.blocks)
    again = read_ply_scene(tmp_path / "copy.ply")
    assert again.extra["label"].tolist() == [7, 0, 65535]
    assert again.extra["confidence"].tolist() == [0.1, 0.2, 0.3]
    assert again.blocks == scene.blocks == (camera, faces)


def test_no_normals_means_none_even_if_given(tmp_path: Path):
    splats = random_splats(2, 0)
    write_ply(tmp_path / "scene.ply", splats, {"ny": torch.ones(2), "label": torch.tensor([1, 2])}, normals=False)
    assert set(read_ply_scene(tmp_path / "scene.ply").extra) == {"label"}


def test_extra_fields_are_written_in_types_that_a_ply_has(tmp_path: Path):
    extra = {"label": torch.tensor([-1, 70_000]), "chosen": torch.tensor([True, False])}
    write_ply(tmp_path / "scene.ply", random_splats(2, 0), extra)
    read = read_ply_scene(tmp_path / "scene.ply").extra
    assert read["label"].dtype == torch.int32
    assert read["label"].tolist() == [-1, 70_000]
    assert read["chosen"].tolist() == [1, 0]


def test_an_empty_scene(tmp_path: Path):
    write_ply(tmp_path / "empty.ply", random_splats(0, 3))
    assert read_ply(tmp_path / "empty.ply").sh.shape == (0, 16, 3)


def test_other_float_types_are_written_as_float32(tmp_path: Path):
    splats = random_splats(3, 1)
    write_ply(tmp_path / "scene.ply", splats.to(torch.float64))
    assert_same_bits(read_ply(tmp_path / "scene.ply"), splats)


def test_the_profile_is_handed_on(tmp_path: Path):
    write_ply(tmp_path / "scene.ply", random_splats(1, 0))
    assert read_ply(tmp_path / "scene.ply", profile=PROFILES["inria"]).profile is PROFILES["inria"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "scene.ply"
    write_ply(path, random_splats(2, 0))
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_ply(path, random_splats(3, 0))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_extra_fields_are_refused(tmp_path: Path):
    splats = random_splats(2, 0)
    with pytest.raises(ValueError, match="'label' must have shape"):
        write_ply(tmp_path / "scene.ply", splats, {"label": torch.zeros(3)})
    with pytest.raises(ValueError, match="'label' holds integers beyond 32 bits"):
        write_ply(tmp_path / "scene.ply", splats, {"label": torch.tensor([0, 2**40])})
    with pytest.raises(ValueError, match="'label' is float16; convert it to one of int8"):
        write_ply(tmp_path / "scene.ply", splats, {"label": torch.zeros(2, dtype=torch.float16)})
    with pytest.raises(ValueError, match="'my label': the name must be one word"):
        write_ply(tmp_path / "scene.ply", splats, {"my label": torch.zeros(2)})
    with pytest.raises(ValueError, match="'opacity' is one of the splats' own"):
        write_ply(tmp_path / "scene.ply", splats, {"opacity": torch.zeros(2)})
    assert not list(tmp_path.iterdir())


class TestErrors:
    """Every file that is no usable splat gets one line with its name and what to do."""

    @pytest.fixture
    def columns(self) -> dict[str, np.ndarray]:
        return columns_of(random_splats(3, 1))

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "scene.ply"

    def refused(self, path: Path, message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            read_ply(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_big_endian(self, path: Path, columns: dict[str, np.ndarray]):
        write_ply_by_hand(path, columns, file_format="binary_big_endian")
        self.refused(path, "format 'binary_big_endian'; save the splats as binary_little_endian")

    def test_ascii(self, path: Path, columns: dict[str, np.ndarray]):
        write_ply_by_hand(path, columns, file_format="ascii")
        self.refused(path, "format 'ascii'; save the splats as binary_little_endian")

    def test_no_ply(self, path: Path):
        path.write_bytes(b"\x89PNG\r\n")
        self.refused(path, "does not begin with the line 'ply'")

    def test_no_fields(self, path: Path):
        path.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 3\nend_header\n")
        self.refused(path, "lacks the field 'x'")

    def test_no_format(self, path: Path):
        path.write_bytes(b"ply\nelement vertex 3\nend_header\n")
        self.refused(path, "names no known format")

    @pytest.mark.parametrize("kept", [0.99, 0.5, 0.05])
    def test_truncated(self, path: Path, columns: dict[str, np.ndarray], kept: float):
        write_ply_by_hand(path, columns)
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        self.refused(path, r"cut short within (element 'vertex'|its header); copy or export the file again")

    @pytest.mark.parametrize("name", ["x", "opacity", "scale_2", "rot_3", "f_dc_1"])
    def test_missing_field(self, path: Path, columns: dict[str, np.ndarray], name: str):
        del columns[name]
        write_ply_by_hand(path, columns)
        self.refused(path, f"lacks the field '{name}'")

    def test_a_gap_in_the_rest_coefficients(self, path: Path, columns: dict[str, np.ndarray]):
        columns["f_rest_9"] = columns.pop("f_rest_4")
        write_ply_by_hand(path, columns)
        self.refused(path, "lacks the field 'f_rest_4'")

    def test_no_colour_degree(self, path: Path, columns: dict[str, np.ndarray]):
        del columns["f_rest_8"]
        write_ply_by_hand(path, columns)
        self.refused(path, "8 f_rest fields fit no colour degree; there must be one of 0, 9, 24, 45")

    @pytest.mark.parametrize("dtype", ["int32", "float64"])
    def test_wrong_type(self, path: Path, columns: dict[str, np.ndarray], dtype: str):
        columns["opacity"] = columns["opacity"].astype(dtype)
        write_ply_by_hand(path, columns)
        self.refused(path, f"field 'opacity' is of type {dtype}, not float; export it as float")

    def test_no_vertex_element(self, path: Path, columns: dict[str, np.ndarray]):
        write_ply_by_hand(path, columns, element="point")
        self.refused(path, r"no 'vertex' element \(found: 'point'\)")

    def test_a_point_cloud(self, path: Path, columns: dict[str, np.ndarray]):
        write_ply_by_hand(path, {name: columns[name] for name in "xyz"})
        self.refused(path, "no field 'f_dc_0', so no splat with colour coefficients")

    def test_a_compressed_splat(self, path: Path):
        write_ply_by_hand(path, {"packed_position": np.zeros(2, np.uint32)})
        self.refused(path, "a compressed splat; save it as a standard")

    def test_lists_in_the_way(self, path: Path, columns: dict[str, np.ndarray]):
        lists = (b"property list uchar int neighbours\n", b"")
        write_ply_by_hand(path, columns, after=lists)
        self.refused(path, "field 'neighbours' of element 'vertex' holds lists; export it without")
        faces = (b"element face 1\nproperty list uchar int vertex_indices\n", b"\x02" + bytes(8))
        write_ply_by_hand(path, columns, before=faces)
        self.refused(path, "element 'face' holds lists and stands before 'vertex'")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b"property float x\n", "element 'vertex' has the field 'x' twice"),
            (b"property half w\n", "field 'w' has the unknown type 'half'"),
            (b"element face many\n", r"damaged \.ply header at b'element face many'"),
            (b"\x00\x01\x02\n", r"damaged \.ply header"),
        ],
    )
    def test_bad_header_lines(self, path: Path, columns: dict[str, np.ndarray], line: bytes, message: str):
        write_ply_by_hand(path, columns, after=(line, b""))
        self.refused(path, message)

    def test_missing_file(self, path: Path):
        with pytest.raises(FileNotFoundError, match=r"scene\.ply"):
            read_ply(path)


@pytest.mark.parametrize("file_format", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("float_type", [np.float32, np.float64])
def test_points(tmp_path: Path, file_format: str, float_type: type):
    xyz, rgb = np.array([[0.5, 1, -2], [3, 4, 5]], float_type), np.array([[0, 128, 255], [1, 2, 3]], np.uint8)
    columns = {name: xyz[:, index] for index, name in enumerate("xyz")}
    columns |= {name: rgb[:, index] for index, name in enumerate(("red", "green", "blue"))}
    points = read_points_ply(write_ply_by_hand(tmp_path / "points.ply", columns, file_format=file_format))
    assert torch.equal(points.xyz, torch.tensor([[0.5, 1.0, -2.0], [3.0, 4.0, 5.0]]))
    assert torch.equal(points.rgb, torch.from_numpy(rgb))


def test_points_in_text_between_other_elements(tmp_path: Path):
    path = tmp_path / "points.ply"
    path.write_text(
        "ply\r\ncomment made by hand\r\nformat ascii 1.0\r\nelement info 1\r\nproperty int version\r\n"
        "element vertex 2\r\nproperty float32 x\r\nproperty float32 y\r\nproperty float32 z\r\n"
        "element face 1\r\nproperty list uint8 int32 vertex_indices\r\nend_header\r\n"
        "4\r\n1 2 3\r\n4 5e-1 -6\r\n2 0 1\r\n"
    )
    assert read_points_ply(path).xyz.tolist() == [[1.0, 2.0, 3.0], [4.0, 0.5, -6.0]]


def test_damaged_text_is_refused(tmp_path: Path):
    header = "ply\nformat ascii 1.0\nelement vertex 2\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    for content in ("1 2 3\n", "1 2 3\n4 5\n", "1 2\n4 5\n", "1 2 3\n4 5 six\n", ""):
        (tmp_path / "points.ply").write_text(f"{header}end_header\n{content}")
        with pytest.raises(ValueError, match=r"points\.ply: damaged or cut short \(.*\); copy or export it again"):
            read_points_ply(tmp_path / "points.ply")


def test_points_without_colours_are_grey(tmp_path: Path):
    columns = {name: np.zeros(2, np.float32) for name in "xyz"}
    assert read_points_ply(write_ply_by_hand(tmp_path / "points.ply", columns)).rgb.tolist() == [[128] * 3] * 2


def test_points_of_wrong_type_are_refused(tmp_path: Path):
    columns = {name: np.zeros(2, np.float32) for name in ("x", "y", "z", "red", "green", "blue")}
    with pytest.raises(ValueError, match="field 'red' is of type float32, not uchar"):
        read_points_ply(write_ply_by_hand(tmp_path / "points.ply", columns))
    with pytest.raises(ValueError, match="field 'x' is of type int32, not float or double"):
        read_points_ply(write_ply_by_hand(tmp_path / "points.ply", columns | {"x": np.zeros(2, np.int32)}))


def test_the_tabletop_splats(shared_data: Path, tmp_path: Path):
    source = shared_data / "tabletop_splats.ply"
    scene = read_ply_scene(source)
    assert len(scene.splats) == 99_367
    assert scene.splats.sh_degree == 1
    write_ply(tmp_path / "copy.ply", scene.splats, scene.extra)
    assert (tmp_path / "copy.ply").read_bytes() == source.read_bytes()
