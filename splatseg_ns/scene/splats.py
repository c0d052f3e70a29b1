"""The Gaussians of a scene, stored as trained so that nothing is lost in a round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from splatseg_ns.scene.profile import DEFAULT_PROFILE, RenderProfile
from splatseg_ns.scene.spherical_harmonics import degree_of, rotate_sh


@dataclass(frozen=True, eq=False)
class Splats:
    """N Gaussians in the parameters they were trained in, and the profile they were trained with."""

    means: Tensor  # [N, 3]
    raw_quats: Tensor  # [N, 4] wxyz, of any length
    log_scales: Tensor  # [N, 3]
    logit_opacities: Tensor  # [N]
    sh: Tensor  # [N, K, 3], K = 1, 4, 9 or 16
    profile: RenderProfile = DEFAULT_PROFILE

    def __post_init__(self) -> None:
        count = len(self.means) if self.means.dim() else 0
        wanted = {"means": (count, 3), "raw_quats": (count, 4), "log_scales": (count, 3), "logit_opacities": (count,)}
        for name, shape in wanted.items():
            actual = tuple(getattr(self, name).shape)
            if actual != shape:
                raise ValueError(f"Splats.{name} must have shape {list(shape)}, got {list(actual)}")
        if self.sh.dim() != 3 or self.sh.shape[0] != count or self.sh.shape[2] != 3:
            raise ValueError(f"Splats.sh must have shape [{count}, K, 3], got {list(self.sh.shape)}")
        degree_of(self.sh.shape[1])
        for name, tensor in self.tensors().items():
            if not tensor.is_floating_point():
                raise TypeError(f"Splats.{name} must hold floating-point numbers, got {tensor.dtype}")
            if tensor.device != self.means.device or tensor.dtype != self.means.dtype:
                raise ValueError(
                    f"Splats.{name} is {tensor.dtype} on {tensor.device}, "
                    f"Splats.means is {self.means.dtype} on {self.means.device}; they must agree"
                )

    def __len__(self) -> int:
        return len(self.means)

    @property
    def device(self) -> torch.device:
        return self.means.device

    @property
    def dtype(self) -> torch.dtype:
        return self.means.dtype

    @property
    def sh_degree(self) -> int:
        return degree_of(self.sh.shape[1])

    @property
    def quats(self) -> Tensor:  # [N, 4]
        """Rotations as unit quaternions, wxyz."""
        return torch.nn.functional.normalize(self.raw_quats, dim=-1)

    @property
    def scales(self) -> Tensor:  # [N, 3]
        """Standard deviations along the three axes of each Gaussian."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:  # [N]
        return self.logit_opacities.sigmoid()

    def tensors(self) -> dict[str, Tensor]:
        """The five parameter tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "profile"}

    def subset(
        self,
        rows: Tensor,  # [N] bool, or [M] integer
    ) -> Splats:
        """The chosen rows, in the given order, bit for bit."""
        return replace(self, **{name: tensor[rows] for name, tensor in self.tensors().items()})

    def to(self, target: torch.device | torch.dtype | str) -> Splats:
        """The same splats on another device or in another floating-point type."""
        return replace(self, **{name: tensor.to(target) for name, tensor in self.tensors().items()})

    def transform(
        self,
        similarity: Tensor,  # [4, 4], rotation times one positive scale, and a translation
    ) -> Splats:
        """The splats moved into another frame: centres, rotations, sizes and view-dependent colours."""
        linear, shift = similarity[:3, :3].cpu().double(), similarity[:3, 3].cpu().double()
        determinant = float(torch.linalg.det(linear))
        if determinant <= 0.0:
            raise ValueError(f"a similarity needs a positive determinant, got {determinant:.6g} (a mirrored frame?)")
        scale = determinant ** (1.0 / 3.0)
        rotation = linear / scale
        if not torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-4):
            raise ValueError(f"the matrix is no rotation times one scale:\n{linear}")
        place = {"dtype": self.dtype, "device": self.device}
        return replace(
            self,
            means=self.means @ linear.T.to(**place) + shift.to(**place),
            raw_quats=_quaternion_product(_quaternion_of(rotation).to(**place), self.raw_quats),
            log_scales=self.log_scales + torch.tensor(scale, dtype=torch.float64).log().to(**place),
            sh=rotate_sh(self.sh, rotation),
        )

    @staticmethod
    def concat(parts: Sequence[Splats]) -> Splats:
        """One scene out of several; lower colour degrees are padded with zeros."""
        if not parts:
            raise ValueError("nothing to concatenate: give at least one Splats")
        profiles = {part.profile for part in parts}
        if len(profiles) > 1:
            names = ", ".join(sorted(profile.name for profile in profiles))
            raise ValueError(f"splats of different render profiles cannot share a scene: {names}")
        count = max(part.sh.shape[1] for part in parts)
        padded = [
            replace(part, sh=torch.nn.functional.pad(part.sh, (0, 0, 0, count - part.sh.shape[1]))) for part in parts
        ]
        return Splats(
            **{name: torch.cat([getattr(part, name) for part in padded]) for name in padded[0].tensors()},
            profile=parts[0].profile,
        )


def _quaternion_of(
    rotation: Tensor,  # [3, 3]
) -> Tensor:  # [4] wxyz
    """The unit quaternion q of a rotation: the eigenvector of K = 4 q q^T - I to its largest eigenvalue."""
    m = rotation
    k = torch.stack(
        [
            torch.stack([m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]),
            torch.stack([m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]]),
            torch.stack([m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]]),
            torch.stack([m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]]),
        ]
    )
    return torch.linalg.eigh(k).eigenvectors[:, -1]


def _quaternion_product(
    left: Tensor,  # [..., 4] wxyz
    right: Tensor,  # [..., 4] wxyz
) -> Tensor:  # [..., 4]
    """The rotation ``right`` followed by ``left``."""
    a, b = left.unbind(-1), right.unbind(-1)
    return torch.stack(
        [
            a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
            a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
            a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
            a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
        ],
        dim=-1,
    )
