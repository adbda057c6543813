"""Scans that are unlike the usual one show the same patient, or none; and what is reported of the answers."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from dental_scans import DentalScan, scans  # noqa: E402
from dental_situations import LABELS, REFUSED, answer, full_size, page, shipped_network  # noqa: E402

SAME_PATIENT = ("stored from right to left", "stored as RAS", "stored slice first", "0.5 mm voxels")


@pytest.fixture(scope="module")
def situations() -> dict[str, DentalScan]:
    """Patient 0 in all situations, at voxels of 1.2 mm."""
    return {scan.name: scan for scan in scans(0, 1.2, fine_mm=0.5)}


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """The bundle's network with its own weights."""
    return shipped_network()


def middles(scan: DentalScan) -> dict[int, np.ndarray]:
    """Where each tooth is, in mm, as the header says."""
    return {
        int(code): scan.affine[:3, :3] @ np.argwhere(scan.codes == code).mean(axis=0) + scan.affine[:3, 3]
        for code in np.unique(scan.codes)
        if code and (scan.codes == code).sum() * np.prod(scan.spacing) > 60
    }


@pytest.mark.parametrize("name", SAME_PATIENT)
def test_a_scan_stored_otherwise_has_its_teeth_at_the_same_places(
    situations: dict[str, DentalScan], name: str
) -> None:
    usual, other = middles(situations["as usual"]), middles(situations[name])
    shared = set(usual) & set(other)
    assert len(shared) >= 5
    off = [float(np.linalg.norm(usual[code] - other[code])) for code in shared]
    # The finer one is a little smaller, and cuts the last molars at its faces.
    assert (np.median(off) if name.endswith("voxels") else max(off)) < 0.3


def test_a_mirrored_patient_has_the_teeth_of_the_other_side(situations: dict[str, DentalScan]) -> None:
    usual, other = middles(situations["as usual"]), middles(situations["mirrored"])
    for code, place in usual.items():
        opposite = {1: 2, 2: 1, 3: 4, 4: 3}[code // 10] * 10 + code % 10
        assert np.sign(other[opposite][0]) == -np.sign(place[0]) or abs(place[0]) < 2
        assert other[opposite][1:] == pytest.approx(place[1:], abs=0.01)


def test_headers_say_how_the_axes_run(situations: dict[str, DentalScan]) -> None:
    assert (np.diag(situations["stored as RAS"].affine)[:3] > 0).all()
    assert (np.diag(situations["stored slice first"].affine)[:3] == 0).all()
    assert situations["0.6 mm voxels"].spacing == pytest.approx((0.6, 0.6, 0.6))


def test_parts_of_jaws_have_their_own_teeth(situations: dict[str, DentalScan]) -> None:
    assert {code // 10 for code in middles(situations["the upper jaw"])} == {1, 2}
    assert {code // 10 for code in middles(situations["the lower jaw"])} == {3, 4}
    assert set(middles(situations["one tooth"])) == {36}
    left = middles(situations["the left side"])
    assert sum(code // 10 in (2, 3) for code in left) > 0.7 * len(left)
    assert not situations["no teeth"].codes.any()


@pytest.mark.parametrize("name", ["no teeth", "a trunk", "noise"])
def test_what_shows_no_tooth_is_refused(
    situations: dict[str, DentalScan], network: torch.nn.Module, name: str
) -> None:
    assert answer(situations[name], network)["answer"] == REFUSED


@pytest.mark.parametrize(
    "name",
    [
        "mirrored",
        "stored as RAS",
        "stored slice first",
        "0.5 mm voxels",
        "0.6 mm voxels",
        "the left side",
        "one tooth",
        "a child's size",
        "pitched 20 degrees",
        "rolled 20 degrees",
        "turned 20 degrees",
    ],
)
def test_teeth_have_their_numbers_where_a_scan_is_unlike_the_usual_one(
    situations: dict[str, DentalScan], network: torch.nn.Module, name: str
) -> None:
    found = answer(situations[name], network)
    assert found["answer"] == LABELS and found["F1"] > 0.8


def test_a_scan_of_full_size_has_its_teeth_in_the_middle_of_soft_tissue(tmp_path: Path) -> None:
    full_size(str(tmp_path / "full.nii.gz"), voxels=(130, 120, 110), spacing_mm=0.8, scanned_mm=1.2)
    written = nib.load(tmp_path / "full.nii.gz")
    grey = np.asanyarray(written.dataobj)
    assert grey.shape == (130, 120, 110)
    assert written.header.get_zooms() == pytest.approx((0.8, 0.8, 0.8))
    assert (grey[0] == 40).all() and (grey[:, :, -1] == 40).all()
    assert np.abs(np.argwhere(grey > 1200).mean(axis=0) - (65, 60, 55)).max() < 12


def test_the_page_counts_refusals_and_averages_the_rest() -> None:
    rows = [
        {"situation": "a", "answer": "labels", "F1": 1.0, "Dice": 0.9},
        {"situation": "a", "answer": "labels", "F1": 0.5, "Dice": 0.7},
        {"situation": "b", "answer": "refused"},
        {"situation": "c", "answer": "labels", "F1": 0.5, "Dice": float("nan")},
    ]
    text = page(rows, 0.6)
    assert "voxels of 0.6 mm" in text
    assert "| a | 2 | 0 | 0 | 0.750 (0.354) | 0.800 (0.141) |" in text
    assert "| b | 1 | 1 | 0 | - | - |" in text
    assert "| c | 1 | 0 | 0 | 0.500 | - |" in text
