"""Studies in a pipeline: the image and what it says of itself, bad studies beside good ones, labels."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd, LoadImaged

from medbundles import io
from medbundles.case_data import CaseDataset, CaseLoader, input_name
from medbundles.contrasts import CONTRASTS
from medbundles.engines import CaseEvaluator
from medbundles.errors import ChannelError, InputError, MissingContrastError, SizeError
from medbundles.multicontrast import (
    LabelsToRegionsd,
    LoadContrastsd,
    MergeRegionsd,
    OurLabelsd,
    WithholdContrastsd,
    find_studies,
)
from medbundles.transforms import SaveImageWholed, SavePreviewd

sys.path.insert(0, str(Path(__file__).parent))
from brain_phantom import SHAPE, brain, write, write_study

torch.set_num_threads(1)
METADATA = {
    "name": "brain_segmentation",
    "version": "0.1.0",
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "brain"}}}},
    "medbundles": {"input": {"spatial_dims": 3, "channels": 4, "modality": ["MR"], "size_px": [16, 512]}},
}


def test_a_study_becomes_a_tensor_that_says_what_is_missing(tmp_path: Path) -> None:
    case = LoadContrastsd("image", METADATA)({"image": str(write_study(tmp_path, "t1", "t2"))})
    assert case["image"].shape == (4, *SHAPE)
    assert case["image"].dtype == torch.float32
    assert (case["present"], case["missing"]) == (["t1", "t2"], ["t1gd", "flair"])
    meta = case["image"].meta
    assert meta["missing"] == case["missing"]
    assert meta["filename_or_obj"] == str(tmp_path / "case-t1n.nii.gz") == case["contrast_files"]["t1"]
    assert meta["calibrated"] and list(meta["spacing"]) == [4, 4, 4]
    assert "warnings" not in case
    assert isinstance(LoadContrastsd("image"), LoadImaged)


def test_what_is_odd_becomes_a_warning_of_the_case(tmp_path: Path) -> None:
    case = LoadContrastsd("image")({"image": write_study(tmp_path, head=True), "warnings": ["earlier"]})
    assert case["warnings"][0] == "earlier"
    assert "whole head" in case["warnings"][1]


def test_each_contrast_is_checked_against_the_metadata(tmp_path: Path) -> None:
    small = {**METADATA, "medbundles": {"input": {"size_px": [64, 512], "channels": 4}}}
    with pytest.raises(SizeError, match=r"case-t1n\.nii\.gz"):
        LoadContrastsd("image", small)({"image": write_study(tmp_path)})


def test_the_knobs_reach_the_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "x.nii.gz", np.stack([brain(name) for name in CONTRASTS]))
    case = LoadContrastsd("image", order=CONTRASTS)({"image": path})
    np.testing.assert_array_equal(case["image"][3], brain("flair"))
    write_study(tmp_path / "s", "t1")
    write(tmp_path / "s" / "case-t2w.nii.gz", brain("t2"), np.diag([-4, -4, 4.2, 1]))
    with pytest.raises(InputError, match="grid"):
        LoadContrastsd("image")({"image": tmp_path / "s"})
    assert LoadContrastsd("image", resample="to first")({"image": tmp_path / "s"})["missing"] == [
        "t1gd",
        "flair",
    ]


def test_an_array_of_a_client_has_four_channels_and_empty_ones_are_missing() -> None:
    array = np.stack([brain(name) for name in CONTRASTS]).astype(np.float32)
    array[1] = 0
    case = LoadContrastsd("image")(
        {"image": MetaTensor(array, affine=torch.diag(torch.tensor([-4.0, -4, 4, 1])))}
    )
    assert case["missing"] == ["t1gd"]
    with pytest.raises(ChannelError, match="3 channels"):
        LoadContrastsd("image")({"image": array[:3]})
    array[2:] = 0
    with pytest.raises(MissingContrastError, match="only T1"):
        LoadContrastsd("image")({"image": array})


def test_a_withheld_contrast_is_like_one_never_acquired(tmp_path: Path) -> None:
    case = LoadContrastsd("image")({"image": write_study(tmp_path / "all")})
    withheld = WithholdContrastsd("image", ["t2"])(case)
    never = LoadContrastsd("image")({"image": write_study(tmp_path / "some", "t1", "t1gd", "flair")})
    assert torch.equal(withheld["image"].as_tensor(), never["image"].as_tensor())
    assert withheld["missing"] == never["missing"] == withheld["image"].meta["missing"]
    assert case["missing"] == [] and case["image"][2].any()
    with pytest.raises(MissingContrastError, match="only FLAIR"):
        WithholdContrastsd("image", ["t1", "t1gd"])(withheld)
    with pytest.raises(ValueError, match="pd"):
        WithholdContrastsd("image", ["pd"])


def test_labels_of_any_convention_become_regions_and_ours_again() -> None:
    labels = torch.tensor([0, 1, 2, 4]).reshape(1, 4, 1, 1)
    case = OurLabelsd("label")({"label": MetaTensor(labels), "convention": "brats2018"})
    assert case["label"].flatten().tolist() == [0, 1, 2, 3]
    assert OurLabelsd("label", "brats2024")({"label": labels})["label"].flatten().tolist() == [0, 1, 2, 0]
    regions = LabelsToRegionsd("label")(case)["label"]
    assert regions.flatten(1).tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]]
    merged = MergeRegionsd("pred")({"pred": regions * 0.8})["pred"]
    assert merged.shape == (1, 4, 1, 1)
    assert torch.equal(merged, case["label"])
    assert MergeRegionsd("pred", 0.9)({"pred": regions * 0.8})["pred"].sum() == 0


class Bright(torch.nn.Module):
    """Two logits: some contrast is there, or none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.sum(1, keepdim=True) > 0).float()


