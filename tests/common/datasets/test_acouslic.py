"""ACOUSLIC-AI as a tiny copy: few masks, blank circumferences, the wrong ones of release 1.0."""

import json
from pathlib import Path

import numpy as np
import pytest

from medbundles.checks import DatasetError
from medbundles.datasets import acouslic
from medbundles.io import read_image
from medbundles.measure import Ellipse

ABDOMEN = Ellipse((22.0, 18.0), (14.0, 11.0))
MM = ABDOMEN.scaled(0.28).circumference()
FRAMES = acouslic.SWEEPS * acouslic.FRAMES_PER_SWEEP
# Sweep 1 has optimal and suboptimal frames, sweep 2 only suboptimal ones, the others none.
ANNOTATED = {10: 2, 11: 1, 12: 1, 13: 2, 150: 2, 151: 2, 152: 2}


def write(root: Path, *, factor: float = 1.0, subject: str = "7") -> Path:
    import itk

    root = root / "acouslic-ai-train-set"
    frames = np.zeros((FRAMES, 36, 44), dtype=np.uint8)
    masks = np.zeros_like(frames)
    for index, value in ANNOTATED.items():
        frames[index] = index
        masks[index] = ABDOMEN.mask((44, 36)).T * value
    for folder, array in ((acouslic.IMAGES, frames), (acouslic.MASKS, masks)):
        (root / folder).mkdir(parents=True)
        image = itk.image_from_array(array)
        image.SetSpacing([0.28, 0.28, 0.28])
        itk.imwrite(image, str(root / folder / "aaa.mha"), compression=True)
    (root / acouslic.TABLE).parent.mkdir()
    columns = ",".join(f"sweep_{i}_ac_mm" for i in range(1, 7))
    (root / acouslic.TABLE).write_text(
        f"uuid,subject_id,{columns}\naaa,{subject},{MM * factor:.2f},,,,,\nbbb,8,,,,,,\n"
    )
    return root


def test_annotated_frames_become_cases_optimal_ones_first(tmp_path: Path) -> None:
    cases, _ = acouslic.load(write(tmp_path), per_sweep=2)
    assert [(case["frame"], case["quality"], case["sweep"]) for case in cases] == [
        (11, "optimal", 1),
        (12, "optimal", 1),
        (150, "suboptimal", 2),
        (152, "suboptimal", 2),
    ]
    assert {case["subject"] for case in cases} == {"ACOUSLIC-7"}


def test_frame_and_mask_are_read_on_demand_as_x_y(tmp_path: Path) -> None:
    case = acouslic.load(write(tmp_path))[0][0]
    assert np.unique(acouslic.read_frame(case)).tolist() == [case["frame"]]
    assert np.array_equal(acouslic.read_mask(case), ABDOMEN.mask((44, 36)))


def test_blank_circumference_gives_no_known_measurement(tmp_path: Path) -> None:
    cases, _ = acouslic.load(write(tmp_path))
    by_sweep = {case["sweep"]: case["expected"] for case in cases}
    assert by_sweep[1][0]["value"] == pytest.approx(MM, abs=0.01)
    assert by_sweep[2] == []


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_circumferences_of_release_1_are_corrected_by_two_and_noted(tmp_path: Path, factor: float) -> None:
    cases, report = acouslic.load(write(tmp_path, factor=factor))
    assert cases[0]["expected"][0]["value"] == pytest.approx(MM, abs=0.02)
    assert "release 1.0" in str(report)


def test_a_sweep_without_its_files_is_counted(tmp_path: Path) -> None:
    _, report = acouslic.load(write(tmp_path))
    assert dict(report.rejected) == {"the sweep or its mask is missing": 1}


def test_index_file_spares_reading_the_masks_again(tmp_path: Path) -> None:
    root, index = write(tmp_path), tmp_path / "index.json"
    acouslic.load(root, index_file=index)
    assert json.loads(index.read_text())["aaa"] == {str(k): v for k, v in ANNOTATED.items()}
    index.write_text('{"aaa": {"11": 1}}')
    assert [case["frame"] for case in acouslic.load(root, index_file=index)[0]] == [11]


def test_a_truncated_mask_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    root = write(tmp_path)
    masks = root / acouslic.MASKS / "aaa.mha"
    masks.write_bytes(masks.read_bytes()[:-30])
    cases, report = acouslic.load(root)
    assert cases == []
    assert report.rejected["the sweep or its mask cannot be read"] == 1


def test_frames_are_copied_once_as_calibrated_images_with_masks_of_one_label(tmp_path: Path) -> None:
    cases, _ = acouslic.load_frames(write(tmp_path), per_sweep=2, cache=tmp_path / "cache")
    image, mask = read_image(cases[0]["image"]), read_image(cases[0]["truth"]["mask"])
    assert image.spacing == pytest.approx((0.28, 0.28))
    assert image.calibrated
    assert np.unique(image.array).tolist() == [11]
    assert np.array_equal(mask.array[0], ABDOMEN.mask((44, 36)))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.nii.gz")}
    assert len(written) == 8
    acouslic.load_frames(tmp_path, per_sweep=2, cache=tmp_path / "cache")
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.nii.gz")}


def test_copies_go_to_the_folder_that_the_user_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDBUNDLES_CACHE", str(tmp_path / "mine"))
    cases, _ = acouslic.load_frames(write(tmp_path), per_sweep=1)
    assert Path(cases[0]["image"]).is_relative_to(tmp_path / "mine")


def test_the_folder_that_holds_the_set_will_do(tmp_path: Path) -> None:
    write(tmp_path)
    assert acouslic.load(tmp_path)[0]


def test_folder_without_the_table_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="12697994"):
        acouslic.load(tmp_path)
