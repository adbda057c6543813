"""Studies of several contrasts: what is read, what is missing, and what is refused."""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medbundles.contrasts import CONTRASTS
from medbundles.errors import (
    ChannelError,
    DicomSeriesError,
    DimensionError,
    GridError,
    InputError,
    MissingContrastError,
    NotFiniteError,
)
from medbundles.images import upright_affine
from medbundles.studies import StudyOptions, read_study, study_name
from medbundles.study_checks import order_doubts

sys.path.insert(0, str(Path(__file__).parent))
from brain_phantom import FILES, SHAPE, SPACING, brain, write, write_study

AFFINE = upright_affine(SPACING)


def stack() -> np.ndarray:
    return np.stack([brain(name) for name in CONTRASTS]).astype(np.float32)


def four_d(path: Path, *order: str) -> Path:
    return write(path, np.stack([brain(name) for name in order]))


def test_a_folder_of_named_files_gives_four_channels_in_one_order(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "case"))
    np.testing.assert_array_equal(study.image.array, stack())
    np.testing.assert_allclose(study.image.affine, AFFINE)
    assert (study.present, study.missing, study.warnings) == (CONTRASTS, (), ())
    assert Path(study.files["t1gd"]).name == "case-t1c.nii.gz"


def test_a_dictionary_with_the_users_own_keys_does_too(tmp_path: Path) -> None:
    write_study(tmp_path)
    item = {
        key: tmp_path / f"case-{FILES[n]}.nii.gz"
        for n, key in zip(CONTRASTS, ("T1w", "t1ce", "T2", "t2f"), strict=True)
    }
    np.testing.assert_array_equal(read_study(item).image.array, stack())
    with pytest.raises(InputError, match="pd"):
        read_study({"pd": tmp_path / "case-t1n.nii.gz"})


def test_missing_contrasts_are_listed_and_zero(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path, "t1gd", "flair"))
    assert (study.present, study.missing) == (("t1gd", "flair"), ("t1", "t2"))
    assert not study.image.array[0].any() and not study.image.array[2].any()
    np.testing.assert_array_equal(study.image.array[3], brain("flair"))


def test_one_contrast_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(MissingContrastError, match="only T1 "):
        read_study(write_study(tmp_path, "t1"))


def test_a_segmentation_or_synthetic_file_beside_is_not_read(tmp_path: Path) -> None:
    write_study(tmp_path, "t1", "t2")
    write(tmp_path / "case-t1c_synthetic.nii.gz", brain("t1gd"))
    write(tmp_path / "case-t2f-seg.nii.gz", brain("flair"))
    assert read_study(tmp_path).missing == ("t1gd", "flair")


def test_files_that_name_no_contrast_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "left.nii.gz", brain("t1"))
    write(tmp_path / "right.nii.gz", brain("t2"))
    with pytest.raises(MissingContrastError, match=r"left\.nii\.gz"):
        read_study(tmp_path)


def test_two_files_of_one_contrast_are_refused(tmp_path: Path) -> None:
    write_study(tmp_path, "t1", "t2")
    write(tmp_path / "case-T1w.nii.gz", brain("t1", seed=9))
    with pytest.raises(InputError, match="2 images of the contrast T1"):
        read_study(tmp_path)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_one_image_under_two_names_is_refused(tmp_path: Path, scale: float) -> None:
    write_study(tmp_path, "t1", "t2")
    write(tmp_path / "case-t1c.nii.gz", (brain("t1") * scale).astype(np.float32))
    with pytest.raises(InputError, match="T1 and T1Gd are the same image"):
        read_study(tmp_path)


def test_a_contrast_on_another_grid_is_refused_with_both_sizes(tmp_path: Path) -> None:
    write_study(tmp_path, "t1", "t2")
    write(tmp_path / "case-t2f.nii.gz", brain("flair")[:, :, ::2], np.diag([-4, -4, 8, 1.0]))
    with pytest.raises(GridError, match="44 x 52 x 20 voxels, not 44 x 52 x 40") as error:
        read_study(tmp_path)
    assert "to first" in str(error.value)


def test_a_shifted_grid_is_refused_and_a_rounded_header_is_not(tmp_path: Path) -> None:
    write_study(tmp_path, "t1")
    moved = AFFINE.copy()
    moved[0, 3] += 0.2
    write(tmp_path / "case-t2w.nii.gz", brain("t2"), moved)
    assert read_study(tmp_path).present == ("t1", "t2")
    moved[0, 3] += 2
    write(tmp_path / "case-t2w.nii.gz", brain("t2"), moved)
    with pytest.raises(GridError, match="corners"):
        read_study(tmp_path)


