"""The scores of CT denoising: noise, bias, and what is left of a lesion."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "ct_lowdose_cyclegan_denoising"))

from ct_phantom import phantom

from ct_cyclegan.scores import MeanScore, case_scores, lesion_responses, quality


def lesion_stack(kept: float = 1.0, noise: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """A stack with a lesion of which a part is kept, and without; and the truth, HU (X, Y, 2)."""
    clean = phantom()
    lesion = np.zeros_like(clean)
    lesion[44:50, 60:66] = 30
    grain = np.random.default_rng(0).normal(0, noise, clean.shape)
    return np.stack([clean + grain + kept * lesion, clean + grain], -1), np.stack([clean + lesion, clean], -1)


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.0])
def test_the_part_of_a_lesion_that_is_left_is_measured_free_of_noise(kept: float) -> None:
    output, truth = lesion_stack(kept)
    assert lesion_responses(output, truth) == [pytest.approx(kept, abs=1e-6)]


def test_halved_noise_is_six_decibels() -> None:
    image, truth = lesion_stack(noise=20)
    output, _ = lesion_stack(noise=10)
    scores = case_scores(output, image, truth, lesions=True)
    assert scores["PSNR gain dB"] == pytest.approx(6.02, abs=0.02)
    assert scores["RMSE of the input HU"] == pytest.approx(20, rel=0.03)
    assert scores["lesion contrast kept"] == pytest.approx(1.0)


def test_a_shift_is_seen_as_bias_of_the_tissue() -> None:
    _, truth = lesion_stack()
    scores = case_scores(truth + 3.0, truth + np.random.default_rng(0).normal(0, 20, truth.shape), truth)
    assert scores["bias water HU"] == pytest.approx(3.0)
    assert scores["bias lung HU"] == pytest.approx(3.0)


def test_erased_lesions_outweigh_decibels_when_weights_are_chosen() -> None:
    keeps = quality({"PSNR gain dB": 5.0, "lesion contrast kept": 0.97})
    assert keeps == 5.0
    assert quality({"PSNR gain dB": 6.5, "lesion contrast kept": 0.55}) < keeps


def test_the_mean_of_a_score_leaves_out_cases_without_it() -> None:
    metric = MeanScore("lesion contrast kept")
    metric.update([{"lesion contrast kept": 0.5, "PSNR gain dB": 1.0}, {"PSNR gain dB": 2.0}])
    metric.update([{"lesion contrast kept": 1.0}])
    assert metric.compute() == 0.75
