"""The comparison of inference engines: all methods answer the same question, and tables add up."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from inference_memory import grown
from inference_methods import methods
from inference_report import write_report
from inference_runs import REFERENCE, agreement
from inference_scenes import FRAMES, SLICES, WINDOWS, Scene

PEERS = {"ONNX Runtime", "OpenVINO", "nnU-Net predictor"}  # of the extra `bench`


@pytest.fixture(params=[WINDOWS, SLICES, FRAMES])
def scene(request: pytest.FixtureRequest) -> Scene:
    torch.manual_seed(0)
    sizes = {WINDOWS: (1, 2, 40, 33, 24), SLICES: (1, 2, 40, 32, 5), FRAMES: (5, 2, 40, 32)}
    convolution = nn.Conv3d if request.param == WINDOWS else nn.Conv2d
    network = convolution(2, 3, 3, padding=1).eval()
    image = torch.rand(sizes[request.param])
    return Scene(request.param, network, image, (16, 16, 16), lambda answer: answer.argmax(1))


def test_all_methods_answer_the_same_question(scene: Scene, tmp_path: Path) -> None:
    with torch.inference_mode():
        answers = {name: start()() for name, start in methods(scene, tmp_path).items() if name not in PEERS}
    exact = answers.pop(REFERENCE)
    assert len(answers) == 4
    torch.testing.assert_close(answers["MONAI"], exact, atol=1e-4, rtol=1e-4)
    for answer in answers.values():  # near the borders of windows that lie elsewhere they differ more
        assert float((answer - exact).abs().median()) < 0.01 * float(exact.std())


def test_agreement_is_the_mean_dice_of_labels_and_answers_are_removed(tmp_path: Path) -> None:
    truth, found = torch.zeros(1, 3, 4, 1, 1), torch.zeros(1, 3, 4, 1, 1)
    for place, label in enumerate((0, 1, 1, 2)):
        truth[0, label, place] = 1
    for place, label in enumerate((0, 0, 1, 2)):
        found[0, label, place] = 1
    rows = []
    for name, answer in ((REFERENCE, truth), ("other", found)):
        path = tmp_path / f"{len(rows)}.pt"
        torch.save(answer, path)
        rows.append({"method": name, "answer": str(path)})
    agreement(Scene(WINDOWS, nn.Identity(), truth, (), lambda answer: answer.argmax(1)), rows)
    assert rows[0]["Dice"] == 1
    assert rows[1]["Dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert rows[1]["largest difference"] == 1
    assert not list(tmp_path.glob("*.pt"))


def test_the_table_has_medians_and_says_how_often_ours_fits_in(tmp_path: Path) -> None:
    rows = [
        {"method": "ours, balanced", "seconds": [1.0, 2.0, 9.0], "processor": [2.0, 2.0, 2.0], "Dice": 0.999},
        {"method": "MONAI", "seconds": [10.0, 10.0, 11.0], "processor": [20.0] * 3, "peak_gb": 1.5},
        {"method": "OpenVINO", "seconds": [], "processor": [], "error": "ImportError: openvino"},
    ]
    measured = {"scene": "brain", "size": [1, 4, 8], "threads": 2, "machine": "x", "rows": rows}
    (tmp_path / "brain.json").write_text(json.dumps(measured))
    lines = write_report(tmp_path, ["teeth", "brain"], tmp_path / "out")
    (ours,) = [line for line in lines if line.startswith("| ours, balanced")]
    assert [cell.strip() for cell in ours.split("|")[1:9]] == [
        *("ours, balanced", "3", "2", "1", "9", "2", "1", ""),
    ]
    (monai,) = [line for line in lines if line.startswith("| MONAI")]
    assert [cell.strip() for cell in monai.split("|")[7:9]] == ["5", "1.5"]
    assert "ImportError: openvino" in (tmp_path / "out" / "inference.csv").read_text()


def test_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    (row,) = grown(tmp_path, [72], None)
    assert row["labels"] == 3
    assert 0.1 < row["before GB"] <= row["peak GB"] < 5
    assert not list(tmp_path.iterdir())
