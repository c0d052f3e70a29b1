from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.scene import Capture, Lens, PixelRect, undistortion
from splatseg_ns.scene.view import View
from tests.scene.examples import write_picture

PERSPECTIVE = Lens(fx=150.0, fy=148.0, cx=83.3, cy=58.9, k1=-0.21, k2=0.05, k3=-0.01, p1=0.002, p2=-0.003)
FISHEYE = Lens(fx=90.0, fy=91.0, cx=79.1, cy=61.2, k1=0.03, k2=-0.01, k3=0.004, k4=-0.001, kind="fisheye")
WIDTH, HEIGHT = 160, 120


def smooth_picture() -> torch.Tensor:  # [HEIGHT, WIDTH, 3] uint8
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    channels = [128 + 90 * np.sin(columns / 7), 128 + 90 * np.cos(rows / 5), columns + rows / 2]
    return torch.from_numpy(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8))


def distorted_position(lens: Lens, K: torch.Tensor, column: float, row: float) -> tuple[float, float]:
    """Where the ray through a pixel centre of the straight picture lies in the picture on disk, by the formulas."""
    x = (column + 0.5 - float(K[0, 2])) / float(K[0, 0])
    y = (row + 0.5 - float(K[1, 2])) / float(K[1, 1])
    if lens.kind == "fisheye":
        r = np.hypot(x, y)
        angle = np.arctan(r)
        bent = angle * (1 + lens.k1 * angle**2 + lens.k2 * angle**4 + lens.k3 * angle**6 + lens.k4 * angle**8)
        x, y = x * bent / r, y * bent / r
    else:
        r2 = x * x + y * y
        radial = 1 + lens.k1 * r2 + lens.k2 * r2**2 + lens.k3 * r2**3
        x, y = (
            x * radial + 2 * lens.p1 * x * y + lens.p2 * (r2 + 2 * x * x),
            y * radial + lens.p1 * (r2 + 2 * y * y) + 2 * lens.p2 * x * y,
        )
    return lens.fx * x + lens.cx - 0.5, lens.fy * y + lens.cy - 0.5


def test_without_distortion_nothing_changes():
    straight = undistortion(Lens(fx=50.0, fy=51.0, cx=31.5, cy=20.25), 64, 48)
    assert torch.equal(straight.K, torch.tensor([[50.0, 0.0, 31.5], [0.0, 51.0, 20.25], [0.0, 0.0, 1.0]]))
    assert straight.rect == PixelRect(0, 0, 64, 48)
    picture = torch.zeros(48, 64, 3, dtype=torch.uint8)
    assert straight.picture(picture) is picture


@pytest.mark.parametrize("lens", [PERSPECTIVE, FISHEYE], ids=["perspective", "fisheye"])
def test_each_label_comes_from_the_pixel_that_the_lens_formula_names(lens: Lens):
    straight = undistortion(lens, WIDTH, HEIGHT)
    # Ids that tell the pixel, and that fit into no 16 bits.
    ids = torch.arange(HEIGHT * WIDTH, dtype=torch.int32).reshape(HEIGHT, WIDTH) + 1_000_000
    label_map = straight.label_map(ids)
    assert label_map.dtype == torch.int32
    assert label_map.shape == (straight.rect.height, straight.rect.width)
    checked = 0
    for row in range(0, straight.rect.height, 7):
        for column in range(0, straight.rect.width, 7):
            source_column, source_row = distorted_position(lens, straight.K, column, row)
            fractions = (source_column % 1, source_row % 1)
            if any(abs(fraction - 0.5) < 1e-2 for fraction in fractions):
                continue
            source = (round(source_row), round(source_column))
            assert label_map[row, column] == ids[source], (row, column)
            checked += 1
    assert checked > 200


