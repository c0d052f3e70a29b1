"""SAM 2 through transformers (the extra ``sam2``): masks of pictures, and masks carried along a row of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from splatseg_ns.masks.hub import Published, read_model
from splatseg_ns.masks.sam import content_name
from splatseg_ns.masks.segmenter import Candidates, Embedding, Prompts, reading_threads

if TYPE_CHECKING:
    from transformers import Sam2Model, Sam2VideoModel
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

DEFAULT_CHECKPOINT = "facebook/sam2.1-hiera-tiny"
"""Fetched by transformers, and kept in its cache."""

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CERTAIN = 10.0
"""The logit of what is known, as in SAM 2's own code."""

_FIRMEST = 32.0
"""Logits of earlier answers are cut off there, as in SAM 2's own code."""

_PUBLISHED = Published("SAM 2", "sam2", DEFAULT_CHECKPOINT)


class Sam2:
    """A segmenter of the SAM 2 family, on the device of its model."""

    def __init__(self, model: Sam2Model) -> None:
        self.device = model.device
        self.name = f"sam2-{content_name(model.state_dict())}"
        self._model = model.eval().requires_grad_(False)
        self._side = _side(model.prompt_encoder.input_image_size)

    @torch.inference_mode()
    def embed(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Embedding:
        """Read a picture: it is stretched to a square."""
        height, width = image.shape[:2]
        levels = self._model.get_image_embeddings(_square(image.to(self.device), self._side)[None])
        return Embedding(tuple(level[0].half().cpu() for level in levels), width, height)

    @torch.inference_mode()
    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        """Three masks to each question: part, object, group, as far as the model sees them."""
        count = len(prompts)
        stretch = torch.tensor([self._side / embedding.width, self._side / embedding.height])
        # The prompt encoder adds the half pixel itself.
        points = (prompts.points * stretch - 0.5)[:, None].to(self.device) if prompts.points.shape[1] else None
        boxes = None if prompts.boxes is None else (prompts.boxes.view(-1, 2, 2) * stretch - 0.5).flatten(1)
        answer = self._model(
            # Each question has the picture to itself, because a mask belongs to a picture here.
            image_embeddings=[level.to(self.device).float().expand(count, -1, -1, -1) for level in embedding.features],
            input_points=points,
            input_labels=None if points is None else prompts.positive.int()[:, None].to(self.device),
            input_boxes=None if boxes is None else boxes[:, None].to(self.device),
            input_masks=None
            if prompts.masks is None
            else prompts.masks[:, None].clamp(-_FIRMEST, _FIRMEST).to(self.device),
            multimask_output=True,
        )
        return Candidates(
            answer.pred_masks[:, 0].cpu(), answer.iou_scores[:, 0].cpu(), embedding.width, embedding.height
        )


class Sam2Video:
    """Carries masks along a row of pictures by what the model remembers of those before; on its model's device."""

    def __init__(self, model: Sam2VideoModel) -> None:
        self.device = model.device
        self._model = model.eval().requires_grad_(False)
        self._side = _side(model.image_size)
        config = model.config
        self._reach = max(config.num_maskmem, config.max_object_pointers_in_encoder)

    def carry(
        self,
        pictures: Sequence[Tensor],  # each [H, W, 3] uint8, neighbours look alike; asked for up to twice
        known: Mapping[int, Tensor],  # [L, H, W] bool, the same L objects in some of the pictures
    ) -> Iterator[tuple[int, Tensor]]:
        """The place of each picture and the logits [L, H, W] of its masks: from the first known ones on, then back.

        Where they are known they come back as they are.
        """
        session = self._session(pictures, known)
        start = min(known)
        for places, reverse in ((range(start, len(pictures)), False), (range(start - 1, -1, -1), True)):
            for place in places:
                if place in known:
                    yield place, torch.where(known[place], _CERTAIN, -_CERTAIN)
                else:
                    logits = self._go_on(session, place, reverse)
                    yield place, _enlarged(logits, pictures[place].shape[:2])
                    self._forget(session, place, start)

    def _session(self, pictures: Sequence[Tensor], known: Mapping[int, Tensor]) -> Sam2VideoInferenceSession:
        """What the model is to remember: the known masks."""
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        _check_known(pictures, known)
        session = Sam2VideoInferenceSession(
            inference_device=self.device, inference_state_device=self.device, dtype=torch.float32
        )
        session.processed_frames = cast(Any, _Squares(pictures, self._side))
        for place, masks in sorted(known.items()):
            objects = [session.obj_id_to_idx(number) for number in range(len(masks))]
            for number, mask in zip(objects, masks, strict=True):
                session.add_mask_inputs(number, place, self._square_mask(mask))
            session.obj_with_new_inputs = objects
            self._go_on(session, place, reverse=False)
        return session

    @torch.inference_mode()
    def _go_on(self, session: Sam2VideoInferenceSession, place: int, reverse: bool) -> Tensor:  # [L, 1, h, w]
        with reading_threads():
            return self._model(session, frame_idx=place, reverse=reverse).pred_masks.float().cpu()

    def _forget(self, session: Sam2VideoInferenceSession, place: int, start: int) -> None:
        """Drop what is too far from this picture, and from where the way back begins, to matter."""
        for outputs in session.output_dict_per_obj.values():
            for output in (*outputs["cond_frame_outputs"].values(), *outputs["non_cond_frame_outputs"].values()):
                # Megabytes that the memory has been made of, and that nobody looks at again.
                output.pop("high_res_masks", None)
            carried = outputs["non_cond_frame_outputs"]
            for old in [old for old in carried if min(abs(old - place), abs(old - start)) > self._reach]:
                del carried[old]

    def _square_mask(
        self,
        mask: Tensor,  # [H, W] bool
    ) -> Tensor:  # [1, 1, side, side]
        size = (self._side, self._side)
        return (F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True) >= 0.5).float()


