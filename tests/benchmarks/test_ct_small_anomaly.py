"""The small-anomaly experiment: its phantoms, its score, and a run of a few steps."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from ct_anomaly_phantoms import DISC, RECTANGLE, UnpairedPhantoms, phantom
from ct_small_anomaly import CYCLE, GAN, measure, train


@pytest.mark.parametrize(("host", "level"), [("disc", DISC), ("rectangle", RECTANGLE)])
def test_anomaly_and_its_ring_lie_inside_the_host(host: str, level: float) -> None:
    for seed in range(40):
        one = phantom(np.random.default_rng(seed), host)
        np.testing.assert_allclose(one.plain[one.mask | one.ring], level, atol=1e-6)
        assert one.mask.sum() > 8 and one.ring.sum() > 40
        assert not (one.anomaly[one.ring] != 0).any()


def test_set_without_anomalies_has_two_grey_values() -> None:
    clean = UnpairedPhantoms("nothing", 1, 0)[0]["clean"].numpy()
    flat = clean[(np.abs(np.gradient(clean[0])).max(axis=0) == 0)[None]]
    assert set(np.round(np.unique(flat), 5)) <= {
        0.0,
        np.float32(RECTANGLE).round(5),
        np.float32(DISC).round(5),
    }


def test_training_pictures_are_the_same_in_every_run_and_of_different_phantoms() -> None:
    first, second = (UnpairedPhantoms("disc", 3, 5)[1] for _ in range(2))
    assert (first["noisy"] == second["noisy"]).all()
    assert (first["noisy"] - first["clean"]).abs().max() > 0.9


def test_recovery_is_one_for_the_input_a_half_for_half_and_zero_for_none() -> None:
    methods = {
        ("-", "all"): lambda image: image,
        ("-", "half"): lambda image: 0.5 * image,
        ("-", "none"): lambda image: np.zeros_like(image),
    }
    rows = measure(methods, 5)
    for method, expected in (("all", 1.0), ("half", 0.5), ("none", 0.0)):
        found = [row["recovery"] for row in rows if row["method"] == method]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_recovery_against_other_noise_agrees_on_average() -> None:
    rows = measure({("-", "all"): lambda image: image}, 150)
    found = np.array([row["recovery, other noise"] for row in rows])
    assert found.mean() == pytest.approx(1, abs=4 * found.std() / np.sqrt(len(found)))
    assert found.std() > 0.1


@pytest.mark.parametrize("kind", [GAN, CYCLE])
def test_training_that_was_stopped_goes_on_to_the_same_weights(kind: str, tmp_path: Path) -> None:
    through = train("disc", kind, tmp_path / "through", steps=2, seed=0)
    train("disc", kind, tmp_path / "stopped", steps=1, seed=0)
    resumed = train("disc", kind, tmp_path / "stopped", steps=2, seed=0)
    for first, second in zip(through.parameters(), resumed.parameters(), strict=True):
        assert (first == second).all()
