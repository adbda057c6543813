"""CT data sets in the layouts in which they are published, and folders of no layout."""

import logging
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from medbundles.datasets import ldct
from medbundles.datasets.split import split_by_group
from medbundles.errors import DatasetError, MissingInputError
from medbundles.io import read_image

Build = Callable[..., list[Path]]
STUDY = "12-23-2021-NA-NA-83416"


def tcia(root: Path, ct: Build, patient: str, *, low: int = 3, full: int = 3) -> Path:
    """One patient of LDCT-and-Projection-data as the downloader writes it."""
    folder = root / "LDCT-and-Projection-data" / patient / STUDY
    for dose, number, slices in (("Low", "71581", low), ("Full", "46930", full)):
        uid = f"1.3.{int(patient[1:])}.{number}"
        ct(
            folder / f"1.000000-{dose} Dose Images-{number}",
            [3.0 * k for k in range(slices)],
            PatientID=patient,
            SeriesInstanceUID=uid,
            SeriesDescription=f"{dose} Dose Images",
        )
    ct(
        folder / "1.000000-Full dose projections-24362",
        [0] * 4,
        PatientID=patient,
        SeriesDescription="Full dose projections",
    )
    return folder


def mayo(root: Path, ct: Build, patient: str, *, quality: str = "1mm B30", doses: str = "FQ") -> None:
    """One patient of the AAPM-Mayo training data in the folders of the download."""
    thickness, sharp = quality[0], quality.endswith("D45")
    for letter, word in (("F", "full"), ("Q", "quarter")):
        if letter not in doses:
            continue
        ending = f"{thickness}mm{'_sharp' if sharp else ''}"
        middle = f"{thickness}_{'SHARP_' if sharp else ''}1"
        files = [
            f"{patient}_{letter}D_{middle}.CT.0001.{k:04d}.2015.12.22.18.09.40.84.35.IMA" for k in range(3)
        ]
        folder = root / quality / f"{letter}D_{ending}" / patient / f"{word}_{ending}"
        ct(
            folder,
            [0, 1, 2],
            files,
            PatientID=patient,
            SeriesInstanceUID=f"1.4.{zlib.crc32(str(folder).encode())}",
        )


@pytest.mark.parametrize("start", ["", "LDCT-and-Projection-data", "LDCT-and-Projection-data/C002"])
def test_the_tcia_layout_gives_low_dose_with_its_routine_dose_partner(
    tmp_path: Path, ct: Build, start: str
) -> None:
    folder = tcia(tmp_path, ct, "C002")
    cases, report = ldct.load(tmp_path / start)
    (case,) = cases
    assert case["image"] == str(folder / "1.000000-Low Dose Images-71581")
    assert case["truth"] == {
        "image": str(folder / "1.000000-Full Dose Images-46930"),
        "series": "1.3.2.46930",
    }
    assert (case["subject"], case["kind"], case["dose"]) == ("Mayo-C002", "chest", 0.10)
    assert (case["source"], case["spacing_mm"]) == ("LDCT-and-Projection-data", (0.5, 0.75))
    assert (report.rows, report.kept) == (3, 1)
    assert report.rejected == {"projection data, not images": 1}


def test_the_dose_follows_from_the_region(tmp_path: Path, ct: Build) -> None:
    for patient in ("C002", "L004", "N005"):
        tcia(tmp_path, ct, patient)
    found = {case["subject"]: (case["kind"], case["dose"]) for case in ldct.cases(tmp_path)}
    expected = {"Mayo-C002": ("chest", 0.1), "Mayo-L004": ("abdomen", 0.25), "Mayo-N005": ("head", 0.25)}
    assert found == expected


def test_folders_named_by_uid_are_told_apart_by_their_headers(tmp_path: Path, ct: Build) -> None:
    folder = tcia(tmp_path, ct, "L077")
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"1.3.6.1.4.1.{number}")
    (case,) = ldct.cases(tmp_path)
    assert read_image(case["image"]).source.name == "1.3.6.1.4.1.2"
    assert case["truth"]["series"] == "1.3.77.46930"


