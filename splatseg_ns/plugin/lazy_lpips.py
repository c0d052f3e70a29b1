"""LPIPS that is built when it is first asked for, because its weights come from the network."""

from __future__ import annotations

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor


class LazyLpips:
    """The metric, or NaN where its weights cannot be had.

    No module: its weights belong in no checkpoint, and a model that only trains or draws never needs them.
    """

    def __init__(self) -> None:
        self._metric: torch.nn.Module | None = None
        self._missing = False

    def __call__(
        self,
        truth: Tensor,  # [1, 3, H, W]
        picture: Tensor,  # [1, 3, H, W]
    ) -> Tensor:  # []
        """The distance of two pictures, NaN if it cannot be told."""
        metric = self._loaded(truth.device)
        return truth.new_tensor(torch.nan) if metric is None else metric(truth, picture)

    def _loaded(self, device: torch.device) -> torch.nn.Module | None:
        if self._metric is None and not self._missing:
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            try:
                self._metric = LearnedPerceptualImagePatchSimilarity(normalize=True).to(device)
            # A broken download is an OSError, a file cut short a RuntimeError.
            except (OSError, RuntimeError) as error:
                self._missing = True
                CONSOLE.print(
                    f"[bold yellow]No LPIPS: its weights cannot be had ({error}). "
                    "PSNR and SSIM are computed without it.[/bold yellow]"
                )
        return self._metric
