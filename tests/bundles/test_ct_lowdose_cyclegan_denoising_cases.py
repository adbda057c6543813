"""The cases of CT denoising, simulated and one's own, in two domains; evaluation and validation on them."""

import contextlib
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"))

from ct_phantom import BUNDLE, phantom, write_dicom

from ct_cyclegan.anatomy import Anatomy, chosen_slices, find_cases, heart_phases, slices_of
from ct_cyclegan.cases import _phases, paired, training_cases
from ct_cyclegan.scans import lesion_stack, routine_dose
from ct_cyclegan.scores import lesion_responses
from ct_cyclegan.simulator import write_cases
from medbundles.checks import DatasetError
from medbundles.image_quality import body_mask
from medbundles.io import read_image
from medbundles.noise import noise_level
from medbundles.simulators import ct
from medbundles.weights import load_weights
from medbundles.zoo.workflows import EVALUATE, run_workflow


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen simulated cases."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    write_cases(folder, 12, 0)
    return folder


def test_a_simulated_case_is_noisy_by_what_it_says_and_unbiased(simulated: Path) -> None:
    entry = json.loads((simulated / "cases.json").read_text())["cases"][0]
    image, truth = (read_image(simulated / entry[key]).array[0] for key in ("image", "label"))
    noise = (image.astype(float) - truth)[body_mask(truth)]
    assert noise.std() == pytest.approx(entry["expected"][0]["value"], rel=0.2)
    assert abs(noise.mean()) < 1.0


def test_a_simulated_case_does_not_depend_on_how_many_there_are(simulated: Path, tmp_path: Path) -> None:
    write_cases(tmp_path, 2, 0)
    for name in ("images/simulated_0_0001.nii.gz", "labels/simulated_0_0001.nii.gz"):
        here, there = (read_image(folder / name).array for folder in (simulated, tmp_path))
        assert np.array_equal(here, there)


def test_patients_are_in_one_split_and_in_one_domain(simulated: Path, tmp_path: Path) -> None:
    splits = {
        name: {case["subject"] for case in find_cases(simulated, name)}
        for name in ("train", "validation", "test")
    }
    assert sum(len(subjects) for subjects in splits.values()) == len(set.union(*splits.values())) == 12
    training_cases(simulated, tmp_path, slices_per_case=1, simulated_patients=0)
    entries = json.loads((tmp_path / "index.json").read_text())["cases"]
    domains = {name: {e["subject"] for e in entries if e["domain"] == name} for name in ("low", "routine")}
    assert domains["low"] and domains["routine"] and not domains["low"] & domains["routine"]
    assert domains["low"] | domains["routine"] == splits["train"]


def test_the_low_domain_is_noisier_than_the_routine_domain(simulated: Path, tmp_path: Path) -> None:
    items = training_cases(simulated, tmp_path, slices_per_case=1, simulated_patients=0)
    levels = {
        key: np.median([noise_level(read_image(entry[key]).array[0]) for entry in items])
        for key in ("image", "routine")
    }
    assert levels["image"] > 1.5 * levels["routine"]


def test_a_higher_routine_dose_makes_simulated_slices_quieter_and_leaves_real_ones_alone() -> None:
    (simulated_slice,) = heart_phases(1, [3], seed=0, domain="routine")
    real_slice = replace(simulated_slice, noise_free=False)

    def noise(anatomy: Anatomy, dose: float) -> float:
        return noise_level(routine_dose(anatomy, dose, np.random.default_rng(0)))

    assert noise(simulated_slice, 4.0) == pytest.approx(0.5 * noise(simulated_slice, 1.0), rel=0.15)
    assert noise(real_slice, 4.0) == noise(real_slice, 1.0)


def test_scans_are_made_once_unless_what_they_depend_on_changes(simulated: Path, tmp_path: Path) -> None:
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.nii")}

    options = {"slices_per_case": 1, "simulated_patients": 0}
    first = training_cases(simulated, tmp_path, **options)
    before = times()
    assert training_cases(simulated, tmp_path, **options) == first
    assert times() == before
    training_cases(simulated, tmp_path, seed=1, **options)
    assert times() != before


