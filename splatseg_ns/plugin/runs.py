"""A training run on disk: its splats, its pictures in the frame of the splats, and its segmentation.

Nothing here builds Nerfstudio's pipeline: a checkpoint and the cameras are read in a second or two, pictures only when
they are asked for. Runs of splatfacto are read as those of splatseg.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from os.path import commonpath
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.models.splatfacto import SplatfactoModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from splatseg_ns.plugin.cameras import viewmat_of
from splatseg_ns.plugin.model import profile_of
from splatseg_ns.plugin.parameters import PARAMETERS, splats_of
from splatseg_ns.plugin.pipeline import SEGMENTATION_FOLDER
from splatseg_ns.plugin.trainer import CONFIG_FILE
from splatseg_ns.scene import Capture, Lens, RenderProfile, Splats, Split, View
from splatseg_ns.scene.view import view_names
from splatseg_ns.segmentation import SegmentationStore
from splatseg_ns.segmentation.frames import DATAPARSER_FILE, Frame, read_dataparser_transforms

_LENSES: dict[int, Literal["perspective", "fisheye"]] = {
    CameraType.PERSPECTIVE.value: "perspective",
    CameraType.FISHEYE.value: "fisheye",
}
_SPLITS: tuple[Split, ...] = ("train", "test", "val")
"""A picture in more than one of them is of the first."""

_UNREADABLE = (OSError, RuntimeError, EOFError, AttributeError, KeyError, TypeError, ValueError, pickle.UnpicklingError)
"""What torch raises for files that are no checkpoints."""

_SAME_PLACE = 1e-4
"""How far, in parts of the scene, a capture may be from where it was trained on."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a config.yml and the files beside it tell. Its python objects run code: open only runs that you trust."""

    folder: Path
    """Where config.yml lies now, wherever it was written."""

    config: TrainerConfig
    given_data: Path | None = None
    """Where the capture is now, if that was said."""

    @staticmethod
    def open(config_file: str | Path, data: str | Path | None = None) -> Run:
        """The run of a config.yml (or its folder); ``data`` says where its capture is if it has been moved."""
        path = Path(config_file)
        path = path / CONFIG_FILE if path.is_dir() else path
        config = read_config(path)
        given = None if data is None else Path(data)
        if given is not None and not given.exists():
            raise FileNotFoundError(f"{given}: no such capture")
        return Run(path.absolute().parent, config, given)

    @cached_property
    def data(self) -> Path:
        """The capture, where it is now: as given, as stated, or as stated from where the run was trained."""
        if self.given_data is not None:
            return self.given_data.absolute()
        datamanager: Any = self.config.pipeline.datamanager
        stated = Path(datamanager.data or datamanager.dataparser.data)
        for base in (Path.cwd(), *_training_folders(self.config, self.folder)):
            if (found := base / stated).exists():
                return found.absolute()
        # Runs of splats from elsewhere bring their own, and may have been moved with it.
        if (self.folder / "transforms.json").is_file():
            return self.folder
        raise FileNotFoundError(
            f"{self.folder / CONFIG_FILE}: its capture {stated} is not there; say with --data where it is now"
        )

    @property
    def model_config(self) -> SplatfactoModelConfig:
        """Of the splats."""
        model = self.config.pipeline.model
        assert isinstance(model, SplatfactoModelConfig)
        return model

    @property
    def profile(self) -> RenderProfile:
        """What the splats were trained to be drawn with."""
        return profile_of(self.model_config)

    @property
    def store(self) -> SegmentationStore:
        """Where the segmentation of the run is kept."""
        return SegmentationStore(self.folder / SEGMENTATION_FOLDER)

    @property
    def checkpoint_folder(self) -> Path:
        """Where the checkpoints are."""
        return self.folder / self.config.relative_model_dir

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        found = sorted(self.checkpoint_folder.glob("step-*.ckpt"))
        if not found:
            raise FileNotFoundError(
                f"{self.checkpoint_folder}: no checkpoint (step-*.ckpt) is there; restore it, or train again"
            )
        return found[-1]

    @property
    def step(self) -> int:
        """After which the newest checkpoint was written."""
        return self._loaded[0]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """All of the newest checkpoint's pipeline, by their names there; to be read, not to be changed."""
        return self._loaded[1]

    def splats(self) -> Splats:
        """The Gaussians of the newest checkpoint."""
        try:
            # Old checkpoints have them without the prefix.
            parameters = {name: self._state.get(f"gauss_params.{name}", self._state.get(name)) for name in PARAMETERS}
            present = {name: tensor.float() for name, tensor in parameters.items() if tensor is not None}
            return splats_of(present, self.profile)
        except KeyError as error:
            raise ValueError(f"{self.checkpoint}: has no {error}; is it a checkpoint of splatfacto?") from error
        except (IndexError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self.checkpoint}: the parameters do not fit together ({error})") from error

    def capture(self, *, corrected: bool = True) -> Capture:
        """The pictures the run knows, in the frame of its splats, in the poses it trained.

        Names, splits, lenses and masks are those of its dataparser, so that votes come from what training saw. Poses
        that are not ``corrected`` are the stated ones, which need no checkpoint.
        """
        outputs = self._dataparser_outputs
        entries: dict[Path, tuple[Split, DataparserOutputs, int, Tensor]] = {}
        for split, part in outputs.items():
            poses = self._poses(part, split) if corrected else part.cameras.camera_to_worlds
            for place, (path, pose) in enumerate(zip(part.image_filenames, poses, strict=True)):
                entries.setdefault(Path(path), (split, part, place, pose))
        if not entries:
            raise ValueError(f"{self.data}: no pictures; give the capture that the run was trained on")
        paths = sorted(entries)
        top = Path(commonpath([path.parent for path in paths]))
        views = []
        for name, path in zip(view_names([path.relative_to(top) for path in paths]), paths, strict=True):
            split, part, place, pose = entries[path]
            views.append(
                View(
                    name=name,
                    split=split,
                    viewmat=viewmat_of(pose.double()).float(),
                    lens=_lens_of(part.cameras, place),
                    width=int(part.cameras.width[place]),
                    height=int(part.cameras.height[place]),
                    image_path=path,
                    mask_path=Path(part.mask_filenames[place]) if part.mask_filenames else None,
                )
            )
        train = outputs["train"]
        return Capture(
            folder=self.data if self.data.is_dir() else self.data.parent,
            views=tuple(views),
            applied_transform=train.dataparser_transform.float(),
            applied_scale=float(train.dataparser_scale),
        )

    def frame(self) -> Frame:
        """From the frame of the capture's file to that of the splats: what its dataparser did."""
        return Frame("nerfstudio's dataparser", self._from_capture(self._dataparser_outputs["train"]))

    def _from_capture(self, train: DataparserOutputs) -> Tensor:  # [4, 4] float64
        matrix = _dataparser_matrix(train)
        if isinstance(self._dataparser_config, NerfstudioDataParserConfig):
            # What it writes starts from the frame before the capture's own applied_transform.
            capture = Capture.load(self.data)
            applied = torch.eye(4, dtype=torch.float64)
            applied[:3] = capture.applied_transform.double()
            matrix = matrix @ torch.linalg.inv(applied)
            matrix[:3] /= capture.applied_scale
        return matrix

    @property
    def _dataparser_config(self) -> Any:
        datamanager: Any = self.config.pipeline.datamanager
        return datamanager.dataparser

    @cached_property
    def _loaded(self) -> tuple[int, Mapping[str, Tensor]]:
        """Step and tensors of the newest checkpoint."""
        path = self.checkpoint
        try:
            # What is not asked for, as the optimizers' state, is not read.
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            tensors = {name: tensor for name, tensor in loaded["pipeline"].items() if isinstance(tensor, Tensor)}
            return int(loaded["step"]), tensors
        except _UNREADABLE as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"{path}: no readable checkpoint ({reason}); restore it, or train again") from error

    @cached_property
    def _state(self) -> Mapping[str, Tensor]:
        """The model's tensors by their names in the model."""
        return {name_in_model(name): tensor for name, tensor in self.tensors.items()}

    @cached_property
    def _dataparser_outputs(self) -> dict[Split, DataparserOutputs]:
        """What the dataparser makes of the capture, for the splits that it has."""
        config = deepcopy(self._dataparser_config)
        config.data = self.data
        if hasattr(config, "load_3D_points"):
            # They are what training starts from; reading them takes open3d, or a while.
            config.load_3D_points = False
        outputs: dict[Split, DataparserOutputs] = {}
        with _silent_nerfstudio():
            dataparser = config.setup()
            for split in _SPLITS:
                try:
                    outputs[split] = dataparser.get_dataparser_outputs(split=split)
                except (AssertionError, KeyError, OSError, RuntimeError, ValueError) as error:
                    # Captures that list the pictures of some splits have no others.
                    if split == "train":
                        reason = " ".join(str(error).split()) or type(error).__name__
                        raise ValueError(f"{self.data}: Nerfstudio cannot read this capture ({reason})") from error
        self._check_place(outputs["train"])
        return outputs

    def _check_place(self, train: DataparserOutputs) -> None:
        """Stop if the capture would be put elsewhere than when the run was trained: the splats are not there."""
        path = self.folder / DATAPARSER_FILE
        if not path.is_file():
            return
        trained = read_dataparser_transforms(path)
        # Old versions write it without the capture's own applied_transform.
        now = (_dataparser_matrix(train), self._from_capture(train))
        if not any(torch.allclose(matrix, trained, rtol=_SAME_PLACE, atol=_SAME_PLACE) for matrix in now):
            raise ValueError(
                f"{self.data}: its cameras have changed since the run was trained ({path.name} says otherwise), so the "
                "splats are not where they would be looked for; give the capture that the run was trained on"
            )

    def _poses(self, part: DataparserOutputs, split: Split) -> Tensor:  # [M, 3, 4]
        """Camera to world in OpenGL axes, for training pictures with what the camera optimizer found."""
        cameras, config = part.cameras, self.model_config.camera_optimizer
        if split != "train" or config.mode == "off":
            return cameras.camera_to_worlds
        return self._corrected(cameras, config)

    @torch.no_grad()
    def _corrected(self, cameras: Cameras, config: CameraOptimizerConfig) -> Tensor:  # [M, 3, 4]
        adjustment = self._state.get("camera_optimizer.pose_adjustment")
        if adjustment is None or len(adjustment) != len(cameras):
            count = 0 if adjustment is None else len(adjustment)
            raise ValueError(
                f"{self.checkpoint}: corrects {count} cameras, {self.data} has {len(cameras)} pictures for training; "
                "give the capture that the run was trained on"
            )
        optimizer = config.setup(num_cameras=len(cameras), device="cpu")
        optimizer.load_state_dict({"pose_adjustment": adjustment})
        poses = []
        for number in range(len(cameras)):
            camera = cameras[number : number + 1]
            camera.metadata = {"cam_idx": number}
            poses.append(optimizer.apply_to_camera(camera)[0])
        return torch.stack(poses)


