"""A derived series: the values of the result, on the grid of the input, for every other program too."""

import os
from collections.abc import Callable
from pathlib import Path

import itk
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medbundles import checks, io
from medbundles.archives import unpacked
from medbundles.dicom_series import Maker, Series, series_of, write_derived
from medbundles.errors import DicomOutputError

Build = Callable[..., Path]
CT = "1.2.840.10008.5.1.4.1.1.2"
MAKER = Maker("ct_denoising", "0.2.0", "denoised")
OBLIQUE = {"ImageOrientationPatient": [0.8, 0.6, 0, -0.6, 0.8, 0]}
SHUFFLED = [12.0, 0.0, 3.0, 9.0, 6.0]


def series(build: Build, folder: Path, depths: list[float], **attributes: object) -> Path:
    """Axial CT with a window, a frame of reference and a study."""
    known = {
        "SOPClassUID": CT,
        "FrameOfReferenceUID": "1.2.9",
        "StudyInstanceUID": "1.2.3",
        "WindowCenter": 40,
    }
    return build(folder, depths, **(known | {"WindowWidth": 400} | attributes))


def result_for(source: Path) -> tuple[np.ndarray, io.Image]:
    """A result that differs from its input in every voxel and slice."""
    image = io.read_image(source)
    ramp = np.arange(image.array.size).reshape(image.array.shape) % 97
    return (np.rint(image.array) - ramp).astype(np.int16), image


def derive(source: Path, path: Path, maker: Maker = MAKER) -> tuple[np.ndarray, io.Image]:
    result, image = result_for(source)
    write_derived(result, path, series=series_of(source), affine=image.affine, maker=maker)
    return result, image


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("orientation", [{}, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"RescaleSlope": 2},
        {"RescaleSlope": "1.000244"},
        {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0},
        {"RescaleIntercept": 0},
    ],
    ids=["signed", "slope 2", "slope 1.0002", "12 bits unsigned", "intercept 0"],
)
def test_the_series_equals_the_result_voxel_for_voxel(
    tmp_path: Path, dicom_series: Build, orientation: dict, stored: dict
) -> None:
    source = series(dicom_series, tmp_path / "s", SHUFFLED, **(orientation | stored))
    result, image = derive(source, tmp_path / "out")
    io.write_image(result, tmp_path / "r.nii.gz", affine=image.affine)
    ours, nifti = io.read_image(tmp_path / "out"), io.read_image(tmp_path / "r.nii.gz")
    assert np.array_equal(ours.array, nifti.array)
    assert np.array_equal(ours.array, result)
    np.testing.assert_allclose(ours.affine, image.affine, atol=1e-9)


def test_itk_reads_the_same_values_and_geometry(tmp_path: Path, dicom_series: Build) -> None:
    source = series(dicom_series, tmp_path / "s", SHUFFLED, **OBLIQUE)
    result, _ = derive(source, tmp_path / "out")
    mine, theirs = (
        itk.imread(list(itk.GDCMSeriesFileNames.New(Directory=str(folder)).GetInputFileNames()))
        for folder in (tmp_path / "out", source)
    )
    assert np.array_equal(itk.array_from_image(mine).T, result[0])
    for read in ("GetSpacing", "GetOrigin"):
        np.testing.assert_allclose(getattr(mine, read)(), getattr(theirs, read)())
    np.testing.assert_allclose(
        itk.array_from_matrix(mine.GetDirection()), itk.array_from_matrix(theirs.GetDirection())
    )


def test_each_slice_refers_to_the_one_it_came_from(tmp_path: Path, dicom_series: Build) -> None:
    source = series(dicom_series, tmp_path / "s", SHUFFLED)
    derive(source, tmp_path / "out")
    place = {h.SOPInstanceUID: list(h.ImagePositionPatient) for h in headers(source)}
    made = headers(tmp_path / "out")
    assert [h.ImagePositionPatient[2] for h in made] == sorted(SHUFFLED)
    for header in made:
        origin = header.SourceImageSequence[0].ReferencedSOPInstanceUID
        assert place[origin] == list(header.ImagePositionPatient)
        assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID != origin
    assert len({h.SeriesInstanceUID for h in made}) == 1
    assert {h.InstanceNumber for h in made} == {1, 2, 3, 4, 5}


