"""The C++ engine. Arrays are C-contiguous and on the CPU; maps have the size of the picture, pictures of the window."""

from numpy import float32, int32, int64, uint16
from numpy.typing import NDArray

def available_isas() -> list[str]: ...
def zeros(count: int) -> NDArray[float32]: ...  # [count], in memory that is quick to touch

class Frame:
    def __init__(self, isa: str, threads: int) -> None: ...
    def prepare(
        self,
        means: NDArray[float32],  # [N, 3]
        quats: NDArray[float32],  # [N, 4]
        scales: NDArray[float32],  # [N, 3]
        opacities: NDArray[float32],  # [N]
        viewmat: NDArray[float32],  # [4, 4]
        intrinsics: NDArray[float32],  # fx, fy, cx, cy
        width: int,
        height: int,
        window: list[int],  # left, top, right, bottom
        constants: NDArray[float32],  # near, far, alpha_min, alpha_max, transmittance_min, eps2d
        antialiased: bool,
        extent: int,
        /,
    ) -> None: ...
    def render_sh(
        self,
        sh: NDArray[float32],  # [N, K, 3]
        degree: int,
        background: NDArray[float32] | None,  # [3]
        colors: NDArray[float32],  # [h, w, 3], written
        alpha: NDArray[float32],  # [h, w], written
        depth: NDArray[float32],  # [h, w], written
    ) -> None: ...
    def render_features(
        self,
        features: NDArray[float32],  # [N, C]
        background: NDArray[float32] | None,  # [C]
        colors: NDArray[float32],  # [h, w, C], written
        alpha: NDArray[float32],  # [h, w], written
        depth: NDArray[float32],  # [h, w], written
    ) -> None: ...
    def votes(
        self,
        columns: NDArray[uint16],  # [H, W], 0xffff for a label without a column
        column_count: int,
        weight: NDArray[float32] | None,  # [H, W]
        offsets: NDArray[int64],  # [N + 1], written
        seen: NDArray[float32],  # [N], written
    ) -> tuple[NDArray[int64], NDArray[float32]]: ...  # columns and mass of the sparse rows
    def lift(
        self,
        values: NDArray[float32],  # [H, W, C]
        weight: NDArray[float32] | None,  # [H, W]
        out: NDArray[float32],  # [N, C], written
    ) -> None: ...
    def backward(
        self,
        means: NDArray[float32],
        quats: NDArray[float32],
        scales: NDArray[float32],
        opacities: NDArray[float32],
        sh: NDArray[float32] | None,
        degree: int,
        colors: NDArray[float32],  # the pictures of the last render call
        alpha: NDArray[float32],
        depth: NDArray[float32],
        grad_colors: NDArray[float32],  # and the gradients of the loss with respect to them
        grad_alpha: NDArray[float32],
        grad_depth: NDArray[float32] | None,
        to_means: NDArray[float32],  # all of these are added to
        to_quats: NDArray[float32],
        to_scales: NDArray[float32],
        to_opacities: NDArray[float32],
        to_sh: NDArray[float32] | None,
        to_features: NDArray[float32] | None,
        to_means2d: NDArray[float32],
        to_absgrad: NDArray[float32] | None,
    ) -> None: ...
    def screen(
        self,
        means2d: NDArray[float32],  # [N, 2], written
        radii: NDArray[int32],  # [N, 2], written
        /,
    ) -> None: ...
    @property
    def seconds(self) -> dict[str, float]: ...
    @property
    def visible(self) -> int: ...
    @property
    def intersections(self) -> int: ...
    @property
    def undrawable(self) -> int: ...
