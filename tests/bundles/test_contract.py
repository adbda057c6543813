"""The contract that every bundle keeps; a bundle is tested by being there."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from golden import FILE, WRITE, differences, facts, write

from medbundles.checkpoints import PREVIOUS_NAME
from medbundles.config_keys import checked
from medbundles.errors import OverrideError
from medbundles.federated.algorithm import BundleAlgo
from medbundles.federated.exchange import mean_weights, packed, unpacked
from medbundles.federated.networks import first_weights, write_weights
from medbundles.io import read_image, write_image
from medbundles.metadata import bundle_info
from medbundles.reports import read_report
from medbundles.weights import load_weights
from medbundles.zoo.check import check_bundle
from medbundles.zoo.workflows import (
    EVALUATE,
    INFERENCE,
    TRAIN,
    build_network,
    open_workflow,
    read_config,
    run_workflow,
)

CASE_KEYS = {"input", "status", "error", "outputs", "measurements", "warnings", "seconds", "device"}
CASE_KEYS |= {"bundle", "version", "synthetic_inputs", "fingerprints"}
LENGTHS = ("mm", "px")


def test_the_files_keep_the_static_contract(subject: Any) -> None:
    assert [str(problem) for problem in check_bundle(subject.original)] == []


@pytest.mark.parametrize("names", [INFERENCE, TRAIN], ids=["inference", "train"])
def test_monai_finds_every_property(subject: Any, names: tuple[str, ...]) -> None:
    overrides = {"dataset_dir": str(subject.inputs), "output_dir": str(subject.scratch / "properties")}
    if names == TRAIN:
        overrides = subject.training(subject.scratch / "properties")
    workflow = open_workflow(subject.folder, names, overrides, logging_file=False)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_network_takes_and_gives_what_the_metadata_say(subject: Any) -> None:
    formats = bundle_info(subject.folder / "configs" / "metadata.json").metadata["network_data_format"]
    given, wanted = formats["inputs"]["image"], formats["outputs"]["pred"]
    network = build_network(subject.folder).eval()
    with torch.no_grad():
        answer = network(torch.rand(1, given["num_channels"], *given["spatial_shape"]))
    assert answer.shape == (1, wanted["num_channels"], *wanted["spatial_shape"])
    assert str(answer.dtype) == f"torch.{wanted['dtype']}"


def test_training_and_inference_build_the_same_network(subject: Any) -> None:
    shapes = [
        {key: value.shape for key, value in build_network(subject.folder, name).state_dict().items()}
        for name in ("inference.json", "train.json")
    ]
    assert shapes[0] == shapes[1]


def test_results_lie_on_the_grid_of_the_input(subject: Any, results: Path) -> None:
    for case in read_report(results)["cases"]:
        image, result = nib.load(case["input"]), nib.load(results / case["outputs"]["pred"])
        assert result.shape == image.shape[: result.ndim]  # a fourth axis of the input is contrasts
        np.testing.assert_allclose(result.affine, image.affine, atol=1e-5)


def test_labels_are_those_that_the_metadata_name(subject: Any, results: Path) -> None:
    if subject.block["output"]["kind"] != "labels":
        return
    names = bundle_info(subject.folder / "configs" / "metadata.json").label_names
    for case in read_report(results)["cases"]:
        result = np.asanyarray(nib.load(results / case["outputs"]["pred"]).dataobj)
        assert result.dtype == np.uint8
        assert set(np.unique(result).tolist()) <= {0, *names}


def test_images_are_written_in_the_unit_of_the_input(subject: Any, results: Path) -> None:
    if subject.block["output"]["kind"] != "image":
        return
    low, high = subject.block["input"]["value_range"]
    for case in read_report(results)["cases"]:
        result = np.asanyarray(nib.load(results / case["outputs"]["pred"]).dataobj)
        assert result.dtype in (np.int16, np.float32)
        assert np.isfinite(result).all() and result.min() >= low and result.max() <= high
        assert result.min() < result.max()


@pytest.mark.parametrize("change", ["mirrored", "rotated"])
def test_an_image_turned_by_its_header_gives_the_same_image_turned(
    subject: Any, results: Path, regrid: Callable[[Path, Path, str], None], change: str, tmp_path: Path
) -> None:
    if subject.block["output"]["kind"] != "image":
        return
    source = sorted(subject.inputs.iterdir())[0]
    (expected,) = [c for c in read_report(results)["cases"] if Path(c["input"]).name == source.name]
    (tmp_path / "in").mkdir()
    regrid(source, tmp_path / "in" / source.name, change)
    regrid(results / expected["outputs"]["pred"], tmp_path / "turned.nii.gz", change)
    (case,) = subject.reported(tmp_path / "in", tmp_path / "out").values()
    found, turned = nib.load(tmp_path / "out" / case["outputs"]["pred"]), nib.load(tmp_path / "turned.nii.gz")
    assert np.array_equal(np.asanyarray(found.dataobj), np.asanyarray(turned.dataobj))
    np.testing.assert_allclose(found.affine, turned.affine, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_are_the_golden_ones(subject: Any, tmp_path: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        subject.predict(sorted(subject.inputs.iterdir())[0], tmp_path, mode="exact")
    finally:
        torch.set_num_threads(1)
    found = facts(tmp_path)
    if os.environ.get(WRITE) and threads == 1:
        write(subject.original, found)
    assert (subject.original / FILE).is_file(), f"there is no {FILE}: {WRITE}=1 pytest {__file__} -k golden"
    golden = json.loads((subject.original / FILE).read_text(encoding="utf-8"))
    assert list(differences(golden, found)) == []


def test_a_result_that_moved_is_not_golden() -> None:
    old = {"a": {"measurements": {"AC": 100.0, "HC": None}, "voxels": {"0": 9000, "1": 1000}}}
    new = {"a": {"measurements": {"AC": 101.5, "HC": 80.0}, "voxels": {"0": 9005, "1": 965, "2": 30}}}
    assert len(list(differences(old, new))) == 4
    near = {"a": {"measurements": {"AC": 100.9, "HC": None}, "voxels": {"0": 9000, "1": 1009, "2": 3}}}
    assert list(differences(old, near)) == []
    assert list(differences({"a": {"level": {"mean": 0.0}}}, {"a": {"level": {"mean": 0.6}}}))


def test_the_report_has_every_key_and_no_value_without_meaning(subject: Any, results: Path) -> None:
    cases = read_report(results)["cases"]
    assert len(cases) == len(list(subject.inputs.iterdir()))
    for case in cases:
        assert set(case) == CASE_KEYS
        assert case["status"] == "ok" and case["error"] is None
        assert case["bundle"] == subject.folder.name
        for item in case["measurements"]:
            assert set(item) == {"name", "value", "unit", "reason"}
            assert item["value"] is not None or item["reason"]


def test_the_csv_has_a_row_for_every_measurement(results: Path) -> None:
    with open(results / "report.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(max(1, len(case["measurements"])) for case in read_report(results)["cases"])


def test_every_case_has_a_preview(results: Path) -> None:
    for case in read_report(results)["cases"]:
        picture = read_image(results / case["outputs"]["preview"]) if case["outputs"]["preview"] else None
        assert picture is None or min(picture.shape) > 100
        assert (results / case["outputs"]["preview"]).stat().st_size > 1000


def test_the_demo_measures_what_is_there(subject: Any, tmp_path: Path) -> None:
    from medbundles.zoo.demo import comparisons, run_demo

    trained = "not trained yet" not in subject.block["title"]
    rows = run_demo(
        [subject.folder], tmp_path, {"device": "cpu"} | ({} if trained else subject.smoke("predict"))
    )
    assert (tmp_path / "index.html").stat().st_size > 1000
    compared = [item for row in rows for item in comparisons(row)]
    assert [(row["status"], row["trained"]) for row in rows] == [("ok", trained)]
    if trained:
        assert all(agree for *_, agree in compared), compared


def test_a_second_run_repeats_nothing_unless_told_to(subject: Any, results: Path, tmp_path: Path) -> None:
    again = shutil.copytree(results, tmp_path / "again")
    files = f"*_{subject.block['output']['suffix']}.*"
    before = {path.name: path.stat().st_mtime_ns for path in again.glob(files)}
    cases = subject.reported(subject.inputs, again)
    assert {case["status"] for case in cases.values()} == {"skipped"}
    assert before and {path.name: path.stat().st_mtime_ns for path in again.glob(files)} == before
    cases = subject.reported(subject.inputs, again, overwrite=True)
    assert {case["status"] for case in cases.values()} == {"ok"}


def test_bad_inputs_are_named_and_the_good_ones_done(
    subject: Any, bad_inputs: Callable[[Any, Path], list[str]], tmp_path: Path
) -> None:
    folder = shutil.copytree(subject.inputs, tmp_path / "mixed")
    good = {path.name for path in folder.iterdir()}
    bad = bad_inputs(subject, folder)
    assert subject.predict(folder, tmp_path / "out") == 1
    cases = {Path(case["input"]).name: case for case in read_report(tmp_path / "out")["cases"]}
    assert {name for name, case in cases.items() if case["status"] == "ok"} == good
    for name in bad:
        assert cases[name]["status"] == "failed" and name in cases[name]["error"], name
        assert len(cases[name]["error"].splitlines()) <= 6
        assert cases[name]["outputs"] == {} and cases[name]["measurements"] == []


@pytest.mark.parametrize("change", ["mirrored", "rotated", "anisotropic"])
def test_the_same_anatomy_in_another_grid_gives_the_same_millimetres(
    subject: Any, results: Path, regrid: Callable[[Path, Path, str], None], change: str, tmp_path: Path
) -> None:
    source = sorted(subject.inputs.iterdir())[0]
    (tmp_path / "in").mkdir()
    regrid(source, tmp_path / "in" / source.name, change)
    (case,) = subject.reported(tmp_path / "in", tmp_path / "out").values()
    result = nib.load(tmp_path / "out" / case["outputs"]["pred"])
    assert result.shape == nib.load(tmp_path / "in" / source.name).shape[: result.ndim]
    (before,) = [c for c in read_report(results)["cases"] if Path(c["input"]).name == source.name]
    found = {m["name"]: m["value"] for m in case["measurements"] if m["unit"] == "mm" and m["value"]}
    for item in before["measurements"]:
        if item["unit"] == "mm" and item["value"] is not None:
            assert found[item["name"]] == pytest.approx(item["value"], rel=subject.block["demo"]["tolerance"])


def test_pixels_without_calibration_and_millimetres_with_it(
    subject: Any, results: Path, tmp_path: Path
) -> None:
    knobs, spec = read_config(subject.folder, INFERENCE), subject.block["input"]
    if spec["spatial_dims"] != 2 or "pixel_mm" not in knobs or spec["calibration"] != "optional":
        return
    source = sorted(subject.inputs.iterdir())[0]
    image = read_image(source)
    (tmp_path / "in").mkdir()
    write_image(image.array, tmp_path / "in" / "frame.png", affine=image.affine)
    (bare,) = subject.reported(tmp_path / "in", tmp_path / "bare").values()
    (told,) = subject.reported(tmp_path / "in", tmp_path / "told", pixel_mm=image.spacing[0]).values()
    assert not [m for m in bare["measurements"] if m["unit"] == "mm" and m["value"] is not None]
    assert any("calibrat" in warning for warning in bare["warnings"])
    expected = {c["input"]: c for c in read_report(results)["cases"]}[str(source)]
    lengths = {m["name"]: m["value"] for m in expected["measurements"] if m["unit"] == "mm" and m["value"]}
    found = {m["name"]: m["value"] for m in told["measurements"] if m["unit"] == "mm"}
    assert {name: found[name] for name in lengths} == pytest.approx(lengths, rel=0.01)


def test_every_format_gives_the_same_answer(subject: Any, results: Path, tmp_path: Path) -> None:
    source = sorted(subject.inputs.iterdir())[0]
    image = read_image(source)
    for extension in (".nii.gz", ".mha", ".nrrd"):
        write_image(image.array, tmp_path / "in" / f"frame{extension}", affine=image.affine)
    with zipfile.ZipFile(tmp_path / "frame.zip", "w") as archive:
        archive.write(source, source.name)
    folder = subject.reported(tmp_path / "in", tmp_path / "folder").values()
    zipped = subject.reported(tmp_path / "frame.zip", tmp_path / "zip").values()
    single = subject.reported(source, tmp_path / "single").values()
    (expected,) = [c for c in read_report(results)["cases"] if c["input"] == str(source)]
    cases = [*folder, *zipped, *single]
    assert len(cases) == 5
    for case in cases:
        assert case["status"] == "ok", case["error"]
        assert _values(case) == pytest.approx(_values(expected), rel=1e-3)


def _values(case: dict[str, Any]) -> dict[str, float]:
    """The measurements that have a value."""
    return {m["name"]: m["value"] for m in case["measurements"] if m["value"] is not None}


@pytest.mark.parametrize("place", ["bundle", "beside", "elsewhere"])
def test_monai_runs_it_from_any_working_directory(
    subject: Any, results: Path, place: str, tmp_path: Path
) -> None:
    config, root = "configs/inference.json", subject.folder
    directory = {"bundle": root, "beside": root.parents[1], "elsewhere": tmp_path}[place]
    options = {"dataset_dir": subject.inputs, "output_dir": tmp_path / "out", "device": "cpu"}
    options |= subject.smoke("predict")
    if place != "bundle":
        config, options["bundle_root"] = str(root / config), root
    process = subject.shell(config, directory, **options)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    for case in read_report(results)["cases"]:
        here, there = (nib.load(folder / case["outputs"]["pred"]) for folder in (results, tmp_path / "out"))
        assert np.array_equal(np.asanyarray(here.dataobj), np.asanyarray(there.dataobj))


@pytest.mark.parametrize("names", [INFERENCE, TRAIN, EVALUATE], ids=["inference", "train", "evaluate"])
def test_a_mistyped_option_is_refused(subject: Any, names: tuple[str, ...]) -> None:
    for typo, meant in {"ouput_dir": "output_dir", "sed": "seed"}.items():
        with pytest.raises(OverrideError, match=f"did you mean --{meant}"):
            checked(read_config(subject.folder, names), {typo: 2})


def test_training_writes_weights_events_and_checkpoint(subject: Any, straight: dict[str, Any]) -> None:
    output = subject.scratch / "straight"
    weights = torch.load(output / "best.pt", weights_only=True)
    build_network(subject.folder).load_state_dict(weights)
    assert _pictures(output) == [1, 2, 3, 4]
    assert {"network", "optimizer"} <= set(straight["objects"])
    assert straight["trainer"]["epoch"] == 4


def _pictures(output: Path) -> list[int]:
    """The epochs of which TensorBoard has pictures of validation cases."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = set()
    for file in output.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file), size_guidance={"images": 0})
        events.Reload()
        steps |= {entry.step for tag in events.Tags()["images"] for entry in events.Images(tag)}
    return sorted(steps)