def test_frame_of_reference_study_patient_and_window_stay(tmp_path: Path, dicom_series: Build) -> None:
    source = series(dicom_series, tmp_path / "s", [0, 3], **OBLIQUE)
    derive(source, tmp_path / "out")
    before, after = headers(source)[0], headers(tmp_path / "out")[0]
    for name in (
        *("FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "PatientName", "ImageOrientationPatient"),
        *("PixelSpacing", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "SOPClassUID"),
    ):
        assert after[name].value == before[name].value
    assert after.SeriesInstanceUID != before.SeriesInstanceUID


def test_reruns_agree_and_another_result_is_another_series(tmp_path: Path, dicom_series: Build) -> None:
    source = series(dicom_series, tmp_path / "s", [0, 3, 6])
    result, image = derive(source, tmp_path / "a")
    derive(source, tmp_path / "b")
    newer = Maker(MAKER.name, "0.2.1", MAKER.verb)
    derive(source, tmp_path / "c", newer)
    write_derived(result + 1, tmp_path / "d", series=series_of(source), affine=image.affine, maker=MAKER)
    uids = [[(h.SeriesInstanceUID, h.SOPInstanceUID) for h in headers(tmp_path / n)] for n in "abcd"]
    assert uids[0] == uids[1]
    assert len({series for rows in uids for series, _ in rows}) == 3
    assert len({instance for rows in uids for _, instance in rows}) == 9


def test_one_slice_is_one_file(tmp_path: Path, dicom_series: Build) -> None:
    source = next(series(dicom_series, tmp_path / "s", [5.0]).iterdir())
    result, image = derive(source, tmp_path / "a_denoised.dcm")
    back = io.read_image(tmp_path / "a_denoised.dcm")
    assert np.array_equal(back.array, result)
    np.testing.assert_allclose(back.affine, image.affine)
    write_derived(
        result[..., None], tmp_path / "b.dcm", series=series_of(source), affine=image.affine, maker=MAKER
    )
    assert np.array_equal(io.read_image(tmp_path / "b.dcm").array, result)


def test_a_series_in_a_zip_is_found_again(tmp_path: Path, dicom_series: Build) -> None:
    import shutil

    source = series(dicom_series, tmp_path / "z" / "s", [0, 3, 6])
    archive = Path(shutil.make_archive(str(tmp_path / "s"), "zip", tmp_path / "z"))
    result, _ = derive(archive, tmp_path / "out")
    assert np.array_equal(io.read_image(tmp_path / "out").array, result)
    with unpacked(archive) as folder:
        assert sum(path.is_file() for path in folder.rglob("*")) == len(list(source.iterdir()))


def test_no_damage_of_the_header_is_quoted(tmp_path: Path, dicom_series: Build, capfd, caplog) -> None:
    source = series(dicom_series, tmp_path / "s", [0, 3], StudyDescription="Secret")
    for path in source.iterdir():
        path.write_bytes(path.read_bytes().replace(b"SECRET-4711", b"SECRET-47\n1"))
    derive(source, tmp_path / "out")
    assert "secret" not in (caplog.text + "".join(capfd.readouterr())).lower()


def test_compressed_and_big_endian_sources_become_plain(tmp_path: Path) -> None:
    for name in ("MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"):
        source = Path(get_testdata_file(name))
        result, _ = derive(source, tmp_path / name)
        assert np.array_equal(io.read_image(tmp_path / name).array, result)
        header = pydicom.dcmread(tmp_path / name)
        assert header.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert header.StudyInstanceUID == pydicom.dcmread(source).StudyInstanceUID


def test_a_failed_write_leaves_nothing_and_an_earlier_series_as_it_was(
    tmp_path: Path, dicom_series: Build
) -> None:
    source = series(dicom_series, tmp_path / "s", [0, 3, 6])
    derive(source, tmp_path / "results" / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "results" / "out").iterdir()}
    result, image = result_for(source)
    broken = Series((*series_of(source).headers[:2], pydicom.Dataset()), image.affine)
    with pytest.raises((AttributeError, KeyError, ValueError)):
        write_derived(result, tmp_path / "results" / "out", series=broken, affine=image.affine, maker=MAKER)
    assert os.listdir(tmp_path / "results") == ["out"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "results" / "out").iterdir()} == before


def test_an_earlier_series_is_replaced_as_a_whole(tmp_path: Path, dicom_series: Build) -> None:
    derive(series(dicom_series, tmp_path / "long", [0, 3, 6, 9]), tmp_path / "out")
    derive(series(dicom_series, tmp_path / "short", [0, 3]), tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_result_elsewhere_or_of_another_kind_is_refused(tmp_path: Path, dicom_series: Build) -> None:
    source = series(dicom_series, tmp_path / "s", [0, 3, 6])
    result, image = result_for(source)
    moved = image.affine.copy()
    moved[0, 3] += 1
    known = {"series": series_of(source), "maker": MAKER}
    with pytest.raises(ValueError, match="grid"):
        write_derived(result, tmp_path / "out", affine=moved, **known)
    with pytest.raises(ValueError, match="grid"):
        write_derived(result[..., :2], tmp_path / "out", affine=image.affine, **known)
    with pytest.raises(ValueError, match="one file"):
        write_derived(result, tmp_path / "out.dcm", affine=image.affine, **known)
    with pytest.raises(TypeError, match="whole numbers"):
        write_derived(result.astype(float), tmp_path / "out", affine=image.affine, **known)


def test_a_tilted_gantry_is_refused_as_in_reading(tmp_path: Path, dicom_file: Build) -> None:
    for k in range(4):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 1.0 * k, 5.0 * k]}
        grey = np.zeros((6, 8), np.int16)
        dicom_file(tmp_path / f"{k}.dcm", grey, modality="CT", PixelSpacing=[1, 1], **place)
    with pytest.raises(checks.DicomSeriesError, match="tilted"):
        series_of(tmp_path)


def test_what_is_not_dicom_has_no_series(tmp_path: Path) -> None:
    io.write_image(np.zeros((1, 4, 4), np.int16), tmp_path / "a.nii.gz", affine=np.eye(4))
    assert series_of(tmp_path / "a.nii.gz") is None


def test_a_modality_whose_display_may_be_inverted_cannot_be_derived_from(
    tmp_path: Path, dicom_file: Build
) -> None:
    source = dicom_file(tmp_path / "a.dcm", np.ones((4, 4), np.int16), modality="DX")
    with pytest.raises(DicomOutputError, match="modality DX"):
        series_of(source)


def test_an_enhanced_file_cannot_be_derived_from_slice_by_slice(tmp_path: Path, dicom_file: Build) -> None:
    source = dicom_file(tmp_path / "a.dcm", np.ones((3, 4, 4), np.int16), modality="CT")
    with pytest.raises(DicomOutputError, match="several frames"):
        series_of(source)