def name_in_model(name: str) -> str:
    """What the model calls a tensor of its pipeline's checkpoint."""
    return name.removeprefix("module.").removeprefix("_model.").removeprefix("module.")


def read_config(path: Path) -> TrainerConfig:
    """The configuration of a run of splatfacto or of a method made from it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the config.yml of a run")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.Loader)
    # Its python objects can fail in every way that code can.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: no readable config.yml of Nerfstudio ({reason})") from error
    if not isinstance(config, TrainerConfig) or not isinstance(config.pipeline.model, SplatfactoModelConfig):
        raise ValueError(f"{path}: not a run of Gaussian splats; give one of splatfacto, splatseg or made from them")
    return config


def _training_folders(config: TrainerConfig, folder: Path) -> Iterator[Path]:
    """The working directory of ns-train, if the folder still has the name it was given there."""
    named = Path(config.output_dir, str(config.experiment_name), str(config.method_name), config.timestamp).parts
    if not Path(config.output_dir).is_absolute() and _ends_with(folder.parts, named):
        yield Path(*folder.parts[: -len(named)])


def _ends_with(parts: Sequence[str], ending: Sequence[str]) -> bool:
    return tuple(parts[-len(ending) :]) == tuple(ending)


def _dataparser_matrix(train: DataparserOutputs) -> Tensor:  # [4, 4] float64
    """What a dataparser states that it did."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = train.dataparser_transform.double() * float(train.dataparser_scale)
    return matrix


def _lens_of(cameras: Cameras, place: int) -> Lens:
    kind = _LENSES.get(int(cameras.camera_type[place]))
    if kind is None:
        name = CameraType(int(cameras.camera_type[place])).name
        raise ValueError(f"pictures of a {name} camera cannot be used; perspective and fisheye ones can")
    distortion = cameras.distortion_params
    k1, k2, k3, k4, p1, p2 = [0.0] * 6 if distortion is None else distortion[place].tolist()
    fx, fy, cx, cy = (float(part[place]) for part in (cameras.fx, cameras.fy, cameras.cx, cameras.cy))
    return Lens(fx, fy, cx, cy, k1, k2, k3, k4, p1, p2, kind=kind)


@contextmanager
def _silent_nerfstudio() -> Iterator[None]:
    """Without the lines that its dataparsers log."""
    before, CONSOLE.quiet = CONSOLE.quiet, True
    try:
        yield
    finally:
        CONSOLE.quiet = before
