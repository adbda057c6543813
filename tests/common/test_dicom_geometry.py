"""Where DICOM keeps millimetres: ultrasound regions and pixel spacings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medbundles import checks
from medbundles.io import read_image

Build = Callable[..., Path]
GREY = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10)  # 12 rows, 10 columns
WHOLE = (0, 0, 9, 11)


def test_an_ultrasound_region_calibrates_in_centimetres(
    tmp_path: Path, dicom_file: Build, us_region: Build
) -> None:
    path = dicom_file(tmp_path / "a.dcm", GREY, SequenceOfUltrasoundRegions=[us_region(0.03, 0.02, WHOLE)])
    image = read_image(path)
    assert image.spacing == pytest.approx((0.3, 0.2))
    assert (image.calibrated, image.calibration) == (True, "DICOM US region")
    assert np.allclose(image.affine, np.diag([-0.3, -0.2, 1, 1]))


def test_the_sign_of_a_region_delta_does_not_matter(
    tmp_path: Path, dicom_file: Build, us_region: Build
) -> None:
    path = dicom_file(tmp_path / "a.dcm", GREY, SequenceOfUltrasoundRegions=[us_region(0.03, -0.02, WHOLE)])
    assert read_image(path).spacing == pytest.approx((0.3, 0.2))


def test_the_region_wins_over_the_pixel_spacing(tmp_path: Path, dicom_file: Build, us_region: Build) -> None:
    regions = [us_region(0.03, 0.03, WHOLE)]
    path = dicom_file(tmp_path / "a.dcm", GREY, SequenceOfUltrasoundRegions=regions, PixelSpacing=[5, 5])
    assert read_image(path).spacing == pytest.approx((0.3, 0.3))


def test_regions_of_one_scale_calibrate_and_others_are_passed_over(
    tmp_path: Path, dicom_file: Build, us_region: Build
) -> None:
    regions = [
        us_region(0.03, 0.03, (0, 0, 5, 11)),
        us_region(0.03, 0.03, (6, 0, 9, 11)),
        us_region(0.5, 0.5, WHOLE, RegionSpatialFormat=2),  # M-mode
        us_region(0.5, 0.5, WHOLE, PhysicalUnitsXDirection=4),  # seconds
        us_region(0.0, 0.0, WHOLE),
    ]
    image = read_image(dicom_file(tmp_path / "a.dcm", GREY, SequenceOfUltrasoundRegions=regions))
    assert image.calibrated
    assert image.spacing == pytest.approx((0.3, 0.3))


def test_regions_of_different_scales_calibrate_nothing_and_say_so(
    tmp_path: Path, dicom_file: Build, us_region: Build
) -> None:
    regions = [us_region(0.03, 0.03, (0, 0, 5, 11)), us_region(0.04, 0.04, (6, 0, 9, 11))]
    image = read_image(dicom_file(tmp_path / "a.dcm", GREY, SequenceOfUltrasoundRegions=regions))
    assert not image.calibrated
    assert image.spacing == (1.0, 1.0)
    assert "0.3 x 0.3 mm and 0.4 x 0.4 mm" in image.warnings[0]


def test_a_region_larger_than_the_picture_is_not_believed(
    tmp_path: Path, dicom_file: Build, us_region: Build
) -> None:
    regions = [us_region(0.03, 0.03, (0, 0, 639, 479))]
    image = read_image(dicom_file(tmp_path / "a.dcm", GREY, SequenceOfUltrasoundRegions=regions))
    assert not image.calibrated
    assert "resized" in image.warnings[0]


def test_a_region_that_covers_little_is_noted(tmp_path: Path, dicom_file: Build, us_region: Build) -> None:
    regions = [us_region(0.03, 0.03, (0, 0, 3, 3))]
    image = read_image(dicom_file(tmp_path / "a.dcm", GREY, SequenceOfUltrasoundRegions=regions))
    assert image.calibrated
    assert "8 %" in image.warnings[0]


def test_pixel_spacing_is_row_spacing_first(tmp_path: Path, dicom_file: Build) -> None:
    image = read_image(dicom_file(tmp_path / "a.dcm", GREY, PixelSpacing=[0.5, 0.25]))
    assert image.spacing == (0.25, 0.5)
    assert image.calibration == "DICOM PixelSpacing"


def test_one_millimetre_in_a_screen_capture_is_a_placeholder(tmp_path: Path, dicom_file: Build) -> None:
    assert not read_image(dicom_file(tmp_path / "a.dcm", GREY, PixelSpacing=[1, 1])).calibrated
    assert read_image(dicom_file(tmp_path / "b.dcm", GREY, PixelSpacing=[1, 1], modality="MR")).calibrated


def test_the_spacing_at_the_detector_counts_only_with_a_magnification(
    tmp_path: Path, dicom_file: Build
) -> None:
    bare = read_image(dicom_file(tmp_path / "a.dcm", GREY, modality="DX", ImagerPixelSpacing=[0.3, 0.15]))
    assert not bare.calibrated
    assert "0.15 x 0.3 mm" in bare.warnings[0]
    factor = {"EstimatedRadiographicMagnificationFactor": 1.5}
    known = read_image(
        dicom_file(tmp_path / "b.dcm", GREY, modality="DX", ImagerPixelSpacing=[0.3, 0.15], **factor)
    )
    assert known.calibrated
    assert known.spacing == pytest.approx((0.1, 0.2))


def test_zero_pixel_spacing_is_refused_and_can_be_replaced(tmp_path: Path, dicom_file: Build) -> None:
    path = dicom_file(tmp_path / "a.dcm", GREY, PixelSpacing=[0, 0])
    with pytest.raises(checks.SpacingError, match="0 x 0 mm"):
        read_image(path)
    assert read_image(path, pixel_mm=0.2).spacing == (0.2, 0.2)
