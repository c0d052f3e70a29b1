"""The configuration of a run, which knows where the run is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerfstudio.engine.trainer import TrainerConfig

from splatseg_ns.plugin.callers import config_file_being_loaded
from splatseg_ns.plugin.pipeline import SplatsegPipelineConfig

CONFIG_FILE = "config.yml"


@dataclass
class SplatsegTrainerConfig(TrainerConfig):
    """Nerfstudio's, with paths that hold in every working directory and after the run's folder has been moved."""

    pipeline: SplatsegPipelineConfig = field(default_factory=SplatsegPipelineConfig)
    """Pipeline configuration"""

    def get_base_dir(self) -> Path:
        """The folder of the run."""
        return self.pipeline.run_folder or super().get_base_dir()

    def save_config(self) -> None:
        """Write config.yml into the folder of the run."""
        self.pipeline.run_folder = self.get_base_dir().resolve()
        for owner in (self, self.pipeline.datamanager, self.pipeline.datamanager.dataparser):
            if owner.data is not None:
                owner.data = Path(owner.data).resolve()
        if self.pipeline.masks is not None:
            self.pipeline.masks = self.pipeline.masks.resolve()
        super().save_config()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come out of a file, whose folder is that of the run."""
        self.__dict__.update(state)
        file = config_file_being_loaded()
        if file is not None:
            self.pipeline.run_folder = file.parent.resolve()
        elif (folder := self.pipeline.run_folder) is not None and not (folder / CONFIG_FILE).is_file():
            self.pipeline.run_folder = None
