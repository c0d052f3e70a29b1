"""DINOv2 from folders, beside transformers called by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.masks.segmenters import noise_picture

transformers = pytest.importorskip("transformers", reason="DINOv2 needs transformers (the extra dino)")

from splatseg_ns.masks.dino import DEFAULT_CHECKPOINT, Dino, dino  # noqa: E402

PATCH = 14
SIDE = 5 * PATCH
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "patch_size": PATCH,
    "image_size": 2 * PATCH,
    # Published ones have grown to one; fresh ones would hide the layers.
    "layerscale_value": 1.0,
}
REGISTERS = 3


def write_without_registers(folder: Path) -> Path:
    torch.manual_seed(0)
    transformers.Dinov2Model(transformers.Dinov2Config(**TINY)).save_pretrained(folder)
    return folder


def write_with_registers(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.Dinov2WithRegistersConfig(**TINY, num_register_tokens=REGISTERS)
    model = transformers.Dinov2WithRegistersModel(config)
    torch.nn.init.normal_(model.embeddings.register_tokens)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[write_without_registers, write_with_registers], ids=["plain", "registers"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("dino") / "model")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Dino:
    return dino(folder, side=SIDE)


@torch.no_grad()
def test_features_are_the_tokens_of_the_patches(folder: Path, tiny: Dino):
    image = noise_picture(3 * PATCH, SIDE)
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((image / 255 - mean) / spread).permute(2, 0, 1)[None]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = model(pixels).last_hidden_state[0]
    skipped = 1 + (REGISTERS if "WithRegisters" in type(model).__name__ else 0)
    assert len(tokens) == skipped + 3 * 5
    found = tiny(image)
    assert found.shape == (3, 5, 32) and found.dtype == torch.float32 and not found.is_inference()
    assert torch.allclose(found, F.normalize(tokens[skipped:], dim=-1).view(3, 5, 32), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((SIDE, SIDE), (5, 5)),
        ((60, 100), (3, 5)),
        ((400, 200), (5, 2)),
        ((1, 1), (5, 5)),
        ((1, 300), (1, 5)),
        ((33, 47), (4, 5)),
    ],
    ids=str,
)
def test_the_longer_side_is_given_and_patches_are_whole(tiny: Dino, size: tuple[int, int], grid: tuple[int, int]):
    found = tiny(noise_picture(*size))
    assert found.shape == (*grid, 32)
    assert torch.allclose(found.norm(dim=-1), torch.ones(grid), atol=1e-5)


def test_sides_that_are_no_multiple_of_a_patch_are_rounded(folder: Path):
    assert dino(folder, side=SIDE + 6)(noise_picture(50, 100)).shape == (3, 5, 32)
    assert dino(folder, side=1)(noise_picture(50, 100)).shape == (1, 1, 32)
    with pytest.raises(ValueError, match="one pixel or more, got 0"):
        dino(folder, side=0)


def test_features_lie_where_the_picture_has_them(tiny: Dino):
    image = torch.zeros(4 * PATCH, 5 * PATCH, 3, dtype=torch.uint8)
    image[:, 3 * PATCH :] = 255
    columns = tiny(image).mean(0)
    likeness = columns @ columns.T
    assert likeness[0, 1] > likeness[0, 4] + 0.05 and likeness[3, 4] > likeness[0, 4] + 0.05
    rows = tiny(image.transpose(0, 1)).mean(1)
    likeness = rows @ rows.T
    assert likeness[0, 1] > likeness[0, 4] + 0.05 and likeness[3, 4] > likeness[0, 4] + 0.05


def test_weights_and_sides_show_in_the_name(folder: Path, tiny: Dino, tmp_path: Path):
    assert dino(folder, side=SIDE).name == tiny.name
    model = transformers.AutoModel.from_pretrained(folder)
    torch.nn.init.normal_(model.encoder.layer[1].mlp.fc1.weight)
    model.save_pretrained(tmp_path)
    assert len({tiny.name, dino(folder).name, dino(tmp_path, side=SIDE).name}) == 3


def missing(path: Path) -> str:
    return f"no folder with config.json and model.safetensors.*download the two from .*{DEFAULT_CHECKPOINT}"


def a_file(path: Path) -> str:
    path.write_bytes(b"weights")
    return "a file; DINOv2 is read from a folder"


def without_weights(path: Path) -> str:
    write_with_registers(path)
    (path / "model.safetensors").unlink()
    return missing(path)


def with_a_pickle_instead(path: Path) -> str:
    without_weights(path)
    torch.save({}, path / "pytorch_model.bin")
    return missing(path)


def cut_short(path: Path) -> str:
    write_with_registers(path)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return "cannot be read; download model.safetensors again"


def without_registers_called_with(path: Path) -> str:
    write_without_registers(path)
    config = path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "dinov2_with_registers"}))
    return "its weights are missing"


def another_model(path: Path) -> str:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "sam2"}')
    return "a model of type sam2; give one of type dinov2 or dinov2_with_registers"


BAD = [
    missing,
    a_file,
    without_weights,
    with_a_pickle_instead,
    cut_short,
    without_registers_called_with,
    another_model,
]


@pytest.mark.parametrize("make", BAD)
def test_what_is_no_model_is_said_in_a_line(make, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = tmp_path / "given"
    says = make(path)
    capfd.readouterr()
    with pytest.raises((ValueError, OSError), match=says) as caught:
        dino(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_without_a_network_it_says_what_to_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="download the two from https://") as caught:
        dino()
    assert str(caught.value).startswith(f"{DEFAULT_CHECKPOINT}: no folder with") and "\n" not in str(caught.value)


def test_without_transformers_it_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"DINOv2 needs transformers; pip install 'splatseg_ns\[dino\]'"):
        dino(tmp_path)
