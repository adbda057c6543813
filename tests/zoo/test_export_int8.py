"""Int8 is handed out where a bundle's own scores stay those of float32, and refused where they do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medbundles.errors import BundleError, ExportError, OverrideError
from medbundles.zoo.export import Exported, export
from medbundles.zoo.export_formats import read_onnx
from medbundles.zoo.export_int8 import INT8_TOLERANCE, compare
from medbundles.zoo.export_networks import exportables
from medbundles.zoo.find import bundle_folders, read_metadata
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.stand_ins import KEPT, Record, StandIn, plan_of, read_scores

SMALL = "fetal_us_biometry_segmentation"
FEW = {"calibration": 2, "cases": 2}


def copied(source: Path, place: Path, **int8: Any) -> Path:
    """A copy of a bundle that is judged on fewer cases."""
    folder = shutil.copytree(source, place / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["medbundles"]["int8"] |= int8
    path.write_text(json.dumps(metadata), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """The small bundle of ultrasound in int8."""
    place = tmp_path_factory.mktemp("int8")
    source = next(folder for folder in bundle_folders() if folder.name == SMALL)
    folder, (result,) = export(copied(source, place, calibration=3, cases=3), "onnx", place, int8=True)
    return folder, result


def test_int8_is_handed_out_where_the_scores_hold(exported: tuple[Path, Exported]) -> None:
    folder, result = exported
    assert result.file == "model.int8.onnx" and (folder / result.file).is_file()
    record = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    note = record["networks"][0]["int8"]
    assert record["format"] == "onnx_int8" and note["layers"] > 10
    assert note["bytes"] < 0.35 * note["bytes_float32"]
    assert {row["score"] for row in note["scores"]} <= {"Dice abdomen", "Dice head"}
    for row in note["scores"]:
        assert row["float32"] > 0.9 and abs(row["int8"] - row["float32"]) <= INT8_TOLERANCE


def test_the_file_answers_nearly_as_the_original_and_says_how_it_was_judged(
    exported: tuple[Path, Exported], tmp_path: Path
) -> None:
    import onnx

    folder, result = exported
    source = next(folder for folder in bundle_folders() if folder.name == SMALL)
    (item,) = exportables(source)
    inputs = item.inputs(1, (320, 224), seed=3)
    with torch.no_grad():
        wanted, found = item.network(*inputs), read_onnx(folder / result.file)(*inputs)
    assert found.shape == wanted.shape and not torch.equal(found, wanted)
    props = {entry.key: entry.value for entry in onnx.load(str(folder / result.file)).metadata_props}
    assert json.loads(props["int8"])["tolerance"] == INT8_TOLERANCE
    assert json.loads(props["metadata"])["medbundles"]["package"] == "fetal_biometry"


def test_a_network_that_int8_ruins_is_refused_with_both_numbers(tmp_path: Path) -> None:
    """An offset that the next normalisation takes away costs float32 nothing, and int8 all its levels."""
    folder = copied(TEMPLATE, tmp_path / "ruined", **FEW)
    path = folder / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    for name in ("model.1.submodule.0.conv.bias", "model.1.submodule.2.conv.bias"):
        weights[name] = weights[name] + 1000.0
    torch.save(weights, path)
    with pytest.raises(ExportError, match=r"static: Dice 0\.\d{4} instead of 0\.99\d\d on 2 cases") as caught:
        export(folder, "onnx", tmp_path, int8=True)
    assert "dynamic: there is no layer that it can quantise" in str(caught.value)
    assert not (tmp_path / f"{TEMPLATE.name}_onnx_int8").exists()


def test_int8_is_onnx_only_and_wants_to_know_what_judges(
    tmp_path: Path, bundle: Path, edit: Callable[[Path, Callable[[dict[str, Any]], Any]], None]
) -> None:
    with pytest.raises(OverrideError, match="int8 in the format pt2"):
        export(TEMPLATE, "pt2", tmp_path, int8=True)
    edit(bundle / "configs" / "metadata.json", lambda content: content["medbundles"].pop("int8"))
    with pytest.raises(BundleError, match=r"medbundles\.int8\.scores"):
        export(bundle, "onnx", tmp_path, int8=True)
    assert not list(tmp_path.glob("*_onnx_int8"))


@pytest.mark.parametrize("folder", [*bundle_folders(), TEMPLATE], ids=lambda folder: folder.name)
def test_every_bundle_names_scores_of_its_evaluation(folder: Path) -> None:
    plan = plan_of(folder)
    assert plan.calibration > 0 and plan.cases > 1
    path = folder / "docs" / "evaluation.json"
    if path.is_file():
        groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
        measured = {score for scores in groups.values() for score in scores}
        assert set(plan.scores) <= measured
    assert read_metadata(folder)["medbundles"]["int8"]["scores"] == list(plan.scores)


def test_scores_are_compared_case_by_case_and_a_lost_one_counts() -> None:
    float32 = {"Dice": {"a": 0.9, "b": 0.8}, "PSNR dB": {"a": 40.0, "b": 42.0}}
    int8 = {"Dice": {"a": 0.91, "b": 0.79}, "PSNR dB": {"a": 39.9, "b": 41.9}}
    dice, psnr = compare(float32, int8)
    assert (dice.n, dice.holds) == (2, True)
    assert dice.difference == pytest.approx(0.0, abs=1e-9) and dice.sd == pytest.approx(0.01414, abs=1e-5)
    assert psnr.difference == pytest.approx(-0.1 / 41) and psnr.holds
    (lost,) = compare({"Dice": {"a": 0.9, "b": 0.8}}, {"Dice": {"a": 0.9}})
    assert lost.difference == pytest.approx(-0.4) and not lost.holds
    assert str(lost) == "Dice 0.4500 instead of 0.8500 on 2 cases"


def test_scores_are_means_of_the_rows_of_a_case(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.csv"
    path.write_text("group,case,Dice,F1\nx,a,0.5,\nx,a,0.7,\ny,a,0.1,1\nx,b,nan,\n", encoding="utf-8")
    assert read_scores(path, ["Dice", "F1"]) == {
        "Dice": {"x/a": pytest.approx(0.6), "y/a": 0.1},
        "F1": {"y/a": 1.0},
    }
    with pytest.raises(ExportError, match="no case has a score 'SSIM'"):
        read_scores(path, ["SSIM"])


def test_what_a_network_is_given_is_kept_in_order_and_evenly() -> None:
    record = Record(["image", "wanted"])
    network = nn.Identity()
    network.forward = record.around(lambda image, *, wanted: image)
    for number in range(100):
        network(torch.full((1, 2), float(number)), wanted=torch.tensor([number]))
    numbers = [int(inputs["wanted"][0]) for inputs in record.kept]
    assert 1 < len(numbers) <= KEPT and set(np.diff(numbers)) == {record.step}
    assert numbers[-1] >= 100 - record.step
    assert record.kept[1]["image"].tolist() == [[numbers[1], numbers[1]]]


def test_another_network_answers_in_its_place_with_all_inputs() -> None:
    other = StandIn(lambda image, wanted: image + wanted)
    network = nn.Identity()
    network.forward = other.around(lambda image, wanted: image)
    assert network(torch.ones(2), wanted=torch.tensor(3.0)).tolist() == [4.0, 4.0]
    assert other.asked == 1


def test_what_is_said_once_for_a_batch_is_kept_for_each_of_it() -> None:
    record = Record(["image", "target", "present"])
    record.around(lambda image, target, present, told=None: image)(torch.ones(3, 4), 2, present=[True, False])
    assert {name: value.tolist() for name, value in record.kept[0].items() if name != "image"} == {
        "target": [2, 2, 2],
        "present": [[True, False]] * 3,
    }