def run(folder: Path, out: Path) -> dict[str, dict]:
    before = Compose(
        [LoadContrastsd("image", METADATA), CropForegroundd("image", "image", allow_smaller=False)]
    )
    after = Compose(
        [
            Invertd("pred", before, "image", nearest_interp=True),
            SaveImageWholed("pred", out, metadata=METADATA),
            SavePreviewd("pred", out, metadata=METADATA),
        ]
    )
    loader = CaseLoader(CaseDataset(find_studies(folder), before))
    CaseEvaluator("cpu", loader, Bright(), output_dir=out, metadata=METADATA, postprocessing=after).run()
    return {c["input"]: c for c in json.loads((out / "report.json").read_text())["cases"]}


def test_a_bad_study_is_recorded_and_the_others_are_done(tmp_path: Path) -> None:
    write_study(tmp_path / "in" / "good")
    write_study(tmp_path / "in" / "alone", "t1")
    copied = write_study(tmp_path / "in" / "copied", "t1", "t2")
    write(copied / "case-t1c.nii.gz", brain("t1"))
    cases = run(tmp_path / "in", tmp_path / "out")
    assert {Path(name).name: case["status"] for name, case in cases.items()} == {
        "alone": "failed",
        "copied": "failed",
        "good": "ok",
    }
    assert "same image" in cases[str(copied)]["error"]
    assert all(len(case["error"].splitlines()) <= 6 for case in cases.values() if case["error"])
    result = io.read_image(tmp_path / "out" / "good_seg.nii.gz")
    np.testing.assert_array_equal(result.array[0], brain("t1") > 0)
    assert (tmp_path / "out" / "good_preview.png").exists()


def test_a_study_is_done_again_when_one_of_its_files_changes(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "in" / "good", "t1", "t2")
    assert run(tmp_path / "in", tmp_path / "out")[str(folder)]["status"] == "ok"
    assert run(tmp_path / "in", tmp_path / "out")[str(folder)]["status"] == "skipped"
    later = (tmp_path / "out" / "good_seg.nii.gz").stat().st_mtime + 5
    os.utime(folder / "case-t2w.nii.gz", (later, later))
    assert run(tmp_path / "in", tmp_path / "out")[str(folder)]["status"] == "ok"


def test_a_case_of_loose_files_has_one_name(tmp_path: Path) -> None:
    image = {"t1": str(tmp_path / "p7_t1.nii.gz"), "t2": str(tmp_path / "p7_t2.nii.gz")}
    assert input_name({"image": image}) == str(tmp_path / "p7")
    assert CaseDataset([{"image": image}]).names == ["p7"]
