"""Which files are cases, how their results are called, and images inside zip archives."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medbundles import io
from medbundles.images import upright_affine


def names(cases: list[dict[str, str]]) -> list[str]:
    return [Path(case["image"]).name for case in cases]


def touch(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        (folder / name).write_bytes(b"x")
    return folder


def test_a_folder_gives_its_images_sorted_and_passes_over_tables_and_hidden_files(tmp_path: Path) -> None:
    beside = ("truth.csv", "cases.json", "notes.txt", ".hidden.png", "Thumbs.db", "README", "x.raw")
    folder = touch(tmp_path / "çà b", "b.png", "a.NII.GZ", "c.mhd", *beside)
    touch(folder / "below", "d.png")
    assert names(io.find_cases(folder, spatial_dims=2)) == ["a.NII.GZ", "b.png", "c.mhd"]


def test_an_unknown_file_in_a_folder_is_a_case_so_that_it_is_reported(tmp_path: Path) -> None:
    assert names(io.find_cases(touch(tmp_path, "a.png", "b.mp4"), spatial_dims=2)) == ["a.png", "b.mp4"]


def test_one_file_is_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    assert names(io.find_cases(tmp_path / "b.png", spatial_dims=2)) == ["b.png"]


def test_a_folder_of_slices_is_one_case_in_3d_and_many_in_2d(
    tmp_path: Path, dicom_series: Callable[..., Path]
) -> None:
    dicom_series(tmp_path / "scan", [0, 1, 2])
    for path in list((tmp_path / "scan").iterdir()):
        path.rename(path.with_suffix(""))
    assert names(io.find_cases(tmp_path / "scan", spatial_dims=3)) == ["scan"]
    assert names(io.find_cases(tmp_path, spatial_dims=3)) == ["scan"]
    assert len(io.find_cases(tmp_path / "scan", spatial_dims=2)) == 3


def test_single_slices_of_many_series_are_cases_of_their_own_where_a_slice_will_do(
    tmp_path: Path, dicom_series: Callable[..., Path]
) -> None:
    for index in range(3):
        dicom_series(tmp_path / "slices", [0.0], uid=f"1.2.{index}")
    dicom_series(tmp_path / "slices", [5.0, 9.0], uid="1.2.9")
    assert len(io.find_cases(tmp_path / "slices", spatial_dims=[2, 3])) == 5
    assert names(io.find_cases(tmp_path / "slices", spatial_dims=3)) == ["slices"]


def test_a_series_beside_its_localizer_is_no_collection_of_slices(
    tmp_path: Path, dicom_series: Callable[..., Path]
) -> None:
    dicom_series(tmp_path / "scan", [0, 1, 2, 3], uid="1.2.3")
    dicom_series(tmp_path / "scan", [0], uid="1.2.4")
    assert names(io.find_cases(tmp_path / "scan", spatial_dims=[2, 3])) == ["scan"]


def make_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def test_images_in_a_zip_are_cases_with_names_that_can_be_read(tmp_path: Path, frame: np.ndarray) -> None:
    io.write_image(frame, tmp_path / "a.nii.gz", affine=upright_affine((0.5, 0.25)))
    content = (tmp_path / "a.nii.gz").read_bytes()
    path = make_zip(
        tmp_path / "two.zip", **{"in__a.nii.gz": content, "in__b.nii.gz": content, "in__t.csv": b"1"}
    )
    cases = io.find_cases(path, spatial_dims=2)
    assert [case["image"] for case in cases] == [f"{path}/in/a.nii.gz", f"{path}/in/b.nii.gz"]
    image = io.read_image(cases[1]["image"])
    assert np.array_equal(image.array, frame)
    assert image.source == path / "in" / "b.nii.gz"
    assert io.case_name(cases[1]["image"]) == "b"


def test_what_a_killed_run_left_hidden_is_no_case(tmp_path: Path, dicom_series: Callable[..., Path]) -> None:
    dicom_series(tmp_path / "scan", [0, 2])
    dicom_series(tmp_path / ".0f.tmp", [0, 2])
    assert [Path(c["image"]).name for c in io.find_cases(tmp_path, spatial_dims=3)] == ["scan"]


def test_segmentations_of_3d_slicer_are_no_cases_unless_named(tmp_path: Path) -> None:
    for name in ("a.nrrd", "a_seg.seg.nrrd", "Segmentation.SEG.nrrd"):
        (tmp_path / name).write_bytes(b"x")
    assert names(io.find_cases(tmp_path, spatial_dims=3)) == ["a.nrrd"]
    assert names(io.find_cases(tmp_path / "a_seg.seg.nrrd", spatial_dims=3)) == ["a_seg.seg.nrrd"]


def test_a_zip_with_one_image_can_be_read_by_its_own_name(tmp_path: Path, frame: np.ndarray) -> None:
    io.write_image(frame, tmp_path / "a.mha", affine=upright_affine((0.5, 0.25)))
    path = make_zip(tmp_path / "one.zip", **{"deep__er__a.mha": (tmp_path / "a.mha").read_bytes()})
    assert np.array_equal(io.read_image(path).array, frame)


def test_a_zipped_dicom_series_is_one_volume(tmp_path: Path, dicom_series: Callable[..., Path]) -> None:
    folder = dicom_series(tmp_path / "scan", [0, 2, 4])
    members = {f"s__{p.name}": p.read_bytes() for p in folder.iterdir()}
    path = make_zip(tmp_path / "scan.zip", **members)
    (case,) = io.find_cases(path, spatial_dims=3)
    image = io.read_image(case["image"])
    assert image.array.shape == (1, 8, 6, 3)
    assert image.spacing == (0.25, 0.5, 2.0)
    assert io.result_extension(case["image"]) == ".nii.gz"


def test_a_detached_header_in_a_zip_finds_its_pixels(tmp_path: Path, frame: np.ndarray) -> None:
    header = b"NDims = 2\nDimSize = 70 90\nElementType = MET_UCHAR\nElementSpacing = 0.5 0.25\n"
    pixels = np.ascontiguousarray(frame[0].T).tobytes()
    path = make_zip(tmp_path / "a.zip", **{"a.mhd": header + b"ElementDataFile = a.raw\n", "a.raw": pixels})
    (case,) = io.find_cases(path, spatial_dims=2)
    image = io.read_image(case["image"])
    assert np.array_equal(image.array, frame)
    assert image.spacing == (0.5, 0.25)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/a.nii.gz", "a"),
        ("x/a.b.PNG", "a.b"),
        ("Lékař 1.mha", "Lékař 1"),
        ("1.2.840.113", "1.2.840.113"),
        ("x/scan/", "scan"),
        ("a:b?.png", "a_b_"),
        (".png", "png"),
    ],
)
def test_case_names(path: str, name: str) -> None:
    assert io.case_name(path) == name


@pytest.mark.parametrize(
    ("source", "extension"),
    [
        ("a.JPG", ".png"),
        ("a.tif", ".png"),
        ("a.nii", ".nii.gz"),
        ("a.nhdr", ".nrrd"),
        ("a.mhd", ".mha"),
        ("d", ".nii.gz"),
    ],
)
def test_results_have_the_extension_of_their_input(source: str, extension: str) -> None:
    assert io.result_extension(source) == extension
