"""Amniotic fluid of a frame, its picture, and which frames form a patient's index."""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from PIL import Image

BUNDLE = Path(__file__).parents[2] / "bundles" / "amniotic_fluid_us_segmentation"
sys.path.insert(0, str(BUNDLE))

from amniotic_fluid.measure import (  # noqa: E402
    COUNT,
    DEEPEST,
    UNCALIBRATED,
    UNSURE,
    Fluid,
    MeasureFluidd,
    doubtful,
    label_map,
)
from amniotic_fluid.pockets import NO_FLUID, TOO_NARROW, Geometry  # noqa: E402
from amniotic_fluid.preview import SaveFluidPreviewd  # noqa: E402
from amniotic_fluid.study import FluidIndexTable, fluid_indices, position, split_name  # noqa: E402
from medbundles.images import frame_axes, upright_affine  # noqa: E402
from medbundles.measure import Calibration  # noqa: E402
from medbundles.reports import case_result, write_report  # noqa: E402
from medbundles.sector import StandardiseSectord  # noqa: E402

GRID = (320, 224)
MM = 0.5
# Which stored pixel shows which place of the upright 320 x 224 frame: linear part and offset, in its pixels.
POSES = {
    "standard": (np.eye(2), (0, 0), (320, 224)),
    "mirrored": (np.diag([-1.0, 1.0]), (319, 0), (320, 224)),
    "upside down": (np.diag([1.0, -1.0]), (0, 223), (320, 224)),
    "turned a quarter": (np.array([[0.0, 1.0], [-1.0, 0.0]]), (0, 223), (224, 320)),
    "anisotropic": (np.diag([0.5, 1.6]), (-0.25, 0.3), (640, 140)),
}
METADATA = {
    "name": "test",
    "version": "0.1.0",
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "amniotic fluid"}}}},
}


def stored(pose: str, tilt: float) -> tuple[MetaTensor, MetaTensor, np.ndarray]:
    """A frame with a turned sector and a round pocket, its probabilities, and the mm axes on the display."""
    linear, offset, shape = POSES[pose]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(2, -1)
    x, y = (linear @ index + np.reshape(offset, (2, 1))).reshape(2, *shape)
    turn = math.radians(tilt)
    radius, angle = np.hypot(x - 160, y + 30), np.arctan2(x - 160, y + 30) - turn
    grey = np.where((np.abs(angle) < math.radians(32)) & (radius > 60) & (radius < 205), 0.5, 0.0)
    pocket = np.hypot(x - 160 - 130 * math.sin(turn), y + 30 - 130 * math.cos(turn)) < 40
    full = np.eye(4)
    full[:2, :2], full[:2, 3] = linear, offset
    affine = torch.as_tensor(upright_affine((MM, MM)) @ full)
    meta = {"calibrated": True, "filename_or_obj": "frame.png"}
    frame = MetaTensor(torch.as_tensor(np.where(pocket, 0.05, grey)[None]).float(), affine=affine)
    frame.meta.update(meta)
    p = np.zeros((4, *shape), np.float32)
    p[1], p[0] = pocket, ~pocket
    probabilities = MetaTensor(torch.as_tensor(p), affine=affine)
    probabilities.meta.update(meta)
    return frame, probabilities, frame_axes(affine.numpy())


def measured(pose: str, tilt: float) -> dict:
    """The measured case of a stored frame that the network saw on its grid."""
    frame, probabilities, _ = stored(pose, tilt)
    case = StandardiseSectord("image", GRID)({"image": frame})
    return MeasureFluidd("pred")({**case, "pred": probabilities})


def values(case: dict) -> dict[str, float | None]:
    """Measured values by name."""
    return {m["name"]: m["value"] for m in case["measurements"]}


@pytest.mark.parametrize("tilt", [0.0, 12.0, -25.0])
@pytest.mark.parametrize("pose", POSES)
def test_caliper_is_vertical_to_the_transducer_in_every_pose(pose: str, tilt: float) -> None:
    case, axes = measured(pose, tilt), stored(pose, tilt)[2]
    line = case["drawing"][0]
    along = axes @ np.subtract(line["to"], line["from"])
    assert math.degrees(math.atan2(along[0], along[1])) == pytest.approx(tilt, abs=1.5)
    assert np.linalg.norm(along) == pytest.approx(80 * MM, abs=2 * MM)
    assert values(case)[DEEPEST] == pytest.approx(80 * MM, abs=2 * MM)


