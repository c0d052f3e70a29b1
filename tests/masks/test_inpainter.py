"""Inpainters: those that are built in, and networks from files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from splatseg_ns.masks import inpainter_named
from splatseg_ns.masks.inpainter import painted


class Grey(torch.nn.Module):
    """Paints the hole with the mean of what is around it, if it was given sides that are multiples of eight."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        assert image.shape[2] % 8 == 0 and image.shape[3] % 8 == 0
        known = 1.0 - mask
        mean = (image * known).sum(dim=(2, 3), keepdim=True) / known.sum(dim=(2, 3), keepdim=True)
        return image * known + mean * mask


class Bytes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.grey = Grey()

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return 255.0 * self.grey(image, mask)


class Halved(torch.nn.Module):
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image[:, :, ::2, ::2]


def slope(height: int = 20, width: int = 29) -> tuple[Tensor, Tensor]:
    """A picture that gets lighter from left to right, and a hole in its middle."""
    values = torch.linspace(40, 200, width).round().to(torch.uint8)
    hole = torch.zeros(height, width, dtype=torch.bool)
    hole[6:13, 10:18] = True
    picture = values[None, :, None].expand(height, -1, 3).clone()
    return picture, hole


def saved(module: torch.nn.Module, path: Path) -> str:
    torch.jit.script(module).save(str(path))
    return str(path)


@pytest.mark.parametrize("name", ["telea", "navier-stokes"])
def test_built_in_ones_carry_on_what_is_around(name: str):
    picture, hole = slope()
    broken = picture.clone()
    broken[hole] = 0
    filled = painted(inpainter_named(name), broken, hole)
    assert torch.equal(filled[~hole], picture[~hole])
    assert int((filled.int() - picture.int()).abs().max()) <= 12


@pytest.mark.parametrize("module", [Grey, Bytes])
def test_a_network_gets_sides_it_can_halve_and_may_answer_in_bytes(module: type[torch.nn.Module], tmp_path: Path):
    picture, hole = slope()
    inpainter = inpainter_named(saved(module(), tmp_path / "lama.pt"))
    filled = painted(inpainter, picture, hole)
    assert torch.equal(filled[~hole], picture[~hole])
    assert len(filled[hole].unique()) == 1 and 100 < int(filled[hole][0, 0]) < 140


def test_pictures_without_a_hole_are_not_asked_about():
    def never(image: Tensor, hole: Tensor) -> Tensor:
        raise AssertionError

    picture, hole = slope()
    assert torch.equal(painted(never, picture, torch.zeros_like(hole)), picture)


def test_pictures_of_another_size_are_refused(tmp_path: Path):
    picture, hole = slope()
    with pytest.raises(ValueError, match=r"half.pt: the inpainter gave \[1, 3, 12, 16\] for a picture"):
        painted(inpainter_named(saved(Halved(), tmp_path / "half.pt")), picture, hole)
    with pytest.raises(ValueError, match=r"gave torch.uint8 \[10, 15, 3\] for a picture of uint8 \[20, 29, 3\]"):
        painted(lambda image, hole: image[::2, ::2], picture, hole)
    with pytest.raises(ValueError, match=r"gave torch.float32 \[20, 29, 3\]"):
        painted(lambda image, hole: image.float(), picture, hole)


def test_a_network_that_fails_says_so_in_a_line(tmp_path: Path):
    class Fails(torch.nn.Module):
        def forward(self, image: Tensor, mask: Tensor) -> Tensor:
            return image.view(7)

    picture, hole = slope()
    with pytest.raises(RuntimeError, match=r"bad.pt: the inpainter failed \(.*shape.*\)$"):
        painted(inpainter_named(saved(Fails(), tmp_path / "bad.pt")), picture, hole)


def test_files_that_are_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(FileNotFoundError, match="no such inpainter; there are telea and navier-stokes"):
        inpainter_named("lama")
    text = tmp_path / "text.pt"
    text.write_text("no network")
    with pytest.raises(ValueError, match=r"text.pt: no readable TorchScript inpainter"):
        inpainter_named(str(text))
    # A pickle could run anything; it is not even looked at.
    torch.save({"weights": torch.zeros(2)}, tmp_path / "pickle.pt")
    with pytest.raises(ValueError, match=r"pickle.pt: no readable TorchScript inpainter"):
        inpainter_named(str(tmp_path / "pickle.pt"))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"none")
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        inpainter_named(str(onnx))


# The other exporter needs packages that Nerfstudio's pins keep out.
@pytest.mark.filterwarnings("ignore:You are using the legacy", "ignore::torch.jit.TracerWarning")
def test_onnx_files_are_run_where_onnxruntime_is(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match=r"model.onnx: no readable ONNX inpainter"):
        inpainter_named(str(path))
    pytest.importorskip("onnx")
    torch.onnx.export(Grey(), (torch.rand(1, 3, 24, 32), torch.zeros(1, 1, 24, 32)), str(path), dynamo=False)
    picture, hole = slope()
    filled = painted(inpainter_named(str(path)), picture, hole)
    assert torch.equal(filled[~hole], picture[~hole]) and len(filled[hole].unique()) == 1
