"""The Decathlon's brain tumours as a tiny copy, with the two meanings that its labels are given."""

import json
from pathlib import Path

import numpy as np
import pytest

from medbundles import io
from medbundles.checks import DatasetError
from medbundles.datasets import msd
from medbundles.datasets.discovery import find_datasets, load_all
from medbundles.studies import read_study

TABLE = {
    "name": "BRATS",
    "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
    "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
    "test": ["./imagesTs/BRATS_485.nii.gz"],
}


def write(root: Path, *, enhancing: int, names: tuple[str, ...] = ("BRATS_457", "BRATS_306")) -> Path:
    """Cases whose label `enhancing` is bright after the agent; the last has no such label."""
    rng = np.random.default_rng(0)
    entries = []
    for name in names:
        labels = np.zeros((16, 16, 12), np.uint8)
        labels[2:5], labels[6:9], labels[11:14] = 1, 2, 3
        t1 = rng.normal(300, 20, labels.shape)
        t1gd = rng.normal(300, 20, labels.shape) + 200 * (labels == enhancing)
        channels = np.stack([rng.normal(200, 20, labels.shape), t1, t1gd, rng.normal(400, 20, labels.shape)])
        paths = {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        io.write_image(channels.astype(np.float32), root / paths["image"], affine=np.eye(4))
        io.write_image(labels[None], root / paths["label"], affine=np.eye(4))
        entries.append(paths)
    (root / "imagesTr" / "._BRATS_457.nii.gz").write_bytes(b"mac")
    (root / "dataset.json").write_text(json.dumps({**TABLE, "training": entries}))
    return root


@pytest.mark.parametrize(("enhancing", "convention"), [(3, "msd"), (2, "msd_swapped")])
def test_the_images_decide_which_label_enhances(tmp_path: Path, enhancing: int, convention: str) -> None:
    cases, report = msd.load(write(tmp_path, enhancing=enhancing))
    assert {case["convention"] for case in cases} == {convention}
    assert f"label {enhancing} taken as enhancing tumour, by 2 of 2 cases read" in report.notes


def test_cases_come_from_the_table_and_missing_files_are_counted(tmp_path: Path) -> None:
    cases, report = msd.load(write(tmp_path, enhancing=3), probe=0)
    assert [case["subject"] for case in cases] == ["MSD-BRATS_457", "MSD-BRATS_306"]
    assert cases[0]["order"] == ["flair", "t1", "t1gd", "t2"]
    assert cases[0]["truth"]["mask"] == str(tmp_path / "labelsTr" / "BRATS_457.nii.gz")
    assert report.rejected == {"the image or label file is missing": 1}
    assert cases[0]["convention"] == "msd"


def test_a_test_image_is_a_case_without_truth(tmp_path: Path) -> None:
    root = write(tmp_path, enhancing=3)
    (root / "imagesTs").mkdir()
    (root / "imagesTr" / "BRATS_306.nii.gz").rename(root / "imagesTs" / "BRATS_485.nii.gz")
    cases, report = msd.load(root)
    assert [bool(case["truth"]) for case in cases] == [True, False]
    assert report.notes["without a segmentation"] == 1


def test_its_4d_files_are_read_in_our_order(tmp_path: Path) -> None:
    case = msd.load(write(tmp_path, enhancing=3), probe=0)[0][0]
    stored = io.read_image(case["image"]).array
    np.testing.assert_array_equal(read_study(case["image"]).image.array, stored[[1, 2, 3, 0]])


def test_discovery_knows_it_by_the_channels_of_its_table(tmp_path: Path) -> None:
    write(tmp_path / "Task01_BrainTumour", enhancing=2)
    (tmp_path / "Task09").mkdir()
    (tmp_path / "Task09" / "dataset.json").write_text('{"modality": {"0": "CT"}}')
    assert find_datasets(tmp_path) == [("msd", tmp_path / "Task01_BrainTumour")]
    assert len(load_all(tmp_path, kinds=["msd"])[0]) == 2
    with pytest.raises(DatasetError, match="FLAIR"):
        msd.load(tmp_path / "Task09")
