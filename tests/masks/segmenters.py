"""Segmenters and pictures to test with: one that is made up, and SAM and SAM 2 with few and random weights."""

from __future__ import annotations

from pathlib import Path
from threading import Lock, get_ident

import torch
from torch import Tensor

from splatseg_ns.masks import Candidates, Embedding, Prompts

SAM_SIDE = 128
SAM2_SIDE = 128


class FakeSegmenter:
    """Remembers which pictures it read, and in which thread; what it makes of one is its mean colour."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.read: list[float] = []
        self.read_by: list[int] = []
        self._lock = Lock()

    def embed(self, image: Tensor) -> Embedding:
        mean = image.float().mean((0, 1))
        with self._lock:
            self.read.append(mean[0].item())
            self.read_by.append(get_ident())
        height, width = image.shape[:2]
        return Embedding((mean.half(), torch.arange(6000.0).reshape(2, 3000)), width, height)

    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        count = len(prompts)
        return Candidates(torch.ones(count, 3, 4, 4), torch.ones(count, 3), embedding.width, embedding.height)


def plain_picture(value: int, height: int = 4, width: int = 6) -> Tensor:  # [height, width, 3] uint8
    return torch.full((height, width, 3), value, dtype=torch.uint8)


def noise_picture(height: int, width: int, seed: int = 0) -> Tensor:  # [height, width, 3] uint8
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def disc_picture(height: int, width: int, x: float, y: float, radius: float) -> tuple[Tensor, Tensor]:
    """A bright disc on a dark ground, and its mask [height, width]."""
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    mask = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    colors = torch.tensor([[40, 60, 50], [230, 200, 60]])[mask.int()]
    grain = noise_picture(height, width).int() // 16
    return (colors + grain).clamp(0, 255).to(torch.uint8), mask


def iou(
    one: Tensor,  # [..., H, W] bool
    other: Tensor,
) -> Tensor:  # [...]
    return (one & other).sum((-2, -1)) / (one | other).sum((-2, -1)).clamp(min=1)


def tiny_sam():
    """Segment Anything with a tiny encoder, as its own code builds it."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    patches = SAM_SIDE // 16
    encoder = ImageEncoderViT(
        img_size=SAM_SIDE,
        embed_dim=24,
        depth=3,
        num_heads=3,
        mlp_ratio=2,
        norm_layer=_LayerNorm,
        use_rel_pos=True,
        window_size=5,
        global_attn_indexes=(1,),
    )
    prompts = PromptEncoder(256, (patches, patches), (SAM_SIDE, SAM_SIDE), 16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    model = Sam(encoder, prompts, MaskDecoder(transformer_dim=256, transformer=transformer))
    # Fresh ones are zeros: whether they are read in would not show.
    for name, parameter in model.named_parameters():
        if "pos" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


class _LayerNorm(torch.nn.LayerNorm):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)


def tiny_sam2_video():
    """SAM 2 for videos with a few thousand weights a layer; with those of its parts, it is SAM 2 for pictures too."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(0)
    side, width = SAM2_SIDE, 128
    model = Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=_vision(side, width),
            prompt_encoder_config={"hidden_size": width, "image_size": side},
            mask_decoder_config=_mask_decoder(width),
            image_size=side,
            max_object_pointers_in_encoder=4,
            memory_attention_hidden_size=width,
            memory_attention_num_layers=1,
            memory_attention_feed_forward_hidden_size=32,
            memory_attention_rope_feat_sizes=[side // 16, side // 16],
            memory_encoder_hidden_size=width,
            mask_downsampler_embed_dim=width,
            memory_fuser_num_layers=1,
            memory_fuser_embed_dim=width,
            memory_fuser_intermediate_dim=32,
        )
    )
    # Otherwise it would find that no object is ever in sight.
    torch.nn.init.constant_(model.mask_decoder.pred_obj_score_head.proj_out.bias, 1.0)
    for name, parameter in model.named_parameters():
        if "no_memory" in name or "no_object" in name or "temporal" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def write_tiny_sam2(folder: Path) -> Path:
    """A folder with the model for videos."""
    tiny_sam2_video().save_pretrained(folder)
    return folder


def write_tiny_sam2_of_pictures(folder: Path) -> Path:
    """A folder with a model for pictures alone."""
    from transformers import Sam2Config, Sam2Model

    width = 128
    config = Sam2Config(
        vision_config=_vision(SAM2_SIDE, width),
        prompt_encoder_config={"hidden_size": width, "image_size": SAM2_SIDE},
        mask_decoder_config=_mask_decoder(width),
    )
    Sam2Model(config).save_pretrained(folder)
    return folder


def _vision(side: int, width: int) -> dict:
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [side, side],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "window_size_per_stage": [4, 2, 4, 2],
            "global_attention_blocks": [3],
            "window_positional_embedding_background_size": [4, 4],
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
        "fpn_hidden_size": width,
    }


def _mask_decoder(width: int) -> dict:
    return {"hidden_size": width, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
