"""2D inpainters: what they offer, those of OpenCV, and neural ones from a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

BUILT_IN = ("telea", "navier-stokes")
"""Need no weights."""

_MULTIPLE = 8
"""Neural inpainters halve pictures three times: their sides are filled up to a multiple of this."""


class Inpainter(Protocol):
    """Paints over the hole of a picture; what it gives outside the hole is not looked at."""

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
        hole: Tensor,  # [H, W] bool
    ) -> Tensor: ...  # [H, W, 3] uint8


def inpainter_named(name: str, device: torch.device | str = "cpu") -> Inpainter:
    """telea, navier-stokes, or the path of a TorchScript (.pt, .pth, .jit, .torchscript) or ONNX (.onnx) file.

    Files of both kinds are programs: open only those that you trust.
    """
    if name in BUILT_IN:
        return OpenCvInpainter(name)
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such inpainter; there are {' and '.join(BUILT_IN)}, or give a file")
    if path.suffix.lower() == ".onnx":
        return onnx_inpainter(path)
    return torchscript_inpainter(path, device)


def painted(
    inpainter: Inpainter,
    image: Tensor,  # [H, W, 3] uint8
    hole: Tensor,  # [H, W] bool
) -> Tensor:  # [H, W, 3] uint8
    """The picture with its hole filled, and untouched outside; an error if the inpainter gives something else."""
    if not bool(hole.any()):
        return image
    filled = inpainter(image, hole)
    if not isinstance(filled, Tensor) or filled.dtype != torch.uint8 or filled.shape != image.shape:
        given = f"{filled.dtype} {list(filled.shape)}" if isinstance(filled, Tensor) else type(filled).__name__
        raise ValueError(f"the inpainter gave {given} for a picture of uint8 {list(image.shape)}")
    return torch.where(hole[..., None], filled, image)


@dataclass(frozen=True)
class OpenCvInpainter:
    """Continues what is around the hole: by fast marching (Telea 2004), or along lines of equal brightness."""

    name: str = "telea"

    radius: float = 5.0
    """Pixels around each pixel that tell what to put there."""

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
        hole: Tensor,  # [H, W] bool
    ) -> Tensor:  # [H, W, 3] uint8
        import cv2

        method = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}[self.name]
        mask = hole.cpu().numpy().astype(np.uint8)
        return torch.from_numpy(cv2.inpaint(image.cpu().numpy(), mask, self.radius, method)).to(image.device)


@dataclass(frozen=True, eq=False)
class NeuralInpainter:
    """A network in LaMa's form: picture [1, 3, H, W] from 0 to 1 and hole [1, 1, H, W] of 0 and 1 to a picture."""

    network: Callable[[Tensor, Tensor], Tensor]
    file: Path

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
        hole: Tensor,  # [H, W] bool
    ) -> Tensor:  # [H, W, 3] uint8
        height, width = hole.shape
        added = -width % _MULTIPLE, -height % _MULTIPLE
        colors = _extended(image.permute(2, 0, 1)[None].float() / 255.0, added)
        mask = _extended(hole[None, None].float(), added)
        try:
            drawn = self.network(colors, mask)
        # Somebody else's program can fail in every way.
        except Exception as error:
            raise RuntimeError(f"{self.file}: the inpainter failed ({_last_line(error)})") from error
        if not isinstance(drawn, Tensor) or drawn.shape != colors.shape:
            given = list(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
            raise ValueError(f"{self.file}: the inpainter gave {given} for a picture of {list(colors.shape)}")
        picture = drawn[0, :, :height, :width].permute(1, 2, 0).float()
        # Some exported networks give 0 to 255.
        scale = 1.0 if float(picture.max()) > 2.0 else 255.0
        return (picture * scale).round().clamp(0, 255).to(image.device, torch.uint8)


def torchscript_inpainter(path: str | Path, device: torch.device | str = "cpu") -> NeuralInpainter:
    """LaMa, or a network in its form, as TorchScript. Such a file is a program: open only one that you trust."""
    path = Path(path)
    try:
        with warnings.catch_warnings():
            # Torch would rather have another format, but LaMa comes in this one.
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: no readable TorchScript inpainter ({_last_line(error)})") from error

    def call(image: Tensor, mask: Tensor) -> Tensor:
        return network(image.to(device), mask.to(device))

    return NeuralInpainter(call, path)


def onnx_inpainter(path: str | Path) -> NeuralInpainter:
    """A network in LaMa's form as ONNX, on the CPU. Such a file is a program: open only one that you trust."""
    path = Path(path)
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"{path}: onnxruntime reads ONNX files; install it with pip install onnxruntime") from error
    try:
        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    # Its exceptions have no common class of their own.
    except Exception as error:
        raise ValueError(f"{path}: no readable ONNX inpainter ({_last_line(error)})") from error
    inputs = [entry.name for entry in session.get_inputs()]
    if len(inputs) != 2:
        raise ValueError(f"{path}: an inpainter takes a picture and a hole, this one takes {len(inputs)} inputs")

    def call(image: Tensor, mask: Tensor) -> Tensor:
        given = dict(zip(inputs, (image.cpu().numpy(), mask.cpu().numpy()), strict=True))
        return torch.from_numpy(session.run(None, given)[0])

    return NeuralInpainter(call, path)


def _extended(
    picture: Tensor,  # [1, C, H, W]
    added: tuple[int, int],  # columns and rows
) -> Tensor:  # [1, C, H + rows, W + columns]
    """The picture with its last column and row repeated."""
    return torch.nn.functional.pad(picture, (0, added[0], 0, added[1]), mode="replicate")


def _last_line(error: Exception) -> str:
    """TorchScript tells of a whole traceback, and what went wrong at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
