"""The pipeline: splatfacto's, and the segmentation that lies beside its config.yml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE

from splatseg_ns.plugin.callers import is_exporting_splats
from splatseg_ns.plugin.datamanager import SplatsegDatamanagerConfig
from splatseg_ns.plugin.model import SplatsegModel, SplatsegModelConfig
from splatseg_ns.segmentation import SegmentationStore

SEGMENTATION_FOLDER = "segmentation"
"""In the folder of a run."""


@dataclass
class SplatsegPipelineConfig(VanillaPipelineConfig):
    """Pictures, the model, and where the run is kept."""

    _target: type = field(default_factory=lambda: SplatsegPipeline)
    datamanager: SplatsegDatamanagerConfig = field(default_factory=SplatsegDatamanagerConfig)
    """specifies the datamanager config"""
    model: SplatsegModelConfig = field(default_factory=SplatsegModelConfig)
    """specifies the model config"""
    torch_threads: int = 1
    """Threads of torch itself on a CPU, 0 for as many as torch likes. The engine has its own, which do the work. Those
    of torch wait for each other by spinning, and take ten times as long with as little as a browser beside them."""
    run_folder: Annotated[Path | None, tyro.conf.Suppress] = None
    """The folder of config.yml; ns-train fills it in, and what loads the run corrects it."""


class SplatsegPipeline(VanillaPipeline):
    """Shows the segmentation of a run once its checkpoint is loaded."""

    config: SplatsegPipelineConfig
    _model: SplatsegModel

    def __init__(self, config: SplatsegPipelineConfig, device: str, *args: Any, **kwargs: Any) -> None:
        if torch.device(device).type == "cpu" and config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        super().__init__(config, device, *args, **kwargs)

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Load a checkpoint, and the segmentation unless training goes on from here, which makes other Gaussians."""
        super().load_pipeline(loaded_state, step)
        if self.test_mode != "val":
            self._show_segmentation()

    def _show_segmentation(self) -> None:
        folder = self.config.run_folder
        if folder is None:
            return
        store = SegmentationStore(folder / SEGMENTATION_FOLDER)
        if not store.exists():
            return
        try:
            document = store.load(self._model.splats())
        except (ValueError, OSError) as error:
            # Nerfstudio would show a traceback.
            raise SystemExit(f"splatseg: {error}, or move {store.folder} away") from error
        self._model.show(document)
        display = self._model.display
        if display is not None and display.visible is not None and is_exporting_splats():
            count, total = int(display.visible.sum()), len(display)
            names = ", ".join(display.hidden_names)
            if count == 0:
                raise SystemExit(f"splatseg: nothing to export: all Gaussians are hidden ({names}); show an object")
            self._model.export_only(display.visible)
            CONSOLE.print(f"Exporting what the segmentation shows: {count} of {total} Gaussians; hidden: {names}.")
