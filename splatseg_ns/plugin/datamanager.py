"""Pictures for training, on machines without a GPU too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor


@dataclass
class SplatsegDatamanagerConfig(FullImageDatamanagerConfig):
    """How pictures are read and kept; all of it is Nerfstudio's."""

    _target: type = field(default_factory=lambda: SplatsegDatamanager)


class SplatsegDatamanager(FullImageDatamanager[InputDataset]):
    """Nerfstudio's, except that it pins no memory for a GPU that is not there, and says in a line what is not there."""

    config: SplatsegDatamanagerConfig

    def __init__(self, config: SplatsegDatamanagerConfig, *args: Any, **kwargs: Any) -> None:
        data = config.data or config.dataparser.data
        if not data.exists():
            raise SystemExit(
                f"splatseg: {data}: no such capture; correct --data, or have 'splatseg attach --load-config CONFIG "
                "--data CAPTURE' make a run that knows where it is now"
            )
        super().__init__(config, *args, **kwargs)
        # Training needs all of them, and what else there is to do with a run may do without some.
        if self.test_mode == "val":
            pictures = (*self.train_dataset.image_filenames, *self.eval_dataset.image_filenames)
            if missing := [path for path in pictures if not path.exists()]:
                raise SystemExit(
                    f"splatseg: {missing[0]}: no such picture, and {len(missing) - 1} others of {data} are missing; "
                    "put them back"
                )

    def _load_images(
        self, split: Literal["train", "eval"], cache_images_device: Literal["cpu", "gpu"]
    ) -> list[dict[str, Tensor]]:
        # "gpu" means the model's device, "cpu" pinned memory, and more than 500 pictures are "cpu" without asking.
        on_cpu = torch.device(self.device).type == "cpu"
        try:
            return super()._load_images(split, "gpu" if on_cpu else cache_images_device)
        # It asserts that pictures have the size that the capture states.
        except (AssertionError, OSError) as error:
            reason = " ".join(str(error).split())
            raise SystemExit(
                f"splatseg: {self.dataparser.config.data}: its pictures cannot be used ({reason}); put them right"
            ) from error