class _Squares:
    """Pictures as the model reads them, made when asked for: a row of them may not fit into memory."""

    def __init__(self, pictures: Sequence[Tensor], side: int) -> None:
        self._pictures, self._side = pictures, side

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, place: int) -> Tensor:  # [3, side, side]
        return _square(self._pictures[place], self._side)


def sam2(checkpoint: str | Path | None = None, device: torch.device | str = "cpu") -> Sam2:
    """SAM 2 from a folder, or by its name on the Hugging Face hub; models for pictures and for videos both do."""
    classes = {"sam2": "Sam2Model", "sam2_video": "Sam2Model"}
    return Sam2(read_model(_PUBLISHED, classes, checkpoint).to(device))


def sam2_video(checkpoint: str | Path | None = None, device: torch.device | str = "cpu") -> Sam2Video:
    """SAM 2 for videos, from a folder, or by its name on the Hugging Face hub."""
    return Sam2Video(read_model(_PUBLISHED, {"sam2_video": "Sam2VideoModel"}, checkpoint).to(device))


def _enlarged(
    logits: Tensor,  # [L, 1, h, w]
    size: Sequence[int],  # H, W
) -> Tensor:  # [L, H, W]
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)[:, 0]


def _side(size: int | Sequence[int]) -> int:
    """Of a square."""
    return size if isinstance(size, int) else size[0]


def _square(
    image: Tensor,  # [H, W, 3] uint8
    side: int,
) -> Tensor:  # [3, side, side]
    """The picture as the models were trained on it: stretched and normalised."""
    picture = image.permute(2, 0, 1)[None].float()
    picture = F.interpolate(picture, (side, side), mode="bilinear", antialias=True).round_()[0] / 255
    mean, spread = (torch.tensor(part, device=image.device)[:, None, None] for part in (_MEAN, _SPREAD))
    return (picture - mean) / spread


def _check_known(pictures: Sequence[Tensor], known: Mapping[int, Tensor]) -> None:
    if not known:
        raise ValueError("masks are carried from pictures in which they are known, and there are none")
    counts = {len(masks) for masks in known.values()}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(f"the same objects, one or more, must be known everywhere; got {sorted(counts)} of them")
    for place, masks in known.items():
        if not 0 <= place < len(pictures):
            raise ValueError(f"masks are known in picture {place}, and there are {len(pictures)} pictures")
        if masks.shape[1:] != pictures[place].shape[:2]:
            raise ValueError(
                f"picture {place} is {list(pictures[place].shape[:2])}, its masks are {list(masks.shape[1:])}"
            )