def test_a_contrast_stored_with_other_axes_is_put_right_without_loss(tmp_path: Path) -> None:
    write_study(tmp_path, "t1")
    turned = np.moveaxis(brain("t2"), 2, 0)[::-1]
    affine = AFFINE[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (SHAPE[2] - 1)
    affine[:3, 0] *= -1
    write(tmp_path / "case-t2w.nii.gz", np.ascontiguousarray(turned), affine)
    np.testing.assert_array_equal(read_study(tmp_path).image.array[2], brain("t2"))


def test_resampling_to_the_first_contrast_is_a_choice_that_is_told(tmp_path: Path) -> None:
    write_study(tmp_path, "t1")
    coarse = np.diag([-4, -4, 8, 1.0])
    coarse[2, 3] = 2.0  # the middle of each pair of slices
    pairs = brain("t2").reshape(*SHAPE[:2], -1, 2).mean(-1).astype(np.float32)
    write(tmp_path / "case-t2w.nii.gz", pairs, coarse)
    study = read_study(tmp_path, options=StudyOptions(resample="to first"))
    assert study.image.shape == SHAPE
    middle, found = (slice(8, -8),) * 3, study.image.array[2]
    alike = [
        float(np.corrcoef(np.roll(found, step, axis=2)[middle].ravel(), brain("t2")[middle].ravel())[0, 1])
        for step in (-1, 0, 1)
    ]
    assert alike[1] > 0.85 and alike[1] == max(alike)
    assert any("T2 was resampled to the grid of T1" in warning for warning in study.warnings)
    other = read_study(tmp_path, options=StudyOptions(resample="t2"))
    assert other.image.shape == (*SHAPE[:2], SHAPE[2] // 2)
    with pytest.raises(MissingContrastError, match="FLAIR is not there"):
        read_study(tmp_path, options=StudyOptions(resample="flair"))


def test_another_part_of_the_body_is_not_resampled(tmp_path: Path) -> None:
    write_study(tmp_path, "t1")
    far = AFFINE.copy()
    far[2, 3] += 150
    write(tmp_path / "case-t2w.nii.gz", brain("t2"), far)
    with pytest.raises(GridError, match="covers only"):
        read_study(tmp_path, options=StudyOptions(resample="to first"))


def test_nan_is_refused_with_the_name_of_its_file(tmp_path: Path) -> None:
    write_study(tmp_path)
    bad = brain("t2").astype(np.float32)
    bad[20, 20, 20] = np.nan
    write(tmp_path / "case-t2w.nii.gz", bad)
    with pytest.raises(NotFiniteError, match=r"case-t2w\.nii\.gz"):
        read_study(tmp_path)


def test_a_4d_file_has_the_order_of_the_decathlon_or_of_its_table_or_the_users(tmp_path: Path) -> None:
    path = four_d(tmp_path / "a" / "imagesTr" / "x.nii.gz", "flair", "t1", "t1gd", "t2")
    np.testing.assert_array_equal(read_study(path).image.array, stack())
    path = four_d(tmp_path / "b" / "imagesTr" / "x.nii.gz", *CONTRASTS)
    np.testing.assert_array_equal(
        read_study(path, options=StudyOptions(order=CONTRASTS)).image.array, stack()
    )
    table = '{"modality": {"0": "T1w", "1": "t1gd", "2": "T2w", "3": "FLAIR"}}'
    (tmp_path / "b" / "dataset.json").write_text(table)
    np.testing.assert_array_equal(read_study(path).image.array, stack())
    with pytest.raises(InputError, match="each of"):
        read_study(path, options=StudyOptions(order=("t1", "t1", "t2", "flair")))


def test_a_4d_file_of_three_channels_or_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="3 channels"):
        read_study(four_d(tmp_path / "x.nii.gz", "flair", "t1", "t2"))
    with pytest.raises(MissingContrastError, match="one single image"):
        read_study(write(tmp_path / "t1.nii.gz", brain("t1")))
    four_d(tmp_path / "in" / "t1.nii.gz", "flair", "t1", "t1gd", "t2")
    with pytest.raises(DimensionError, match="4 channels"):
        read_study({"t1": tmp_path / "in" / "t1.nii.gz", "t2": tmp_path / "t1.nii.gz"})


def test_an_empty_channel_of_a_4d_file_is_a_missing_contrast(tmp_path: Path) -> None:
    array = stack()[[3, 0, 1, 2]]
    array[2] = 0
    assert read_study(write(tmp_path / "x.nii.gz", array)).missing == ("t1gd",)


def test_a_study_in_a_zip_is_read(tmp_path: Path) -> None:
    write_study(tmp_path / "case")
    with zipfile.ZipFile(tmp_path / "case.zip", "w") as archive:
        for path in (tmp_path / "case").iterdir():
            archive.write(path, f"inside/case/{path.name}")
    np.testing.assert_array_equal(read_study(tmp_path / "case.zip").image.array, stack())


def test_a_whole_head_is_warned_of_and_a_brain_is_not(tmp_path: Path) -> None:
    whole = read_study(write_study(tmp_path / "head", head=True))
    assert any("whole head" in warning for warning in whole.warnings)
    assert read_study(write_study(tmp_path / "brain")).warnings == ()


def test_brains_apart_are_warned_of(tmp_path: Path) -> None:
    write_study(tmp_path, "t1")
    write(tmp_path / "case-t2w.nii.gz", np.roll(brain("t2"), 16, axis=0))
    assert any("registered" in warning for warning in read_study(tmp_path).warnings)


@pytest.mark.parametrize(("first", "second"), [("t2", "flair"), ("t2", "t1"), ("t1", "t1gd"), ("t2", "t1gd")])
def test_swapped_contrasts_raise_doubts(first: str, second: str) -> None:
    volumes = {name: brain(name).astype(np.float32) for name in CONTRASTS}
    assert order_doubts(volumes) == []
    volumes[first], volumes[second] = volumes[second], volumes[first]
    assert order_doubts(volumes)


def test_the_name_of_loose_files_is_what_they_share(tmp_path: Path) -> None:
    files = {"t1": tmp_path / "case 7_t1.nii.gz", "t2": str(tmp_path / "case 7_t2.nii.gz")}
    assert study_name(files) == str(tmp_path / "case 7")
    assert study_name({"t1": tmp_path / "t1.nii", "t2": tmp_path / "t2.nii"}) == str(tmp_path)
    assert study_name(tmp_path) == str(tmp_path)


DESCRIPTIONS = {"t1": "AX T1", "t1gd": "AX T1 POST", "t2": "AX T2", "flair": "AX T2 FLAIR"}


@pytest.fixture
def dicom_study(tmp_path: Path, dicom_file: Callable[..., Path]) -> Callable[..., Path]:
    """Writes contrasts as DICOM series of a study, each in a folder of its own or all in one."""

    def build(
        names: tuple[str, ...] = CONTRASTS, *, flat: bool = False, slices: int = 8, frame: str = ""
    ) -> Path:
        for number, name in enumerate(names, start=1):
            folder = tmp_path / "study" / ("all" if flat else f"series {number}")
            folder.mkdir(parents=True, exist_ok=True)
            volume = brain(name)[..., 12 : 12 + slices]
            for index in range(slices):
                place = {
                    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                    "ImagePositionPatient": [0, 0, 4.0 * index],
                    "PixelSpacing": [4, 4],
                    "SeriesDescription": DESCRIPTIONS[name],
                    "SeriesInstanceUID": f"1.2.3.{number}",
                    "StudyInstanceUID": "1.2.3",
                    "SeriesNumber": number,
                    "FrameOfReferenceUID": f"1.9.{number}" if frame == "own" else "1.9",
                }
                pixels = np.ascontiguousarray(volume[..., index].T)
                dicom_file(folder / f"{number}-{index:03d}.dcm", pixels, modality="MR", **place)
        return tmp_path / "study"

    return build


@pytest.mark.parametrize("flat", [False, True])
def test_a_dicom_study_is_read_by_its_series(dicom_study: Callable[..., Path], flat: bool) -> None:
    study = read_study(dicom_study(flat=flat))
    assert study.present == CONTRASTS
    np.testing.assert_array_equal(study.image.array, stack()[..., 12:20])
    np.testing.assert_allclose(np.abs(study.image.spacing), 4)


def test_two_series_of_one_contrast_are_refused_until_one_is_chosen(dicom_study: Callable[..., Path]) -> None:
    folder = dicom_study(("t1", "t2", "t1"))
    with pytest.raises(DicomSeriesError, match="2 series of the contrast T1") as error:
        read_study(folder)
    assert "Secret" not in str(error.value)
    study = read_study(folder, options=StudyOptions(series={"T1": 3}))
    assert study.present == ("t1", "t2")
    with pytest.raises(DicomSeriesError, match="no single series 9"):
        read_study(folder, options=StudyOptions(series={"t1": 9}))


def test_localizers_of_a_dicom_study_are_passed_over(dicom_study: Callable[..., Path]) -> None:
    folder = dicom_study(("t1", "t2"))
    dicom_study(("t1", "t2", "t1gd"), slices=3)
    assert (folder / "series 3").exists()
    assert read_study(folder).missing == ("t1gd", "flair")


def test_series_of_different_origins_are_not_resampled_to_each_other(
    dicom_study: Callable[..., Path],
) -> None:
    with pytest.raises(GridError, match="different origins"):
        read_study(dicom_study(("t1", "t2"), frame="own"), options=StudyOptions(resample="to first"))