def test_training_can_end_early_after_its_checkpoint(subject: Any) -> None:
    """What early stopping does is tested with its handler; here, that a bundle has it, and in which order."""
    config = read_config(subject.folder, TRAIN)
    handlers = [handler["_target_"].split(".")[-1] for handler in config["train"]["handlers"]]
    order = [handlers.index(name) for name in ("ValidationHandler", "ResumableCheckpoint", "EarlyStop")]
    assert order == sorted(order)
    assert config["patience"] is None


def test_two_and_two_epochs_equal_four(subject: Any, straight: dict[str, Any], state_of: Any) -> None:
    output = subject.scratch / "parts"
    subject.train(output, epochs=2)
    parts = state_of(subject.train(output, epochs=4, resume=True))
    for name, value in state_of(straight).items():
        assert torch.equal(parts[name], value), name


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    subject: Any, straight: dict[str, Any], state_of: Any
) -> None:
    output = subject.scratch / "killed"
    assert any(_killed_after_first_epoch(subject, output) for _ in range(3))  # it may be too fast for us
    resumed = state_of(subject.train(output, epochs=4, resume=True))
    for name, value in state_of(straight).items():
        assert torch.equal(resumed[name], value), name


def _killed_after_first_epoch(subject: Any, output: Path) -> bool:
    shutil.rmtree(output, ignore_errors=True)
    options = subject.training(output, epochs=4, bundle_root=str(subject.folder))
    process = subject.shell(str(subject.folder / "configs" / "train.json"), subject.scratch, **options)
    deadline = time.monotonic() + 120
    while not (output / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors[-3000:]
    return process.returncode == -signal.SIGKILL


def test_a_federation_of_one_site_trains_as_the_site_alone_does(
    subject: Any, straight: dict[str, Any], state_of: Any
) -> None:
    options = subject.training(subject.scratch / "federated", epochs=4)
    algo = BundleAlgo(subject.folder, TRAIN, options, 1)
    algo.initialize()
    weights = {key: value.clone() for key, value in algo.networks.exchanged().items()}
    for _ in range(4):
        arrays, steps = algo.train_from(weights)
        weights = mean_weights([(unpacked(arrays, weights, sender="site"), steps)])
    algo.networks.take(weights)
    alone = state_of(straight)
    for key, value in algo.networks.state_dict().items():
        name, _, rest = key.partition(".")
        path = f"/average/network/{rest}" if name == "average" else f"/{name}/{rest}"
        assert torch.equal(alone[path], value), key
    assert not (subject.scratch / "federated" / PREVIOUS_NAME).exists()  # the rounds are one run


def test_what_a_federation_exchanges_becomes_the_weights_that_inference_loads(subject: Any) -> None:
    options = subject.training(subject.scratch / "exchanged")
    weights = first_weights(open_workflow(subject.folder, TRAIN, {**options, "seed": 1}, logging_file=False))
    path = subject.scratch / "exchanged" / "model.pt"
    other = open_workflow(subject.folder, TRAIN, {**options, "seed": 2}, logging_file=False)
    write_weights(other, unpacked(packed(weights), weights, sender="site"), path)
    network = load_weights(build_network(subject.folder), path)
    exchanged = [value.half() for value in weights.values()]
    for key, value in network.state_dict().items():
        assert any(value.shape == v.shape and torch.equal(value.half(), v) for v in exchanged), key


def test_evaluation_writes_figures(subject: Any, tmp_path: Path) -> None:
    paths = {"dataset_dir": str(subject.cases), "output_dir": str(tmp_path)}
    options = {**paths, "device": "cpu", **subject.smoke("evaluate")}
    run_workflow(subject.folder, EVALUATE, options, logging_file=False)
    assert (tmp_path / "evaluation.json").is_file()