@pytest.mark.parametrize("lens", [PERSPECTIVE, FISHEYE], ids=["perspective", "fisheye"])
def test_labels_agree_with_opencv_nearest(lens: Lens):
    cv2 = pytest.importorskip("cv2")
    straight = undistortion(lens, WIDTH, HEIGHT)
    ids = torch.randint(0, 2**31 - 1, (HEIGHT, WIDTH), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    K = np.array([[lens.fx, 0, lens.cx - 0.5], [0, lens.fy, lens.cy - 0.5], [0, 0, 1]])
    if lens.kind == "fisheye":
        make_map, coefficients = cv2.fisheye.initUndistortRectifyMap, (lens.k1, lens.k2, lens.k3, lens.k4)
    else:
        make_map, coefficients = cv2.initUndistortRectifyMap, (lens.k1, lens.k2, lens.p1, lens.p2, lens.k3)
    maps = make_map(K, np.array(coefficients), np.eye(3), straight.straight_K, (WIDTH, HEIGHT), cv2.CV_32FC1)
    expected = cv2.remap(ids.numpy(), *maps, cv2.INTER_NEAREST)[straight.rect.slices]
    same = (straight.label_map(ids).numpy() == expected).mean()
    assert same > 0.999  # the intrinsics differ by rounding to float32, so a tie may fall the other way


def test_labels_keep_their_type_and_get_no_new_values():
    straight = undistortion(PERSPECTIVE, WIDTH, HEIGHT)
    ids = torch.full((HEIGHT, WIDTH), 3, dtype=torch.int64)
    ids[:, 80:] = 2**40
    label_map = straight.label_map(ids)
    assert label_map.dtype == torch.int64
    assert label_map.unique().tolist() == [3, 2**40]


def test_pixels_without_a_source_get_no_label():
    # A lens that magnifies the rim needs the outside of the picture at the corners of the uncropped one.
    lens = Lens(fx=60.0, fy=60.0, cx=80.0, cy=60.0, k1=0.4, k2=0.3, k3=0.1, k4=0.05, kind="fisheye")
    straight = undistortion(lens, WIDTH, HEIGHT)
    label_map = straight.label_map(torch.ones(HEIGHT, WIDTH, dtype=torch.int32))
    for row, column in ((0, 0), (HEIGHT - 1, WIDTH - 1), (HEIGHT // 2, WIDTH // 2)):
        source_column, source_row = distorted_position(lens, straight.K, column, row)
        inside = -0.49 < source_column < WIDTH - 0.51 and -0.49 < source_row < HEIGHT - 0.51
        assert bool(label_map[row, column]) == inside, (row, column)


def test_a_mask_is_undistorted_like_its_picture():
    straight = undistortion(PERSPECTIVE, WIDTH, HEIGHT)
    assert straight.mask(torch.ones(HEIGHT, WIDTH, dtype=torch.bool)).all()
    assert not straight.mask(torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)).any()
    half = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    half[:, :80] = True
    labels = straight.label_map(half.int()) > 0
    mask = straight.mask(half)
    assert mask.shape == labels.shape
    assert (mask | ~labels).all()  # a pixel whose nearest source counts, counts
    assert (mask != labels).float().mean() < 0.02


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k4": 0.1}, r"k4 = 0\.1 has no meaning for a perspective lens"),
        ({"p1": 0.1, "kind": "fisheye"}, r"p1 = 0\.1, .* no meaning for a fisheye lens"),
        ({"fx": 0.0}, "focal lengths must be positive"),
        ({"fy": float("nan")}, "focal lengths must be positive"),
    ],
)
def test_senseless_lenses_are_refused(values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(Lens(fx=50.0, fy=50.0, cx=32.0, cy=24.0), **values)


class TestAgainstNerfstudio:
    """Pictures, masks and intrinsics are those that Nerfstudio trains splats with."""

    @staticmethod
    def nerfstudio_result(
        lens: Lens, picture: np.ndarray, mask: torch.Tensor | None = None
    ) -> tuple[np.ndarray, np.ndarray, torch.Tensor | None]:
        datamanager = pytest.importorskip("nerfstudio.data.datamanagers.full_images_datamanager")
        cameras = pytest.importorskip("nerfstudio.cameras.cameras")
        kinds = {"perspective": cameras.CameraType.PERSPECTIVE, "fisheye": cameras.CameraType.FISHEYE}
        camera = cameras.Cameras(
            camera_to_worlds=torch.eye(4)[None, :3],
            fx=lens.fx,
            fy=lens.fy,
            cx=lens.cx,
            cy=lens.cy,
            width=picture.shape[1],
            height=picture.shape[0],
            distortion_params=torch.tensor([[lens.k1, lens.k2, lens.k3, lens.k4, lens.p1, lens.p2]]),
            camera_type=kinds[lens.kind],
        )[0].reshape(())
        data = {} if mask is None else {"mask": mask[..., None]}
        return datamanager._undistort_image(
            camera, camera.distortion_params.numpy(), data, picture, camera.get_intrinsics_matrices().numpy()
        )

    @pytest.mark.parametrize("lens", [PERSPECTIVE, FISHEYE], ids=["perspective", "fisheye"])
    def test_made_up_lenses(self, lens: Lens):
        picture = smooth_picture()
        expected_K, expected, _ = self.nerfstudio_result(lens, picture.numpy())
        straight = undistortion(lens, WIDTH, HEIGHT)
        assert np.allclose(straight.K.numpy(), expected_K, rtol=0, atol=1e-4)
        assert np.array_equal(straight.picture(picture).numpy(), expected)

    @pytest.mark.parametrize("seed", range(8))
    def test_random_lenses(self, seed: int):
        k1, k2, p1, p2, shift = np.random.default_rng(seed).uniform(-1, 1, 5) * [0.3, 0.05, 0.01, 0.01, 8.0]
        lens = Lens(fx=150.0, fy=152.0, cx=80.0 + shift, cy=60.0 - shift, k1=k1, k2=k2, p1=p1, p2=p2)
        picture = smooth_picture()
        expected_K, expected, _ = self.nerfstudio_result(lens, picture.numpy())
        straight = undistortion(lens, WIDTH, HEIGHT)
        assert np.allclose(straight.K.numpy(), expected_K, rtol=0, atol=1e-4)
        assert np.array_equal(straight.picture(picture).numpy(), expected)

    def test_masks(self):
        mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        mask[20:90, 30:100] = True
        _, _, expected = self.nerfstudio_result(PERSPECTIVE, smooth_picture().numpy(), mask)
        assert expected is not None
        assert torch.equal(undistortion(PERSPECTIVE, WIDTH, HEIGHT).mask(mask), expected[..., 0])

    def test_bear(self, shared_data: Path):
        view = Capture.load(shared_data / "bear").views[0]
        with Image.open(view.image_path) as picture:
            expected_K, expected, _ = self.nerfstudio_result(view.lens, np.array(picture))
        assert np.allclose(view.camera.K.numpy(), expected_K, rtol=0, atol=1e-4)
        assert np.array_equal(view.image().numpy(), expected)
        assert (view.camera.width, view.camera.height) == expected.shape[1::-1]


def test_picture_labels_and_camera_of_a_view_fit(tmp_path: Path):
    picture = write_picture(tmp_path / "a.png", WIDTH, HEIGHT)
    view = View(
        name="a",
        split="train",
        viewmat=torch.eye(4),
        lens=PERSPECTIVE,
        width=WIDTH,
        height=HEIGHT,
        image_path=tmp_path / "a.png",
        label_source=lambda: torch.from_numpy(picture[..., 0].astype(np.int32)),
    )
    size = (view.camera.height, view.camera.width)
    label_map = view.label_map()
    assert label_map is not None
    assert size != (HEIGHT, WIDTH)
    assert view.image().shape == (*size, 3)
    assert label_map.shape == size
