"""Reading, finding and writing images; the geometry that a later step can rely on."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medbundles import checks, io
from medbundles.images import affine_from_lps, frame_axes

COS, SIN = np.cos(0.3), np.sin(0.3)
TURNED = np.array(
    [[-0.5 * COS, 0.25 * SIN, 0, 3], [-0.5 * SIN, -0.25 * COS, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]]
)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.linalg.qr(np.array([[1, 2, 0.5], [0.2, 1, 3], [2, 0.1, 1]]))[0] * [0.3, 0.6, 2.0]
OBLIQUE[:3, 3] = [5, -7, 9]
CORONAL = np.array([[-0.3, 0, 0, 1], [0, 0, 1, 2], [0, -0.4, 0, 3], [0, 0, 0, 1.0]])


def ramp(shape: tuple[int, ...], kind: type) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) % 120).astype(kind)


def test_x_is_the_column_and_y_the_row_of_a_picture(tmp_path: Path) -> None:
    Pillow.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)).save(tmp_path / "a.png")
    image = io.read_image(tmp_path / "a.png")
    assert image.array.tolist() == [[[1, 4], [2, 5], [3, 6]]]
    assert np.array_equal(image.affine, np.diag([-1, -1, 1, 1]))
    assert (image.calibrated, image.calibration, image.modality) == (False, "none", None)


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "tif", "TIFF"])
def test_every_picture_format_is_read(tmp_path: Path, frame: np.ndarray, extension: str) -> None:
    Pillow.fromarray(frame[0].T).save(tmp_path / f"a.{extension}")
    image = io.read_image(tmp_path / f"a.{extension}")
    assert image.array.shape == frame.shape
    assert np.abs(image.array.astype(int) - frame).mean() < (12 if extension == "jpg" else 1e-9)


def test_16_bit_and_float_pictures_keep_their_values(tmp_path: Path) -> None:
    for name, values in (("a.png", ramp((5, 7), np.uint16) * 500), ("b.tif", ramp((5, 7), np.float32) / 7)):
        Pillow.fromarray(values).save(tmp_path / name)
        image = io.read_image(tmp_path / name)
        assert image.array.dtype == values.dtype
        assert np.array_equal(image.array[0].T, values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK"])
def test_grey_in_a_colour_format_becomes_one_channel(tmp_path: Path, frame: np.ndarray, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Pillow.fromarray(frame[0].T).convert(mode).save(path)
    image = io.read_image(path)
    assert image.array.shape == frame.shape
    assert np.abs(image.array.astype(int) - frame).max() <= 1
    assert image.coloured == 0


def test_small_coloured_drawings_become_grey_and_are_counted(tmp_path: Path, frame: np.ndarray) -> None:
    pixels = np.repeat(frame[0].T[..., None], 3, axis=-1)
    pixels[10, 20:45] = (255, 255, 0)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    image = io.read_image(tmp_path / "a.png")
    assert image.array.shape == frame.shape
    assert image.coloured == pytest.approx(25 / frame.size)
    assert "coloured" in image.check({"colour": "grey_only"})[0]


def shown(image: io.Image) -> np.ndarray:
    """The frame as on a screen, found from the affine alone."""
    axes = frame_axes(image.affine)
    pixels = image.array[0]
    if abs(axes[0, 1]) > abs(axes[0, 0]):
        pixels, axes = pixels.T, axes[:, ::-1]
    return pixels[:: int(np.sign(axes[0, 0])), :: int(np.sign(axes[1, 1]))]


TURNS = {
    "upright": (lambda p: p, ((1, 0), (0, 1))),
    "mirrored": (lambda p: p[::-1], ((-1, 0), (0, 1))),
    "upside down": (lambda p: p[:, ::-1], ((1, 0), (0, -1))),
    "half turn": (lambda p: p[::-1, ::-1], ((-1, 0), (0, -1))),
    "transposed": (lambda p: p.T, ((0, 1), (1, 0))),
    "quarter turn": (lambda p: p.T[:, ::-1], ((0, 1), (-1, 0))),
    "other quarter turn": (lambda p: p.T[::-1], ((0, -1), (1, 0))),
}


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".nrrd", ".dcm"])
@pytest.mark.parametrize("turn", TURNS)
def test_a_frame_that_its_header_turns_is_brought_upright_by_its_affine_alone(
    tmp_path: Path, frame: np.ndarray, dicom_file: Callable[..., Path], extension: str, turn: str
) -> None:
    change, axes = TURNS[turn]
    stored, path = np.ascontiguousarray(change(frame[0])), tmp_path / f"a{extension}"
    directions = np.eye(3)
    directions[:2, :2] = np.array(axes, float).T
    if extension == ".dcm":
        cosines = [*directions[:, 0], *directions[:, 1]]
        dicom_file(path, stored.T, PixelSpacing=[0.25, 0.5], ImageOrientationPatient=cosines)
    else:
        io.write_image(stored[None], path, affine=affine_from_lps(directions, (0.5, 0.25, 1), (1, 2, 0)))
    image = io.read_image(path)
    assert np.allclose(image.spacing, (0.5, 0.25))
    assert np.array_equal(shown(image), frame[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_picture_is_brought_upright_by_its_affine_alone(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(ramp((5, 7), np.uint8)).save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Pillow.open(tmp_path / "a.png"))).T
    assert np.array_equal(shown(io.read_image(tmp_path / "a.png")), upright)


def test_the_axes_of_coronal_and_sagittal_frames_are_those_of_the_screen() -> None:
    coronal = affine_from_lps(np.array([[1, 0, 0], [0, 0, -1], [0, -1, 0]]).T, (2, 3, 1), (0, 0, 0))
    sagittal = affine_from_lps(np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]]).T, (2, 3, 1), (0, 0, 0))
    assert np.allclose(frame_axes(coronal), np.diag([2, 3]))
    assert np.allclose(frame_axes(sagittal), np.diag([2, 3]))


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None, **fields: object) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def test_a_nifti_plane_stored_as_a_volume_of_one_slice_is_2d(tmp_path: Path) -> None:
    image = io.read_image(save_nifti(tmp_path / "a.nii", ramp((7, 5, 1), np.int16), CORONAL))
    assert image.array.shape == (1, 7, 5)
    assert np.allclose(image.affine, CORONAL)


def test_a_nifti_of_one_millimetre_without_a_unit_is_not_calibrated_but_with_it_is(tmp_path: Path) -> None:
    bare = save_nifti(tmp_path / "a.nii", ramp((7, 5), np.int16), np.diag([-1.0, -1, 1, 1]))
    stated = save_nifti(tmp_path / "b.nii", ramp((7, 5), np.int16), np.diag([-1.0, -1, 1, 1]), xyzt_units=2)
    assert not io.read_image(bare).calibrated
    assert io.read_image(stated).calibrated


def test_an_atlas_of_one_millimetre_without_a_unit_is_calibrated_by_its_origin(tmp_path: Path) -> None:
    atlas = np.diag([-1.0, 1, 1, 1])
    atlas[:3, 3] = [90, -126, -72]
    assert io.read_image(save_nifti(tmp_path / "a.nii", ramp((7, 5, 4), np.int16), atlas)).calibrated
    assert not io.read_image(save_nifti(tmp_path / "b.nii", ramp((7, 5, 4), np.int16), np.eye(4))).calibrated


def test_micrometres_in_a_nifti_become_millimetres(tmp_path: Path) -> None:
    path = save_nifti(
        tmp_path / "a.nii", ramp((7, 5, 4), np.int16), np.diag([200.0, 300, 400, 1]), xyzt_units=3
    )
    assert np.allclose(io.read_image(path).spacing, (0.2, 0.3, 0.4))


def test_a_rescaled_nifti_comes_in_units_and_as_integers(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ramp((7, 5, 4), np.int16), OBLIQUE)
    image.header.set_slope_inter(2, -1024)
    nibabel.save(image, tmp_path / "a.nii")
    read = io.read_image(tmp_path / "a.nii").array
    assert read.dtype == np.int16
    assert np.array_equal(read[0], nibabel.load(tmp_path / "a.nii").get_fdata())


def test_a_nifti_without_any_orientation_is_upright_and_says_so(tmp_path: Path) -> None:
    image = io.read_image(
        save_nifti(tmp_path / "a.nii", ramp((7, 5), np.int16), None, pixdim=[1, 0.5, 0.25] + 5 * [1])
    )
    assert np.allclose(image.affine, np.diag([-0.5, -0.25, 1, 1]))
    assert "no orientation" in image.warnings[0]


def test_pixel_mm_calibrates_a_picture_and_keeps_its_directions(tmp_path: Path, frame: np.ndarray) -> None:
    Pillow.fromarray(frame[0].T).save(tmp_path / "a.png")
    image = io.read_image(tmp_path / "a.png", pixel_mm=0.2)
    assert (image.calibrated, image.calibration, image.spacing) == (True, "--pixel_mm", (0.2, 0.2))
    assert np.allclose(image.affine, np.diag([-0.2, -0.2, 1, 1]))
    assert io.read_image(tmp_path / "a.png", pixel_mm=[0.2, 0.3]).spacing == (0.2, 0.3)


def test_pixel_mm_overrides_the_header_with_a_warning(tmp_path: Path) -> None:
    io.write_image(ramp((1, 7, 5), np.uint8), tmp_path / "a.nii", affine=TURNED)
    image = io.read_image(tmp_path / "a.nii", pixel_mm=(0.1, 0.1))
    assert np.allclose(image.spacing, (0.1, 0.1))
    assert np.allclose(image.affine[:3, 0] / 0.1, TURNED[:3, 0] / 0.5)
    assert "replaces 0.5 x 0.25 mm" in image.warnings[0]


def test_pixel_mm_repairs_a_nifti_with_zero_spacing(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ramp((7, 5), np.int16), None, pixdim=[1, 0, 0] + 5 * [0])
    with pytest.raises(checks.SpacingError):
        io.read_image(path)
    assert io.read_image(path, pixel_mm=0.2).spacing == (0.2, 0.2)
