"""DICOM: real units, orientation, and the geometry of series."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from medbundles import checks
from medbundles.images import frame_axes
from medbundles.io import read_image

Build = Callable[..., Path]
GREY = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10)  # 12 rows, 10 columns


def test_the_array_is_x_then_y_and_the_modality_is_known(tmp_path: Path, dicom_file: Build) -> None:
    image = read_image(dicom_file(tmp_path / "a.dcm", GREY))
    assert np.array_equal(image.array[0], GREY.T)
    assert image.modality == "US"
    assert np.array_equal(image.affine, np.diag([-1, -1, 1, 1]))


def test_a_file_without_suffix_is_recognised_by_its_content(tmp_path: Path, dicom_file: Build) -> None:
    assert read_image(dicom_file(tmp_path / "IM0001", GREY)).array.shape == (1, 10, 12)


def test_monochrome1_is_inverted(tmp_path: Path, dicom_file: Build) -> None:
    path = dicom_file(tmp_path / "a.dcm", GREY, PhotometricInterpretation="MONOCHROME1", modality="DX")
    assert np.array_equal(read_image(path).array[0], 255 - GREY.T)


def test_ct_comes_in_hounsfield_units_as_integers(tmp_path: Path, dicom_file: Build) -> None:
    stored = GREY.astype(np.int16) * 10
    path = dicom_file(tmp_path / "a.dcm", stored, modality="CT", RescaleSlope=2, RescaleIntercept=-1024)
    image = read_image(path)
    assert image.array.dtype == np.int16
    assert np.array_equal(image.array[0], 2 * stored.T - 1024)


def test_grey_stored_as_rgb_becomes_one_channel(tmp_path: Path, dicom_file: Build) -> None:
    path = dicom_file(tmp_path / "a.dcm", np.repeat(GREY[..., None], 3, axis=-1))
    assert np.array_equal(read_image(path).array[0], GREY.T)


def test_grey_stored_as_ybr_becomes_one_channel(tmp_path: Path, dicom_file: Build) -> None:
    chroma = np.full_like(GREY, 128)
    path = dicom_file(
        tmp_path / "a.dcm", np.stack([GREY, chroma, chroma], axis=-1), PhotometricInterpretation="YBR_FULL"
    )
    assert np.abs(read_image(path).array[0].astype(int) - GREY.T).max() <= 1


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle.dcm"]
)
def test_real_colour_keeps_three_channels(name: str) -> None:
    image = read_image(get_testdata_file(name))
    assert image.array.shape == (3, 100, 100)
    with pytest.raises(checks.ColourError):
        image.check({"channels": 1})


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm",
    ],
)
def test_every_compression_gives_the_same_values(name: str) -> None:
    plain = read_image(get_testdata_file("MR_small.dcm"))
    packed = read_image(get_testdata_file(name))
    assert np.array_equal(packed.array, plain.array)
    assert packed.array.dtype.isnative
    assert np.allclose(packed.affine, plain.affine)


def test_the_position_and_orientation_of_a_slice_reach_its_affine(tmp_path: Path, dicom_file: Build) -> None:
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImagePositionPatient": [10, 20, 30]}
    image = read_image(dicom_file(tmp_path / "a.dcm", GREY, PixelSpacing=[0.5, 0.25], **place))
    assert np.allclose(image.affine[:3, 0], [-0.25, 0, 0])
    assert np.allclose(image.affine[:3, 1], [0, 0, -0.5])
    assert np.allclose(image.affine[:3, 3], [-10, -20, 30])
    assert np.allclose(frame_axes(image.affine), np.diag([0.25, 0.5]))


def test_an_impossible_orientation_is_refused(tmp_path: Path, dicom_file: Build) -> None:
    path = dicom_file(tmp_path / "a.dcm", GREY, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    with pytest.raises(checks.GridError, match="perpendicular"):
        read_image(path)


def test_a_clip_has_its_frames_on_the_third_axis_and_is_refused_by_a_2d_bundle(
    tmp_path: Path, dicom_file: Build
) -> None:
    image = read_image(dicom_file(tmp_path / "a.dcm", np.stack([GREY, GREY + 1, GREY + 2])))
    assert image.array.shape == (1, 10, 12, 3)
    assert np.array_equal(image.array[0, ..., 2], GREY.T + 2)
    with pytest.raises(checks.DimensionError, match="clip of 3 frames"):
        image.check({"spatial_dims": 2})


def enhanced(frames: int) -> dict[str, list[Dataset]]:
    """Functional groups of an axial volume stored from top to bottom, 2 mm apart, one slope per frame."""
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = [0.5, 0.25], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    each = []
    for k in range(frames):
        group, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 100 - 2 * k]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = k + 1, -1000, "HU"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [place], [values]
        each.append(group)
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": each}


def test_an_enhanced_file_is_a_volume_in_spatial_order_and_units(tmp_path: Path, dicom_file: Build) -> None:
    frames = np.stack([GREY, GREY, GREY]).astype(np.int16)
    image = read_image(dicom_file(tmp_path / "a.dcm", frames, modality="CT", **enhanced(3)))
    assert image.spacing == pytest.approx((0.25, 0.5, 2.0))
    assert np.allclose(image.affine[:3, 3], [0, 0, 96])
    assert np.array_equal(image.array[0, ..., 0], 3 * GREY.T.astype(int) - 1000)
    assert np.array_equal(image.array[0, ..., 2], GREY.T.astype(int) - 1000)


def test_a_series_is_sorted_by_position_and_not_by_name(tmp_path: Path, dicom_series: Build) -> None:
    image = read_image(dicom_series(tmp_path / "s", [12.0, 0.0, 3.0, 9.0, 6.0]))
    assert image.array.shape == (1, 8, 6, 5)
    assert image.array.dtype == np.int16
    assert image.array[0, 3, 3].tolist() == [-23, -22, -20, -21, -24]
    assert image.array[0, 0, 0, 0] == 976
    assert np.allclose(image.affine, [[-0.25, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 0], [0, 0, 0, 1]])
    assert (image.calibrated, image.modality) == (True, "CT")


def test_a_series_agrees_with_itk(tmp_path: Path, dicom_series: Build) -> None:
    import itk

    oblique = {"ImageOrientationPatient": [0.8, 0.6, 0, -0.6, 0.8, 0]}
    folder = dicom_series(tmp_path / "s", [0.0, 3.0, 6.0], **oblique)
    names = itk.GDCMSeriesFileNames.New(Directory=str(folder)).GetInputFileNames()
    theirs = itk.imread(list(names))
    ours = read_image(folder)
    assert np.array_equal(ours.array[0], itk.array_from_image(theirs).T)
    assert np.allclose(ours.spacing, theirs.GetSpacing())
    lps = np.diag([-1, -1, 1, 1]) @ ours.affine
    assert np.allclose(lps[:3, :3] / ours.spacing, itk.array_from_matrix(theirs.GetDirection()))
    assert np.allclose(lps[:3, 3], theirs.GetOrigin())


def test_positions_rounded_by_the_scanner_are_not_a_gap(tmp_path: Path, dicom_series: Build) -> None:
    depths = [round(0.625 * k, 1) for k in range(9)]
    assert read_image(dicom_series(tmp_path / "s", depths)).spacing[2] == pytest.approx(0.625)


def test_a_folder_of_one_slice_is_a_frame(tmp_path: Path, dicom_series: Build) -> None:
    assert read_image(dicom_series(tmp_path / "s", [5.0])).array.shape == (1, 8, 6)


@pytest.mark.parametrize(
    ("depths", "words"),
    [
        ([0, 3, 6, 12, 15], "a gap between slices 3 and 4 of 5: 6 mm where 3 mm are usual (about 1 missing)"),
        ([0, 6, 9, 12, 15, 18, 21], "slices 1 and 2 of 7"),
        ([0, 3, 6, 6, 9], "share a position"),
        ([0, 1, 3, 6, 10], "unevenly|gap"),
    ],
)
def test_gaps_and_copies_in_a_series_are_refused(
    tmp_path: Path, dicom_series: Build, depths: list[float], words: str
) -> None:
    with pytest.raises(checks.DicomSeriesError) as caught:
        read_image(dicom_series(tmp_path / "s", depths))
    assert any(word in str(caught.value) for word in words.split("|"))


def test_a_tilted_gantry_is_refused(tmp_path: Path, dicom_file: Build) -> None:
    for k in range(4):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 1.0 * k, 5.0 * k]}
        dicom_file(tmp_path / f"{k}.dcm", GREY, modality="CT", PixelSpacing=[1, 1], **place)
    with pytest.raises(checks.DicomSeriesError, match=r"11\.3 degrees"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "2 different orientations"),
        ({"PixelSpacing": [0.7, 0.7]}, "2 different pixel spacings"),
    ],
)
def test_a_localizer_among_the_slices_is_refused(
    tmp_path: Path, dicom_series: Build, odd: dict[str, list[float]], words: str
) -> None:
    dicom_series(tmp_path / "s", [0, 3, 6])
    other = dicom_series(tmp_path / "t", [9], **odd)
    shutil.copy(next(other.iterdir()), tmp_path / "s" / "localizer.dcm")
    with pytest.raises(checks.DicomSeriesError, match=words):
        read_image(tmp_path / "s")


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path: Path, dicom_series: Build) -> None:
    dicom_series(tmp_path / "s", [0, 3, 6], uid="1.2.3.4", SeriesNumber=2)
    dicom_series(tmp_path / "s", [0, 5], uid="1.2.3.5", SeriesNumber=7)
    with pytest.raises(checks.DicomSeriesError) as caught:
        read_image(tmp_path / "s")
    assert "2 DICOM series" in str(caught.value)
    assert "7 (CT, 2 files" in str(caught.value)
    assert read_image(tmp_path / "s", series=7).array.shape[-1] == 2
    assert read_image(tmp_path / "s", series="3.4").array.shape[-1] == 3
    with pytest.raises(checks.DicomSeriesError, match="named 9"):
        read_image(tmp_path / "s", series=9)


def test_a_report_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(checks.UnreadableFileError, match="without an image"):
        read_image(get_testdata_file("test-SR.dcm"))


def test_errors_and_logs_never_quote_the_patient(
    tmp_path: Path, dicom_file: Build, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    whole = dicom_file(tmp_path / "a.dcm", GREY).read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[:-60])
    odd = dicom_file(tmp_path / "c.dcm", GREY, SeriesDescription="Secret^Person")
    odd.write_bytes(odd.read_bytes().replace(b"SECRET-4711", b"SECRET-47\n1"))
    said = ""
    for name, options in (("b.dcm", {}), ("c.dcm", {"pixel_mm": -1})):
        with pytest.raises(checks.InputError) as caught:
            read_image(tmp_path / name, **options)
        said += str(caught.value)
    said += caplog.text + "".join(capfd.readouterr())
    assert "secret" not in said.lower()
