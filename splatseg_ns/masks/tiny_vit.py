"""The picture encoder of MobileSAM: TinyViT-5M with a neck, for inference alone, and fast on a CPU.

Everything is kept as [H, W, C]: convolutions of one pixel and the layers on tokens are then matrix products without
copies between. Batch norms are folded into the convolutions before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 1024
"""Pixels of a side of the square that it reads."""

_EPS_BATCH, _EPS_TOKEN, _EPS_NECK = 1e-5, 1e-5, 1e-6
_CHANNELS = 320
_STRIDES = (2, 2, 1)
"""By how much each stage but the last shrinks the picture at its end."""


class _Stage(NamedTuple):
    blocks: int
    heads: int
    window: int


_ATTENTION_STAGES = (_Stage(2, 4, 7), _Stage(6, 5, 14), _Stage(2, 10, 7))


class TinyVit(nn.Module):
    """Made from the weights as MobileSAM publishes them (``image_encoder.*``, without that prefix)."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        read = _Weights(weights)
        self.stem = nn.ModuleList([read.conv("patch_embed.seq.0", stride=2), read.conv("patch_embed.seq.2", stride=2)])
        self.convolved = nn.ModuleList(_Expanded(read, f"layers.0.blocks.{place}") for place in range(2))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    _Block(read, f"layers.{place}.blocks.{block}", stage.heads, stage.window)
                    for block in range(stage.blocks)
                )
            )
            for place, stage in enumerate(_ATTENTION_STAGES, start=1)
        )
        self.merges = nn.ModuleList(
            _Merge(read, f"layers.{place}.downsample", stride) for place, stride in enumerate(_STRIDES)
        )
        self.neck = _Neck(read)

    def forward(
        self,
        pictures: Tensor,  # [B, 3, H, W] normalised; H and W are multiples of 16
    ) -> Tensor:  # [B, 256, H / 16, W / 16]
        x = pictures.contiguous(memory_format=torch.channels_last)
        x = self.stem[1](F.gelu(self.stem[0](x)))
        for block in self.convolved:
            x = block(x)
        for merge, stage in zip(self.merges, self.stages, strict=True):
            x = stage(merge(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.neck(x)


class _Weights:
    """Layers by the names of their weights."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[name]

    def conv(self, name: str, stride: int = 1) -> nn.Conv2d:
        """A convolution with the batch norm after it folded in; one with a weight per channel is depthwise."""
        weight = self[f"{name}.c.weight"]
        spread = (self[f"{name}.bn.running_var"] + _EPS_BATCH).rsqrt() * self[f"{name}.bn.weight"]
        out, per_group, size, _ = weight.shape
        groups = out if per_group == 1 else 1
        with torch.device("meta"):
            made = nn.Conv2d(per_group * groups, out, size, stride, size // 2, groups=groups)
        made.weight = _fixed((weight * spread[:, None, None, None]).contiguous(memory_format=torch.channels_last))
        made.bias = _fixed(self[f"{name}.bn.bias"] - self[f"{name}.bn.running_mean"] * spread)
        return made

    def linear(self, name: str) -> nn.Linear:
        weight = self[f"{name}.weight"]
        with torch.device("meta"):
            made = nn.Linear(weight.shape[1], weight.shape[0])
        made.weight, made.bias = _fixed(weight), _fixed(self[f"{name}.bias"])
        return made

    def norm(self, name: str, eps: float) -> nn.LayerNorm:
        with torch.device("meta"):
            made = nn.LayerNorm(len(self[f"{name}.weight"]), eps)
        made.weight, made.bias = _fixed(self[f"{name}.weight"]), _fixed(self[f"{name}.bias"])
        return made


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)


class _Expanded(nn.Module):
    """A depthwise convolution between one that widens and one that narrows, beside a shortcut."""

    def __init__(self, read: _Weights, name: str) -> None:
        super().__init__()
        self.widen, self.mix, self.narrow = (read.conv(f"{name}.conv{place}") for place in (1, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.narrow(F.gelu(self.mix(F.gelu(self.widen(x))))).add_(x))


class _Merge(nn.Module):
    """Between stages: fewer pixels, more channels."""

    def __init__(self, read: _Weights, name: str, stride: int) -> None:
        super().__init__()
        self.widen = read.conv(f"{name}.conv1")
        self.shrink = read.conv(f"{name}.conv2", stride)
        self.out = read.conv(f"{name}.conv3")

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.shrink(F.gelu(self.widen(x)))))


class _Block(nn.Module):
    """Attention within windows, a depthwise convolution, and two layers on every token."""

    def __init__(self, read: _Weights, name: str, heads: int, window: int) -> None:
        super().__init__()
        self.attention = _WindowAttention(read, f"{name}.attn", heads, window)
        self.mix = read.conv(f"{name}.local_conv")
        self.norm = read.norm(f"{name}.mlp.norm", _EPS_TOKEN)
        self.widen, self.narrow = read.linear(f"{name}.mlp.fc1"), read.linear(f"{name}.mlp.fc2")

    def forward(self, x: Tensor) -> Tensor:  # [B, H, W, C]
        x = x + self.attention(x)
        x = self.mix(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.narrow(F.gelu(self.widen(self.norm(x)))).add_(x)


class _WindowAttention(nn.Module):
    """Every token looks at those of its window; how far apart two are gives their score a bias."""

    bias: Tensor  # [heads, window**2, window**2]

    def __init__(self, read: _Weights, name: str, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = read.norm(f"{name}.norm", _EPS_TOKEN)
        self.qkv, self.out = read.linear(f"{name}.qkv"), read.linear(f"{name}.proj")
        self.register_buffer("bias", read[f"{name}.attention_biases"][:, _distances(window)])

    def forward(self, x: Tensor) -> Tensor:  # [B, H, W, C]
        batch, height, width, channels = x.shape
        side = self.window
        # Tokens outside the picture are zeros that take part, as when the model was trained.
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        down, across = x.shape[1] // side, x.shape[2] // side
        windows = x.view(batch, down, side, across, side, channels).transpose(2, 3).reshape(-1, side * side, channels)
        parts = self.qkv(self.norm(windows)).view(len(windows), side * side, self.heads, 3, -1)
        q, k, v = parts.permute(3, 0, 2, 1, 4).flatten(1, 2)
        bias = self.bias.expand(len(windows), -1, -1, -1).flatten(0, 1)
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        seen = (scores.softmax(dim=-1) @ v).view(len(windows), self.heads, side * side, -1)
        out = self.out(seen.transpose(1, 2).flatten(2))
        out = out.view(batch, down, across, side, side, channels).transpose(2, 3)
        return out.reshape(batch, down * side, across * side, channels)[:, :height, :width]


class _Neck(nn.Module):
    """To the 256 channels that the mask decoder reads."""

    def __init__(self, read: _Weights) -> None:
        super().__init__()
        with torch.device("meta"):
            self.narrow = nn.Linear(_CHANNELS, 256, bias=False)
            self.mix = nn.Conv2d(256, 256, 3, padding=1, bias=False)
        self.narrow.weight = _fixed(read["neck.0.weight"][:, :, 0, 0])
        self.mix.weight = _fixed(read["neck.2.weight"].contiguous(memory_format=torch.channels_last))
        self.first, self.last = read.norm("neck.1", _EPS_NECK), read.norm("neck.3", _EPS_NECK)

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W]
        tokens = self.first(self.narrow(x.permute(0, 2, 3, 1)))
        mixed = self.mix(tokens.permute(0, 3, 1, 2))
        return self.last(mixed.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _distances(window: int) -> Tensor:  # [window**2, window**2] int64
    """Which bias belongs to each pair of tokens: pairs as far apart share one, numbered as they first occur."""
    place = torch.arange(window)
    y, x = (part.flatten() for part in torch.meshgrid(place, place, indexing="ij"))
    # From the first token on, pairs occur in the order of their distance down and across.
    return (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