def test_a_simulated_heart_shows_the_phases_of_its_domain() -> None:
    low, routine = ([*_phases(patient, 0)] for patient in (0, 1))
    assert {s.domain for s in low} == {"low"} and {s.domain for s in routine} == {"routine"}
    assert [s.name[-2:] for s in low] == ["01", "02"]
    assert len(routine) == 3 and {int(s.name[-2:]) for s in routine} <= set(range(3, 11))
    assert not {s.subject for s in low} & {s.subject for s in routine}


def test_a_stack_has_the_same_noise_with_lesions_and_without() -> None:
    anatomy = Anatomy("slice", "patient", 0.9, phantom(256), noise_free=True)
    image, truth = lesion_stack(anatomy, ct.TRAINED, 0.1, np.random.default_rng(0))
    np.testing.assert_allclose(image[..., 0] - truth[..., 0], image[..., 1] - truth[..., 1], atol=0.05)
    lesions = truth[..., 0] - truth[..., 1]
    assert 10 < np.abs(lesions).max() < 60
    assert lesion_responses(image, truth) == pytest.approx([1.0] * len(lesion_responses(image, truth)))


def test_own_unpaired_scans_belong_to_the_domain_of_their_folder(tmp_path: Path) -> None:
    for index in range(8):
        for domain in ("low", "routine"):
            write_dicom(tmp_path / domain / f"{index}.dcm", phantom(64), patient=f"{domain}{index}")
    found = find_cases(tmp_path)
    assert {case["domain"] for case in found} == {"low", "routine"}
    assert all((case["low"] is None) == (case["domain"] == "routine") for case in found)
    low = next(case for case in found if case["domain"] == "low")
    (anatomy,) = slices_of(low, 3)
    assert anatomy.routine is None
    assert np.array_equal(anatomy.low, np.rint(phantom(64)))


def test_slices_are_taken_from_the_middle_of_a_volume() -> None:
    assert chosen_slices(1, 4) == [0]
    assert chosen_slices(101, 1) == [50]
    assert chosen_slices(101, 4) == [20, 40, 60, 80]
    assert chosen_slices(3, 10) == [0, 1, 2]


def test_a_domain_without_patients_is_refused() -> None:
    with pytest.raises(DatasetError, match="routine dose"):
        paired([{"domain": "low", "file": "a.nii", "subject": "x"}], "folder")


def test_evaluation_finds_less_noise_and_the_lesions_still_there(simulated: Path, tmp_path: Path) -> None:
    knobs = {"dataset_dir": str(simulated), "output_dir": str(tmp_path), "device": "cpu"}
    sizes = {"evaluation_slices": 1, "evaluation_doses": [0.1]}
    with contextlib.suppress(SystemExit):
        run_workflow(BUNDLE, EVALUATE, knobs | sizes, logging_file=False)
    with (tmp_path / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(float(row["PSNR gain dB"]) > 1 for row in rows)
    assert all(float(row["lesion contrast kept"]) > 0.8 for row in rows if row["lesion contrast kept"])
    assert all(abs(float(row["bias water HU"])) < 5 for row in rows)


def test_validation_in_training_scores_hounsfield_units(simulated: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    knobs = {"bundle_root": str(BUNDLE), "dataset_dir": str(simulated), "output_dir": str(tmp_path)}
    parser.update(knobs | {"device": "cpu", "validation_slices": 1, "weights": str(tmp_path / "best.pt")})
    load_weights(parser.get_parsed_content("average").network, BUNDLE / "models" / "model.pt")
    evaluator = parser.get_parsed_content("validate#evaluator")
    evaluator.run(global_epoch=1)
    assert evaluator.state.metrics["val_psnr_gain"] > 1
    assert 0.8 < evaluator.state.metrics["val_lesion_contrast_kept"] < 1.2
