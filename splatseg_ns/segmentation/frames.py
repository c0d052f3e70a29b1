"""The frame that splats are in, found by drawing them and looking at the pictures of a capture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Capture, Splats, View

CHECKED_VIEWS = 3

DATAPARSER_FILE = "dataparser_transforms.json"
"""What the dataparser did to the capture's frame, beside config.yml."""

LEAST_AGREEMENT = 0.6
"""Correlation of pictures and renders from which on they show the same thing."""

_LONGEST_SIDE = 256
"""Pictures are compared in this size: what matters is coarse."""

_CONVENTIONS = {
    "older": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]],
    "newer": [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]],
}
"""What ns-process-data does to COLMAP's frame, where a capture does not say what was done to it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Where splats may live, seen from a capture."""

    name: str
    from_capture: Tensor  # [4, 4] float64, rotation times one positive scale, and a translation

    def camera_pose(
        self,
        viewmat: Tensor,  # [4, 4] of the capture's frame
    ) -> Tensor:  # [4, 4]
        """World to camera of the same picture in this frame; lengths are those of this frame."""
        scale = float(torch.linalg.det(self.from_capture[:3, :3])) ** (1.0 / 3.0)
        moved = viewmat.double() @ torch.linalg.inv(self.from_capture)
        moved[:3] *= scale
        return moved.to(viewmat.dtype)

    def move(self, capture: Capture) -> Capture:
        """The capture with its cameras in this frame; points to start from do not come along."""
        views = (replace(view, viewmat=self.camera_pose(view.viewmat)) for view in capture)
        return replace(capture, views=tuple(views), seed_source=None)


@dataclass(frozen=True, eq=False)
class FoundFrame:
    """The frame whose renders look most like the pictures."""

    frame: Frame
    agreement: float
    """The median correlation over the views that were looked at."""