def test_turned_sector_is_told_in_the_warnings_and_a_straight_one_is_not() -> None:
    assert any("turned by 15" in warning for warning in measured("standard", 15.0)["warnings"])
    assert measured("standard", 0.0)["warnings"] == []


def test_shadow_along_one_edge_does_not_turn_the_caliper() -> None:
    frame, probabilities, _ = stored("standard", 0.0)
    x, y = np.meshgrid(*map(np.arange, GRID), indexing="ij")
    frame[0, np.arctan2(x - 160, y + 30) > math.radians(23)] = 0
    case = StandardiseSectord("image", GRID)({"image": frame})
    line = MeasureFluidd("pred")({**case, "pred": probabilities})["drawing"][0]
    assert line["from"][0] == pytest.approx(line["to"][0])


def test_picture_cut_upright_beside_the_sector_does_not_turn_the_caliper() -> None:
    frame, probabilities, _ = stored("standard", 0.0)
    frame[0, 215:] = 0
    case = StandardiseSectord("image", GRID)({"image": frame})
    line = MeasureFluidd("pred")({**case, "pred": probabilities})["drawing"][0]
    assert line["from"][0] == pytest.approx(line["to"][0])


def test_answer_on_the_grid_of_the_network_is_measured_on_the_stored_pixels() -> None:
    frame, _, _ = stored("anisotropic", 0.0)
    pipeline = Compose([StandardiseSectord("image", GRID)])
    case = pipeline({"image": frame})
    seen = case["image"]
    sure = torch.stack(
        [1 - (wet := (seen[0] < 0.2) & (seen[1] > 0)).float(), wet.float(), *torch.zeros(2, *GRID)]
    )
    case["pred"] = MetaTensor(sure, meta=dict(seen.meta), applied_operations=list(seen.applied_operations))
    case = Invertd("pred", transform=pipeline, orig_keys="image", nearest_interp=False)(case)
    case = MeasureFluidd("pred")(case)
    assert tuple(case["pred"].shape) == tuple(frame.shape)
    assert values(case)[DEEPEST] == pytest.approx(80 * MM, abs=4 * MM)


def test_area_of_the_fluid_is_in_square_millimetres() -> None:
    area = next(m for m in measured("anisotropic", 0.0)["measurements"] if m["name"] == "fluid area")
    assert area["unit"] == "mm2"
    assert area["value"] == pytest.approx(math.pi * (40 * MM) ** 2, rel=0.01)


def test_frame_without_calibration_is_measured_in_pixels_and_says_so() -> None:
    frame, probabilities, _ = stored("standard", 0.0)
    frame.meta["calibrated"] = False
    case = MeasureFluidd("pred")({"image": frame, "pred": probabilities})
    depth = case["measurements"][0]
    assert (depth["unit"], depth["reason"]) == ("px", UNCALIBRATED)
    assert depth["value"] == pytest.approx(80, abs=1)


@pytest.mark.parametrize(("width", "reason"), [(0, NO_FLUID), (8, TOO_NARROW)])
def test_frame_without_a_pocket_has_none_and_says_why(width: int, reason: str) -> None:
    labels = np.zeros((200, 160), np.uint8)
    labels[50 : 50 + width, 20:120] = 1
    found = Fluid(labels, Geometry(calibration=Calibration((0.5, 0.5))))
    by_name = {m["name"]: m for m in found.measurements()}
    assert by_name[COUNT]["value"] == 0
    assert by_name[DEEPEST]["value"] is None and by_name[DEEPEST]["reason"] == reason
    assert found.warnings() == [reason] and found.drawing() == []


def test_pocket_that_runs_out_of_the_frame_is_warned_about() -> None:
    labels = np.zeros((200, 160), np.uint8)
    labels[50:100, 60:160] = 1
    assert any("runs out" in note for note in Fluid(labels, Geometry()).warnings())


def test_fluid_passing_into_reverberation_is_fluid_although_neither_is_likeliest() -> None:
    p = np.zeros((4, 40, 40), np.float32)
    p[:, :] = np.reshape([0.36, 0.34, 0.0, 0.30], (4, 1, 1))
    assert (label_map(p) == 1).all()