def test_anonymised_headers_leave_the_names_of_the_folders(tmp_path: Path, ct: Build) -> None:
    for dose in ("Low", "Full"):
        place = tmp_path / "C030" / STUDY / f"1.000000-{dose} Dose Images-1"
        ct(place, [0, 3], PatientID="", SeriesDescription="")
    (case,) = ldct.cases(tmp_path)
    assert (case["subject"], case["dose"], bool(case["truth"])) == ("Mayo-C030", 0.10, True)


@pytest.mark.parametrize("start", ["", "Training_Image_Data", "Training_Image_Data/1mm B30"])
def test_the_mayo_layout_gives_quarter_dose_with_its_full_dose_partner(
    tmp_path: Path, ct: Build, start: str
) -> None:
    root = tmp_path / "Training_Image_Data"
    mayo(root, ct, "L067")
    (case,) = ldct.cases(tmp_path / start)
    assert case["image"] == str(root / "1mm B30" / "QD_1mm" / "L067" / "quarter_1mm")
    assert case["truth"]["image"] == str(root / "1mm B30" / "FD_1mm" / "L067" / "full_1mm")
    assert (case["subject"], case["kind"], case["dose"]) == ("Mayo-L067", "abdomen", 0.25)
    assert case["source"] == "AAPM-Mayo"


def test_thickness_and_kernel_are_not_mixed_in_pairs(tmp_path: Path, ct: Build) -> None:
    for quality in ("1mm B30", "3mm B30", "1mm D45", "3mm D45"):
        mayo(tmp_path, ct, "L096", quality=quality)
    cases = ldct.cases(tmp_path)
    assert len(cases) == len({case["name"] for case in cases}) == 4
    for case in cases:
        quality = Path(case["image"]).relative_to(tmp_path).parts[0]
        assert Path(case["truth"]["image"]).relative_to(tmp_path).parts[0] == quality


def test_the_flat_copy_of_the_mayo_layout_is_read_too(tmp_path: Path, ct: Build) -> None:
    for word in ("full", "quarter"):
        ct(tmp_path / "L109" / f"{word}_3mm", [0, 3], ["000001.IMA", "000002.IMA"], PatientID="")
    (case,) = ldct.cases(tmp_path)
    assert (case["subject"], case["dose"]) == ("Mayo-L109", 0.25)
    assert case["truth"]["image"].endswith("full_3mm")


def test_a_patient_of_both_collections_is_one_subject(tmp_path: Path, ct: Build) -> None:
    tcia(tmp_path / "tcia", ct, "L067")
    mayo(tmp_path / "aapm", ct, "L067")
    cases = ldct.cases(tmp_path)
    assert len(cases) == 2
    assert sorted(map(len, split_by_group(cases).values())) == [0, 0, 2]


def test_a_dose_without_a_partner_is_a_case_of_its_own(tmp_path: Path, ct: Build) -> None:
    mayo(tmp_path, ct, "L143", doses="Q")
    mayo(tmp_path, ct, "L192", doses="F")
    cases, report = ldct.load(tmp_path)
    assert [(case["subject"], case["dose"], case["truth"]) for case in cases] == [
        ("Mayo-L192", 1.0, {}),
        ("Mayo-L143", 0.25, {}),
    ]
    assert report.notes == {"low-dose scans with no partner": 1}


def test_a_partner_with_other_slices_is_no_truth(tmp_path: Path, ct: Build) -> None:
    tcia(tmp_path, ct, "C004", low=3, full=4)
    cases, report = ldct.load(tmp_path)
    assert sorted((case["dose"], case["truth"] == {}) for case in cases) == [(0.1, True), (1.0, True)]
    assert report.notes == {"low-dose scans whose routine-dose partner has another number of slices": 1}