def read_dataparser_transforms(path: str | Path) -> Tensor:  # [4, 4] float64
    """The similarity in a dataparser_transforms.json, as every nerfstudio run has one beside its config.yml."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        matrix = torch.tensor(content["transform"], dtype=torch.float64)
        scale = float(content["scale"])
        if tuple(matrix.shape) not in ((3, 4), (4, 4)) or not scale > 0.0 or not bool(matrix.isfinite().all()):
            raise ValueError(f"transform {list(matrix.shape)}, scale {scale}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: no readable 'transform' (3x4) and 'scale' ({error}); "
            "give the dataparser_transforms.json that lies beside the run's config.yml"
        ) from error
    return _scaled(_square(matrix), scale)


def candidate_frames(
    capture: Capture,
    dataparser: Tensor | None = None,  # [4, 4]
) -> list[Frame]:
    """The frames that splats of this capture may be in, the likeliest first."""
    applied = _square(capture.applied_transform.double())
    frames: list[Frame] = []
    if dataparser is not None:
        # What nerfstudio writes maps the frame before applied_transform; runs of old versions, the capture's own.
        unscaled = _scaled(dataparser, 1.0 / capture.applied_scale)
        frames.append(Frame("nerfstudio's dataparser", unscaled @ torch.linalg.inv(applied)))
        frames.append(Frame("nerfstudio's dataparser (without applied_transform)", unscaled))
    frames.append(Frame("the capture's own", torch.eye(4, dtype=torch.float64)))
    conventions = {name: _square(torch.tensor(rows, dtype=torch.float64)) for name, rows in _CONVENTIONS.items()}
    if not torch.allclose(applied, torch.eye(4, dtype=torch.float64)) or capture.applied_scale != 1.0:
        conventions = {"the capture's": _scaled(applied, capture.applied_scale)}
    for name, matrix in conventions.items():
        frames.append(Frame(f"COLMAP's ({name} applied_transform undone)", torch.linalg.inv(matrix)))
        frames.append(Frame(f"nerfstudio's ({name} applied_transform done)", matrix))
    return _distinct(frames)


def default_dataparser_frame(capture: Capture) -> Frame:
    """Where nerfstudio's dataparser puts a capture by its defaults: z up, cameras around the origin, within 1."""
    poses = torch.stack([torch.linalg.inv(view.viewmat.double()) for view in capture])
    up = torch.nn.functional.normalize(-poses[:, :3, 1].mean(dim=0), dim=0)
    rotation = _rotation_between(up, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ poses[:, :3, 3].mean(dim=0)
    farthest = float((poses[:, :3, 3] @ rotation.T + matrix[:3, 3]).abs().max())
    return Frame("nerfstudio's dataparser", _scaled(matrix, 1.0 / max(farthest, 1e-9)))


def find_frame(
    rasterizer: Rasterizer,
    splats: Splats,
    capture: Capture,
    dataparser: Tensor | None = None,  # [4, 4]
) -> FoundFrame:
    """The frame in which the splats look like the pictures; an error that names the likely one if there is none."""
    views = views_to_check(capture)
    frames = candidate_frames(capture, dataparser)
    guess = [] if dataparser is not None else [default_dataparser_frame(capture)]
    scores = agreement_of_frames(rasterizer, splats, views, [*frames, *guess])
    best = max(range(len(frames)), key=scores.__getitem__)
    if scores[best] >= LEAST_AGREEMENT:
        return FoundFrame(frames[best], scores[best])
    looked_at = ", ".join(view.name for view in views)
    problem = (
        f"the splats do not look like the pictures ({looked_at}) in any frame: the best correlation is "
        f"{scores[best]:.2f} in {frames[best].name}, {LEAST_AGREEMENT} is needed"
    )
    if dataparser is not None:
        advice = "likely they are of another capture, or the dataparser transforms of another run"
    elif scores[-1] >= LEAST_AGREEMENT:
        advice = (
            f"they are in the frame of nerfstudio's dataparser (correlation {scores[-1]:.2f}); give "
            "--dataparser-transforms with the dataparser_transforms.json of the run"
        )
    else:
        advice = (
            "likely they are in the frame of nerfstudio's dataparser, as ns-export writes them; give "
            "--dataparser-transforms with the dataparser_transforms.json of the run, or the capture they were made from"
        )
    raise ValueError(f"{problem}; {advice}")


def views_to_check(capture: Capture) -> list[View]:
    """Three views that are spread over the capture, of those for training if there are any."""
    views = capture.with_split("train").views or capture.views
    if not views:
        raise ValueError(f"{capture.folder}: the capture has no views; give one with pictures")
    places = sorted({round(step * (len(views) - 1) / (CHECKED_VIEWS - 1)) for step in range(CHECKED_VIEWS)})
    return [views[place] for place in places]


@torch.no_grad()
def agreement_of_frames(
    rasterizer: Rasterizer, splats: Splats, views: Sequence[View], frames: Sequence[Frame]
) -> list[float]:
    """For each frame the median over views of the correlation between picture and render."""
    scores = torch.zeros(len(frames), len(views))
    for column, view in enumerate(views):
        camera = view.camera.at_most(_LONGEST_SIDE)
        picture = view.image().permute(2, 0, 1)[None].float() / 255
        picture = torch.nn.functional.interpolate(picture, (camera.height, camera.width), mode="area")[0]
        for row, frame in enumerate(frames):
            placed = replace(camera, viewmat=frame.camera_pose(camera.viewmat))
            render = rasterizer.render(splats, placed)
            over_black, empty = render.colors.permute(2, 0, 1).cpu(), 1.0 - render.alpha.cpu()
            # What the pictures show behind the splats is not known.
            scores[row, column] = max(_correlation(picture, over_black), _correlation(picture, over_black + empty))
    return scores.median(dim=1).values.tolist()


def _correlation(
    first: Tensor,  # [3, H, W]
    second: Tensor,  # [3, H, W]
) -> float:
    """Of two pictures over all pixels and channels, each channel about its mean; 0 for a picture of one colour."""
    left, right = (part - part.mean(dim=(1, 2), keepdim=True) for part in (first.double(), second.double()))
    size = float(left.norm() * right.norm())
    return float((left * right).sum()) / size if size > 1e-9 else 0.0


def _square(matrix: Tensor) -> Tensor:  # [4, 4]
    last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=matrix.dtype)
    return torch.cat([matrix[:3], last])


def _scaled(matrix: Tensor, scale: float) -> Tensor:  # [4, 4]
    """The similarity followed by a change of scale."""
    return torch.cat([matrix[:3] * scale, matrix[3:]])


def _distinct(frames: Sequence[Frame]) -> list[Frame]:
    """The first of those that are the same."""
    kept: list[Frame] = []
    for frame in frames:
        if not any(torch.allclose(frame.from_capture, other.from_capture, atol=1e-6) for other in kept):
            kept.append(frame)
    return kept


def _rotation_between(
    start: Tensor,  # [3] unit vector
    end: Tensor,  # [3] unit vector
) -> Tensor:  # [3, 3]
    """The rotation in the plane of both that brings one to the other."""
    axis = torch.linalg.cross(start, end)
    if float(axis.norm()) < 1e-6:
        axis = torch.linalg.cross(start, torch.eye(3, dtype=start.dtype)[int(start.abs().argmin())])
    x, y, z = torch.nn.functional.normalize(axis, dim=0).tolist()
    skew = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=start.dtype)
    angle = torch.acos(torch.dot(start, end).clamp(-1.0, 1.0))
    return torch.eye(3, dtype=start.dtype) + torch.sin(angle) * skew + (1.0 - torch.cos(angle)) * (skew @ skew)
