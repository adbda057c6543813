"""What is a CT slice, and which slices are a volume."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medbundles.datasets.dicom_folders import by_series, dicom_folders, is_volume, read_slice
from medbundles.datasets.records import RejectedRow

Build = Callable[..., list[Path]]


def test_dicom_is_found_at_any_depth_and_under_any_name(tmp_path: Path, ct: Build) -> None:
    ct(tmp_path / "a" / "b", [0, 3], ["1.2.840.113619.2.5", "IM0001"])
    ct(tmp_path / "c", [0], ["x.IMA"])
    ct(tmp_path / ".hidden", [0])
    (tmp_path / "c" / "notes.txt").write_text("DICM")
    (tmp_path / "c" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "d").mkdir()
    found = {folder.name: [path.name for path in files] for folder, files in dicom_folders(tmp_path)}
    assert found == {"b": ["1.2.840.113619.2.5", "IM0001"], "c": ["x.IMA"]}


def test_a_slice_says_who_where_and_how(tmp_path: Path, ct: Build) -> None:
    item = read_slice(ct(tmp_path, [12.0], SeriesDescription=" Thorax ")[0])
    assert (item.patient, item.study, item.description, item.kernel) == ("P1", "1.2", "Thorax", "B30f")
    assert (item.shape, item.spacing_mm, item.thickness_mm) == ((5, 4), (0.5, 0.75), 3.0)
    assert item.position == (0, 0, 12)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "MR"}, "not CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SeriesDescription": "Full dose projections"}, "projection"),
        ({"SeriesDescription": "Chest + denoised (medbundles)"}, "a result of medbundles"),
        ({"NumberOfFrames": 3, "PixelData": bytes(120)}, "several frames"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "geometry is impossible"),
    ],
)
def test_what_is_no_slice_of_a_ct_is_rejected(
    tmp_path: Path, ct: Build, attributes: dict[str, object], reason: str
) -> None:
    (path,) = ct(tmp_path, [0], **attributes)
    with pytest.raises(RejectedRow, match=reason):
        read_slice(path)


def test_damaged_files_are_rejected_without_quoting_them(tmp_path: Path, ct: Build) -> None:
    (path,) = ct(tmp_path, [0])
    whole = path.read_bytes()
    for content in (whole[:150], b"", b"not dicom at all"):
        path.write_bytes(content)
        with pytest.raises(RejectedRow, match=r"damaged|not an image"):
            read_slice(path)


def test_slices_are_grouped_by_series(tmp_path: Path, ct: Build) -> None:
    paths = ct(tmp_path, [0, 3], SeriesInstanceUID="1") + ct(tmp_path, [0], ["z.dcm"], SeriesInstanceUID="2")
    assert [len(group) for group in by_series([read_slice(path) for path in paths])] == [2, 1]


@pytest.mark.parametrize(
    ("depths", "volume"),
    [
        ([6, 0, 3], True),
        ([0, 3], True),
        ([0], False),
        ([0, 3, 9], False),
        ([0, 3, 3], False),
        ([0, 90], False),
    ],
)
def test_a_volume_is_an_even_stack(tmp_path: Path, ct: Build, depths: list[float], volume: bool) -> None:
    assert is_volume([read_slice(path) for path in ct(tmp_path, depths)]) is volume


def test_slices_of_another_size_or_direction_make_no_volume(tmp_path: Path, ct: Build) -> None:
    first = ct(tmp_path, [0, 3])
    for k, other in enumerate(
        ({"PixelSpacing": [0.7, 0.7]}, {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]})
    ):
        paths = [*first, *ct(tmp_path, [6], [f"{k}.dcm"], **other)]
        assert not is_volume([read_slice(path) for path in paths])