def test_nothing_is_seen_where_a_frame_was_painted_over() -> None:
    p = np.zeros((4, 40, 30), np.float32)
    p[1, :20], p[2, 20:] = 1, 1
    hidden = np.zeros((40, 30), bool)
    hidden[10:30, 5:15] = True
    labels = label_map(p, hidden)
    assert not labels[hidden].any() and np.array_equal(labels[~hidden], label_map(p)[~hidden])


def test_specks_of_fluid_are_noise() -> None:
    p = np.zeros((4, 100, 100), np.float32)
    p[0], p[0, 50:53, 50:53], p[1, 50:53, 50:53] = 1, 0, 1
    assert not label_map(p).any()


def uncertain(first: float, second: float) -> Fluid:
    """What is measured where two pockets of 10 and 30 mm are fluid with these probabilities."""
    p = np.zeros((4, 200, 160), np.float32)
    p[0] = 1
    for top, bottom, value in ((20, 40, first), (60, 120, second)):
        p[:, 20:120, top:bottom] = np.reshape([1 - value, 0.9 * value, 0, 0.1 * value], (4, 1, 1))
    labels = label_map(p)
    return Fluid(labels, Geometry(calibration=Calibration((0.5, 0.5))), doubtful=doubtful(labels, p))


@pytest.mark.parametrize(
    ("first", "second", "warned"), [(0.95, 0.9, False), (0.95, 0.6, True), (0.6, 0.9, False)]
)
def test_an_uncertain_pocket_is_measured_and_warned_about_if_it_is_the_deepest(
    first: float, second: float, warned: bool
) -> None:
    found = uncertain(first, second)
    assert found.deepest.depth == pytest.approx(30, abs=0.6)
    assert (UNSURE in found.warnings()) == warned


@pytest.mark.parametrize("pose", POSES)
def test_preview_shows_the_caliper_upright(tmp_path: Path, pose: str) -> None:
    case = measured(pose, 0.0)
    case["image"] = stored(pose, 0.0)[0]
    case = SaveFluidPreviewd("pred", tmp_path, metadata=METADATA)(case)
    picture = np.asarray(Image.open(case["outputs"]["preview"]).convert("RGB")).astype(int)
    green = picture[..., 1] - np.maximum(picture[..., 0], picture[..., 2]) > 40
    rows = np.flatnonzero(green[:, np.argmax(green.sum(axis=0))])
    wanted = 80 / 320 * 820  # the picture is as wide as its long side may be
    assert np.ptp(rows) == pytest.approx(wanted, abs=12)  # the marks at its ends reach 5 further


def reported(name: str, depth: float | None, unit: str = "mm", status: str = "ok") -> dict:
    """A case of a report with a deepest pocket."""
    reason = None if depth is not None else NO_FLUID
    entries = [{"name": DEEPEST, "value": depth, "unit": unit, "reason": reason}] if status == "ok" else []
    case = {"input": name, "measurements": entries}
    error = None if status == "ok" else "truncated file"
    return case_result(case, status=status, run={}, error=error)


def named(*names: str, depth: float = 40.0) -> list[dict]:
    """Cases of equal depth."""
    return [reported(f"/data/{name}", depth) for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ("q1.png", "q2.png", "q3.png", "q4.png"),
        ("ann_Q1.nii.gz", "ann_Q2.nii.gz", "ann_Q3.nii.gz", "ann_q4.nii.gz"),
        ("RUQ ann.dcm", "LUQ ann.dcm", "RLQ ann.dcm", "LLQ ann.dcm"),
        ("ann-quadrant1.png", "ann-quadrant2.png", "ann-quadrant3.png", "ann-quadrant4.png"),
        ("a.png", "b.png", "c.png", "d.png"),
    ],
)
def test_four_quadrants_give_the_index_as_their_sum(names: tuple[str, ...]) -> None:
    (patient,) = fluid_indices(named(*names))
    assert (patient["index"], patient["value"], patient["reason"]) == ("AFI", 160.0, None)


def test_patients_in_one_folder_are_told_by_the_rest_of_their_names() -> None:
    cases = named(*(f"{who}_q{q}.png" for who in ("ann", "eve") for q in (1, 2, 3, 4)))
    assert {p["patient"]: p["index"] for p in fluid_indices(cases)} == {"ann": "AFI", "eve": "AFI"}