def test_loose_slices_of_many_patients_are_one_case_each(tmp_path: Path, ct: Build) -> None:
    for k in range(3):
        ct(tmp_path, [0, 3], [f"{k}a.dcm", f"{k}b.dcm"], PatientID=f"TCGA-{k}", SeriesInstanceUID=f"1.{k}")
    cases, report = ldct.load(tmp_path)
    assert [Path(case["image"]).name for case in cases] == [f"{k}{s}.dcm" for k in range(3) for s in "ab"]
    assert [case["subject"] for case in cases] == [f"TCGA-{k}" for k in range(3) for _ in "ab"]
    assert {(case["kind"], case["dose"], case["series"]) for case in cases} == {("ct", 1.0, None)}
    assert (report.rows, report.kept) == (6, 6)
    assert read_image(cases[0]["image"]).array.shape == (1, 5, 4)


def test_a_folder_of_one_patient_gives_a_case_per_series(tmp_path: Path, ct: Build) -> None:
    ct(tmp_path / "p", [0, 3, 6], SeriesInstanceUID="1.5.1")
    ct(tmp_path / "p", [0, 5], ["x.dcm", "y.dcm"], SeriesInstanceUID="1.5.2", SliceThickness=5)
    cases = ldct.cases(tmp_path)
    assert [case["series"] for case in cases] == ["1.5.1", "1.5.2"]
    assert [case["name"] for case in cases] == ["p", "p_series2"]
    sizes = [read_image(case["image"], series=case["series"]).shape[-1] for case in cases]
    assert sizes == [3, 2]


def test_a_series_with_a_gap_or_a_stray_file_is_taken_slice_by_slice(tmp_path: Path, ct: Build) -> None:
    ct(tmp_path / "gap", [0, 3, 9], PatientID="gap")
    ct(tmp_path / "stray", [0, 3], PatientID="stray")
    ct(tmp_path / "stray", [0], ["scout.dcm"], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    cases, report = ldct.load(tmp_path)
    assert [case["subject"] for case in cases] == ["gap"] * 3 + ["stray"] * 2
    assert all(read_image(case["image"]).ndim == 2 for case in cases)
    assert report.notes == {"slices of a series that makes no even stack, taken one by one": 5}
    assert report.rejected == {"a localizer": 1}


def test_copies_are_read_once(tmp_path: Path, ct: Build) -> None:
    import shutil

    ct(tmp_path / "a", [0, 3], SeriesInstanceUID="1.6")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    ct(tmp_path / "c", [0], SOPInstanceUID="1.7.1", SeriesInstanceUID="1.7")
    shutil.copy(tmp_path / "c" / "1-001.dcm", tmp_path / "c" / "again.dcm")
    cases, report = ldct.load(tmp_path)
    assert len(cases) == 2
    assert report.rejected == {"a copy of what was read already": 2}


def test_bad_files_are_counted_and_logged(
    tmp_path: Path, ct: Build, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ct(tmp_path, [0], PatientID="A")
    ct(tmp_path, [0], ["mr.dcm"], PatientID="B", Modality="MR")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM\1")
    assert len(ldct.cases(tmp_path)) == 1
    assert "3 rows read, 1 kept, 2 rejected" in caplog.text
    assert "rejected 1: not CT" in caplog.text


def test_a_patient_without_an_identifier_is_one_by_study(tmp_path: Path, ct: Build) -> None:
    for k in range(2):
        ct(tmp_path / f"{k}", [0, 3], PatientID="", StudyInstanceUID=f"1.8.{k}", SeriesInstanceUID=f"1.9.{k}")
    assert [case["subject"] for case in ldct.cases(tmp_path)] == ["1.8.0", "1.8.1"]


def test_a_folder_without_ct_says_what_was_there(tmp_path: Path, ct: Build) -> None:
    ct(tmp_path, [0], Modality="MR")
    with pytest.raises(DatasetError, match="1 x not CT"):
        ldct.load(tmp_path)
    with pytest.raises(MissingInputError, match="nowhere"):
        ldct.load(tmp_path / "nowhere")
