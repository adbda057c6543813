"""Frames and their truth: simulated patients, outlines of real frames, and what they are compared by."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

BUNDLE = Path(__file__).parents[2] / "bundles" / "amniotic_fluid_us_segmentation"
sys.path.insert(0, str(BUNDLE))

from amniotic_fluid.cases import (  # noqa: E402
    OTHER,
    OUTLINED,
    SIMULATED,
    DrawTruthd,
    draw_polygons,
    find_cases,
    part_of,
    read_outlines,
    training_cases,
)
from amniotic_fluid.losses import NOT_FLUID, UNDIVIDED_FLUID, UNKNOWN  # noqa: E402
from amniotic_fluid.measure import DEEPEST  # noqa: E402
from amniotic_fluid.pockets import Geometry, deepest_pocket  # noqa: E402
from amniotic_fluid.scores import CompareFluidd, Fluidd, IndexScores, overlaps  # noqa: E402
from amniotic_fluid.simulator import write_cases  # noqa: E402
from medbundles.checks import DatasetError  # noqa: E402
from medbundles.ellipse import Ellipse  # noqa: E402
from medbundles.errors import InputError  # noqa: E402
from medbundles.evaluation import MEASURED, TRUE  # noqa: E402
from medbundles.io import read_image  # noqa: E402
from medbundles.measure import Calibration  # noqa: E402

SQUARE = [[2, 1], [7, 1], [7, 4], [2, 4]]  # x 2 to 7, y 1 to 4
HEAD = Ellipse((70.2, 60.7), (45.0, 33.0), 0.5)


def real(root: Path) -> Path:
    """A tiny copy of HC18 with one head, whose contour is `HEAD`."""
    folder = root / "hc18" / "training_set"
    folder.mkdir(parents=True)
    contour = np.zeros((150, 130), np.uint8)
    place = HEAD.points(2000).round().astype(int)
    contour[place[:, 0], place[:, 1]] = 255
    Image.fromarray(contour.T).save(folder / "010_HC_Annotation.png")
    Image.new("L", (150, 130), 60).save(folder / "010_HC.png")
    truth = HEAD.scaled(0.5).circumference()
    table = f"filename,pixel size(mm),head circumference (mm)\n010_HC.png,0.5,{truth:.2f}\n"
    (root / "hc18" / "training_set_pixel_size_and_HC.csv").write_text(table)
    return root


def outlines(path: Path, *names: str) -> str:
    """A file of outlines with the same square in each frame."""
    path.write_text(json.dumps({"frames": {name: {"fluid": [SQUARE]} for name in names}}))
    return str(path)


def test_a_patient_has_four_quadrants_and_the_depths_that_her_labels_show(fluid_examinations: Path) -> None:
    entries = json.loads((fluid_examinations / "cases.json").read_text())["cases"]
    assert [entry["name"] for entry in entries[:5]] == [
        *(f"simulated_1_0000_q{quadrant}" for quadrant in (1, 2, 3, 4)),
        "simulated_1_0001_q1",
    ]
    assert {entry["patient"] for entry in entries[:4]} == {"simulated_1_0000"}
    compared = 0
    for entry in entries:
        labels = read_image(fluid_examinations / entry["label"]).array[0]
        calibration = Calibration(tuple(entry["spacing_mm"]))
        pocket, _ = deepest_pocket(labels, Geometry((0.0, 1.0), calibration))
        assert (pocket.depth if pocket else 0.0) == pytest.approx(entry["depth_mm"], abs=1.5)
        compared += entry["depth_mm"] > 0
    assert compared > 4


def test_fewer_frames_are_the_first_of_more(fluid_examinations: Path, tmp_path: Path) -> None:
    (entry, *rest) = write_cases(tmp_path, 2, 1)
    assert len(rest) == 1
    for key in ("image", "label"):
        own, other = (read_image(folder / entry[key]).array for folder in (tmp_path, fluid_examinations))
        assert np.array_equal(own, other)


def test_the_other_renderer_shows_other_patients_for_testing_only(tmp_path: Path) -> None:
    (entry,) = write_cases(tmp_path, 1, 1, renderer="other")
    (case,) = find_cases(str(tmp_path), "test")
    assert case["kind"] == OTHER and part_of(case) == "test"
    assert case["expected"].get(DEEPEST, 0.0) == entry["depth_mm"] == case["depth_mm"]
    with pytest.raises(DatasetError):
        find_cases(str(tmp_path), "train")


def test_an_unknown_renderer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trained, other"):
        write_cases(tmp_path, 4, 0, renderer="best")


def test_biometry_frames_are_patients_of_one_frame_that_train_beside_quadrants(tmp_path: Path) -> None:
    entries = write_cases(tmp_path, 2, 0, views="biometry")
    assert [entry["patient"] for entry in entries] == [entry["name"] for entry in entries]
    cases = find_cases(str(tmp_path), "all")
    assert {case["kind"] for case in cases} == {SIMULATED} and len(cases) == 2
    labels = [read_image(tmp_path / entry["label"]).array for entry in entries]
    assert all(np.any(array == 2) for array in labels)


def test_patients_with_scarce_fluid_have_hardly_a_pocket(tmp_path: Path) -> None:
    entries = write_cases(tmp_path, 8, 0, views="scarce")
    depths = [entry["depth_mm"] for entry in entries]
    assert {entry["patient"] for entry in entries} == {"simulated_scarce_0_0000", "simulated_scarce_0_0001"}
    assert 0.0 in depths and max(depths) < 45
    labels = [read_image(tmp_path / entry["label"]).array for entry in entries]
    assert all(np.mean(array == 2) > 0.05 for array in labels)


@pytest.mark.parametrize("views", ["biometry", "scarce"])
def test_views_for_training_are_refused_by_the_other_renderer(views: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"quadrants, scarce, biometry"):
        write_cases(tmp_path, 4, 0, renderer="other", views=views)


def test_patients_never_cross_the_splits(fluid_examinations: Path) -> None:
    parts = {
        part: {case["subject"] for case in find_cases(str(fluid_examinations), part)}
        for part in ("train", "validation", "test")
    }
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 4
    assert all(len(find_cases(str(fluid_examinations), part)) == 4 * len(who) for part, who in parts.items())


def test_simulated_training_frames_are_made_once_and_not_doubled(
    fluid_examinations: Path, tmp_path: Path
) -> None:
    own = find_cases(str(fluid_examinations), "train")
    more = training_cases(str(fluid_examinations), str(tmp_path), 4, seed=2)
    written = (tmp_path / "cases.json").stat().st_mtime_ns
    again = training_cases(str(fluid_examinations), str(tmp_path), 4, seed=2)
    assert (tmp_path / "cases.json").stat().st_mtime_ns == written
    assert [case["name"] for case in more] == [case["name"] for case in again]
    made = {case["name"] for case in more} - {case["name"] for case in own}
    assert all(name.startswith("simulated_2_0000") for name in made)
    assert len({case["name"] for case in more}) == len(more)


def test_polygons_are_drawn_in_columns_and_rows_and_doubt_lies_on_top() -> None:
    inner, doubtful = [[3, 2], [4, 2], [4, 3], [3, 3]], [[6, 1], [9, 1], [9, 2], [6, 2]]
    labels = draw_polygons({"fluid": [SQUARE], "not_fluid": [inner], "unsure": [doubtful]}, (12, 6))
    assert labels.shape == (12, 6)
    assert labels[2, 4] == labels[5, 2] == UNDIVIDED_FLUID
    assert labels[3, 2] == labels[0, 0] == labels[1, 3] == NOT_FLUID
    assert labels[6, 1] == labels[9, 2] == UNKNOWN


def test_an_outlined_frame_brings_its_size_and_its_fetus(tmp_path: Path) -> None:
    (case,) = find_cases(
        str(real(tmp_path)), "test", outlines=outlines(tmp_path / "reader.json", "010_HC.png")
    )
    assert case["kind"] == OUTLINED and case["depth_mm"] is None and case["source"] == "HC18"
    assert case["fetus"].centre == pytest.approx(HEAD.centre, abs=0.3)
    case["image"] = MetaTensor(torch.zeros(1, 150, 130))
    label = DrawTruthd("label")(case)["label"]
    assert label.shape == (1, 150, 130) and label[0, 5, 3] == UNDIVIDED_FLUID


def test_outlines_of_frames_that_are_not_there_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = outlines(tmp_path / "reader.json", "010_HC.png", "999_HC.png")
    assert len(find_cases(str(real(tmp_path)), "test", outlines=path)) == 1
    assert "999_HC.png" in caplog.text


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"frames": {"a.png": 3}}'])
def test_a_file_that_is_not_one_of_outlines_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "reader.json").write_text(content)
    with pytest.raises(DatasetError, match=r"reader\.json"):
        read_outlines(tmp_path / "reader.json")


def test_fluid_under_reverberation_and_undivided_fluid_are_fluid() -> None:
    label = torch.tensor([[[0, 1, 2, 3, UNDIVIDED_FLUID, NOT_FLUID, UNKNOWN]]])
    found = Fluidd(["label"])({"label": label})["label"]
    assert found.tolist() == [[[False, True, False, True, True, False, False]]]


def test_clear_and_hazy_fluid_together_outweigh_the_rest() -> None:
    p = torch.tensor([0.4, 0.3, 0.0001, 0.2999]).log()[:, None, None]
    assert Fluidd(["pred"])({"pred": p})["pred"].item()
    sides = torch.stack([p, torch.tensor([0.98, 0.01, 0.005, 0.005]).log()[:, None, None]])
    assert not Fluidd(["pred"])({"pred": sides})["pred"].item()


def test_what_nobody_knows_counts_neither_way() -> None:
    truth = np.full((10, 10), NOT_FLUID)
    truth[:4], truth[4:6] = UNDIVIDED_FLUID, UNKNOWN
    answer = np.zeros((10, 10), int)
    answer[:6] = 1
    assert overlaps(answer, truth) == {"Dice fluid": 1.0}
    answer[6] = 3
    assert overlaps(answer, truth)["Dice fluid"] == pytest.approx(2 * 40 / (50 + 40))


def compared(answer: np.ndarray, truth: np.ndarray, **case: object) -> dict:
    """A frame after comparing, with what was measured given as keywords."""
    return CompareFluidd("pred")(
        {
            "pred": torch.from_numpy(answer[None]),
            "label": torch.from_numpy(truth[None]),
            "kind": "simulated",
            "fetus": None,
            "depth_mm": 0.0,
            "measurements": [],
            **case,
        }
    )


def test_a_hazy_frame_counts_in_a_group_of_its_own_as_well() -> None:
    truth = np.ones((8, 8), int)
    truth[0] = 3
    rows = compared(truth, truth, depth_mm=20.0)["scores"]
    assert [row.get("group") for row in rows] == [None, "simulated, with reverberation"]
    truth[0, 1:] = 1
    truth[0, 0] = 3
    assert len(compared(truth, truth, depth_mm=20.0)["scores"]) == 1


def test_a_frame_without_a_pocket_is_right_only_if_that_was_said() -> None:
    empty = np.zeros((8, 8), int)
    for count, right in ((0.0, 1.0), (1.0, 0.0)):
        (row,) = compared(empty, empty, measurements=[{"name": "pockets", "value": count}])["scores"]
        assert row == {"no pocket seen where there is none": right}


def test_fluid_inside_the_head_is_found_out() -> None:
    answer = np.zeros((150, 130), int)
    unknown = np.full((150, 130), NOT_FLUID)
    (clear,) = compared(answer, unknown, fetus=HEAD, depth_mm=None)["scores"]
    assert clear == {"share of the fetus called fluid": 0.0, "fetus kept clear": 1.0}
    answer[65:75, 55:65] = 1
    (marked,) = compared(answer, unknown, fetus=HEAD, depth_mm=None)["scores"]
    area = np.pi * 45 * 33
    assert marked["share of the fetus called fluid"] == pytest.approx(100 / area, rel=0.02)
    assert marked["fetus kept clear"] == 0.0


def frame(patient: str, measured: float | None, true: float) -> dict:
    """A compared frame of a patient."""
    found = [{"name": DEEPEST, "value": measured}]
    return {"scores": [{}], "group": "g", "subject": patient, "depth_mm": true, "measurements": found}


def test_the_index_is_the_sum_of_four_quadrants_and_fewer_give_none() -> None:
    table = SimpleNamespace(rows=[])
    scores = IndexScores(table)
    whole = [frame("a", 30.0, 32.0), frame("a", None, 0.0), frame("a", 50.5, 50.0), frame("a", 20.0, 18.0)]
    for batch in ([whole[0]], [frame("b", 10.0, 10.0)], whole[1:3], whole[3:]):
        scores.collect(SimpleNamespace(state=SimpleNamespace(batch=batch)))
    scores.add(SimpleNamespace())
    assert table.rows == [{"group": "g, patients", "case": "a", "AFI" + MEASURED: 100.5, "AFI" + TRUE: 100.0}]