def test_missing_quadrant_gives_the_single_deepest_pocket_and_says_which_is_missing() -> None:
    cases = [reported("/data/ann_q1.png", 30.0), *named("ann_q2.png", "ann_q4.png", depth=50.0)]
    (patient,) = fluid_indices(cases)
    assert (patient["index"], patient["value"]) == ("SDP", 50.0)
    assert "q3 missing" in patient["reason"]


def test_frame_that_could_not_be_read_leaves_the_single_deepest_pocket() -> None:
    cases = [*named("q1.png", "q2.png", "q3.png"), reported("/data/q4.png", None, status="failed")]
    (patient,) = fluid_indices(cases)
    assert (patient["index"], patient["value"]) == ("SDP", 40.0)
    assert "q4.png could not be read" in patient["reason"]


def test_same_quadrant_twice_is_no_index() -> None:
    (patient,) = fluid_indices(named("q1.png", "q1.dcm", "q2.png", "q3.png"))
    assert patient["index"] == "SDP"
    assert "q1 is there more than once" in patient["reason"] and "q4 missing" in patient["reason"]


def test_quadrant_without_a_pocket_counts_as_nothing_and_is_named() -> None:
    (patient,) = fluid_indices([*named("q1.png", "q2.png", "q3.png"), reported("/data/q4.png", None)])
    assert (patient["index"], patient["value"]) == ("AFI", 120.0)
    assert patient["warnings"] == [f"q4.png: {NO_FLUID}; it counts as 0 mm"]


def test_no_pocket_in_one_frame_is_no_depth_of_zero() -> None:
    (patient,) = fluid_indices([reported("/data/scan.png", None)])
    assert (patient["index"], patient["value"]) == ("SDP", None)
    assert "no pocket" in patient["reason"]


def test_frame_without_calibration_means_no_index() -> None:
    (patient,) = fluid_indices([*named("q1.png", "q2.png", "q3.png"), reported("/data/q4.png", 300.0, "px")])
    assert patient["value"] is None and "q4.png not calibrated" in patient["reason"]


def test_many_frames_without_quadrants_stand_alone() -> None:
    found = fluid_indices(named(*(f"scan{n}.png" for n in range(6))))
    assert [p["index"] for p in found] == ["SDP"] * 6


def test_frames_of_two_folders_are_never_added() -> None:
    cases = [reported(f"/data/{folder}/{n}.png", 20.0) for folder in ("a", "b") for n in (1, 2)]
    assert [(p["patient"], p["index"]) for p in fluid_indices(cases)] == [("a", "SDP"), ("b", "SDP")]


@pytest.mark.parametrize("name", ["liq1uid", "seq1a", "bloqruqs", "q5", "q12", "frame"])
def test_name_that_only_looks_like_a_quadrant_is_none(name: str) -> None:
    assert split_name(name) == ("", name)


@pytest.mark.parametrize(
    ("index", "value", "words"),
    [
        ("AFI", 49.9, "oligo"),
        ("AFI", 50.0, "between"),
        ("AFI", 240.0, "poly"),
        ("SDP", 19.0, "oligo"),
        ("SDP", 79.0, "between"),
        ("SDP", 80.0, "poly"),
    ],
)
def test_cut_offs_are_named_and_their_limits_are_those_of_the_sources(
    index: str, value: float, words: str
) -> None:
    assert words in position(index, value)


def test_files_of_a_run_hold_every_patient_and_the_sources(tmp_path: Path) -> None:
    write_report(tmp_path, named("ann_q1.png", "ann_q2.png", "ann_q3.png", "ann_q4.png", "scan.png"))
    engine = Engine(lambda engine, batch: None)
    FluidIndexTable(tmp_path).attach(engine)
    engine.run([0])
    content = json.loads((tmp_path / "afi.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader((tmp_path / "afi.csv").open(encoding="utf-8")))
    assert [p["index"] for p in content["patients"]] == ["AFI", "SDP"]
    assert "Moore" in content["cut_offs"]["oligohydramnios"]["source"]
    assert (rows[0]["patient"], rows[0]["value"], rows[0]["depths"]) == (
        "ann",
        "160.0",
        "40.0; 40.0; 40.0; 40.0",
    )
