"""Pictures for training, on machines without a GPU too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor


@dataclass
class SplatsegDatamanagerConfig(FullImageDatamanagerConfig):
    """How pictures are read and kept; all of it is Nerfstudio's."""

    _target: type = field(default_factory=lambda: SplatsegDatamanager)


class SplatsegDatamanager(FullImageDatamanager[InputDataset]):
    """Nerfstudio's, except that it pins no memory for a GPU that is not there."""

    config: SplatsegDatamanagerConfig

    def _load_images(
        self, split: Literal["train", "eval"], cache_images_device: Literal["cpu", "gpu"]
    ) -> list[dict[str, Tensor]]:
        # "gpu" means the model's device, "cpu" pinned memory, and more than 500 pictures are "cpu" without asking.
        on_cpu = torch.device(self.device).type == "cpu"
        return super()._load_images(split, "gpu" if on_cpu else cache_images_device)
