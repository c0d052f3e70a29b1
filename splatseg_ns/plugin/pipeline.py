"""The pipeline: splatfacto's, and the segmentation that lies beside its config.yml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

import torch
import tyro
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE

from splatseg_ns.edit.extract import chosen_solver
from splatseg_ns.plugin.callers import is_exporting_splats
from splatseg_ns.plugin.datamanager import SplatsegDatamanagerConfig
from splatseg_ns.plugin.model import SplatsegModel, SplatsegModelConfig
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import error_line
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
    masks: Path | None = None
    """Label maps of the pictures (PNG, NPY, NPZ called like them, a folder per object, or COCO json): when training
    ends those of the training pictures make objects, which are saved beside config.yml."""
    solver: Literal["robust", "flashsplat", "gradient"] = "robust"
    """What decides by the masks."""
    gamma: float | Literal["auto"] | None = None
    """Bias to the background, -1 to 1; auto takes what predicts held-out masks best. By default the solver's: 0."""
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
        # It needs this module.
        from splatseg_ns.plugin.panel import SegmentationPanel

        # Nerfstudio's viewer looks for what it shows in the attributes of a pipeline.
        self.segmentation_panel = SegmentationPanel(self)

    def splatseg_model(self) -> SplatsegModel:
        """The model."""
        return self._model

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Nerfstudio's, and what makes objects of the masks when training ends."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        if self.config.masks is not None:
            self._check_labelling(self.config.masks)
            trainer = training_callback_attributes.trainer
            assert trainer is not None
            stays = trainer.config.is_viewer_enabled() and not trainer.config.viewer.quit_on_train_completion
            callbacks.append(
                TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], self._label, args=[trainer.train_lock, stays])
            )
        callbacks.append(TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], self._training_done))
        return callbacks

    def _training_done(self, step: int) -> None:
        self.segmentation_panel.training_done()

    def _check_labelling(self, masks: Path) -> None:
        """Stop before hours of training rather than after them."""
        # These modules need this one.
        from splatseg_ns.plugin.after_training import check_masks
        from splatseg_ns.plugin.runs import Run

        if not masks.exists():
            raise SystemExit(f"splatseg: {masks}: no such folder of label maps; correct --pipeline.masks")
        try:
            chosen_solver(self.config.solver, self.config.gamma)
        except ValueError as error:
            raise SystemExit(f"splatseg: --pipeline.gamma: {error}") from error
        folder = self.config.run_folder
        if folder is None:
            return
        try:
            check_masks(Run.open(folder), masks)
        # What is in files of all kinds can fail in all ways.
        except Exception as error:
            raise SystemExit(f"splatseg: --pipeline.masks: {error_line(error)}") from error

    def _label(self, train_lock: Lock, stays: bool, step: int) -> None:
        """Make objects of the masks, by the checkpoint that has just been saved; ``stays``: the viewer does."""
        # These modules need this one.
        from splatseg_ns.plugin.after_training import label_run
        from splatseg_ns.plugin.runs import Run

        folder, masks = self.config.run_folder, self.config.masks
        if folder is None or masks is None:
            return
        solver = chosen_solver(self.config.solver, self.config.gamma)
        # The viewer's threads go on rendering.
        with train_lock:
            try:
                document = label_run(Run.open(folder), rasterizer_for(self.device), masks, solver)
            # Whatever it is, the trained model is saved and stays to be looked at.
            except Exception as error:
                command = f"splatseg label --load-config {folder / 'config.yml'} --masks {masks}"
                line = (
                    f"splatseg: the masks made no objects: {error_line(error)}; the trained model is saved, label it "
                    f"with: {command}"
                )
                if not stays:
                    raise SystemExit(line) from error
                CONSOLE.print(line, style="bold red", markup=False, soft_wrap=True)
                return
            self._model.show(document)
        counts = document.counts()
        found = ", ".join(f"{entry.name} ({counts[entry.id]})" for entry in document.objects)
        CONSOLE.print(f"Objects and their Gaussians: {found}. Saved in {folder / SEGMENTATION_FOLDER}", markup=False)

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
