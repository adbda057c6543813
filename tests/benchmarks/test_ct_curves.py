"""Whether one curve lies outside another, on curves made by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from ct_curves import ORIGIN, best_gain, compare, curves_of, decide, describe, draw
from ct_scores import GAIN, RECOVERY
from PIL import Image

RIVAL = ((1.0, 0.0), (0.9, 2.0), (0.5, 5.0))


def row(method: str, setting: str, strength: float, case: int, point: tuple[float, float]) -> dict:
    head = {"method": method, "parameter": setting, "strength": strength, "case": f"case{case}"}
    return {**head, RECOVERY: point[0], GAIN: point[1] + 0.1 * (case - 1.5)}


def table() -> list[dict]:
    """Four cases; a filter with two parameters, and ours at two strengths."""
    points = {
        ("input", "", 1.0): ORIGIN,
        ("Gaussian", "1", 1.0): (0.9, 2.0),
        ("Gaussian", "1", 0.5): (0.95, 1.5),
        ("Gaussian", "2", 1.0): (0.5, 3.0),
        ("Gaussian", "2", 0.5): (0.75, 2.5),
        ("full", "", 1.0): (0.95, 4.0),
        ("full", "", 0.5): (0.975, 2.5),
    }
    return [row(*key, case, point) for key, point in points.items() for case in range(4)]


def test_best_gain_is_read_between_the_points() -> None:
    assert best_gain([RIVAL], 0.95) == pytest.approx(1.0)
    assert best_gain([RIVAL], 0.7) == pytest.approx(3.5)
    assert best_gain([RIVAL], 0.2) == 5.0
    assert best_gain([RIVAL[1:]], 0.95) == -np.inf


def test_a_curve_above_another_is_outside_it_by_as_much_as_by_hand() -> None:
    worst, least, lead, recovery = compare(((0.98, 1.0), (0.95, 4.0)), [RIVAL])
    assert worst == pytest.approx(1.0 - 0.4)
    assert (least, lead) == pytest.approx((3.0, 3.0))
    assert recovery == pytest.approx(0.95 - (0.9 - 0.4 * 2 / 3))


def test_a_curve_that_crosses_another_is_not_outside_it() -> None:
    worst, least, lead, _ = compare(((0.95, 2.0), (0.7, 3.0)), [RIVAL])
    assert worst == pytest.approx(-0.5)
    assert (least, lead) == pytest.approx((-0.5, -0.5))


def test_decibels_for_erased_lesions_do_not_count() -> None:
    eraser = ((1.0, 0.0), (0.99, 0.1), (0.2, 9.0))
    worst, _, lead, recovery = compare(((0.95, 3.0),), [eraser])
    assert worst == lead
    assert lead == pytest.approx(3 - (0.1 + 8.9 * 0.04 / 0.79))
    assert recovery > 0.2


def test_contrast_beyond_the_truth_is_no_better_than_the_truth() -> None:
    assert compare(((1.1, 2.0),), [((1.0, 0.0), (1.3, 1.0))])[2] == pytest.approx(1.0)


def test_a_gain_that_the_other_never_reaches_has_no_recovery_to_compare() -> None:
    assert compare(((0.95, 6.0),), [RIVAL])[3] is None


def test_verdicts_cover_each_filter_alone_and_blended() -> None:
    verdicts = decide(table(), "full")
    assert list(verdicts) == ["Gaussian", "Gaussian blended"]
    alone, blended = verdicts.values()
    assert alone.outside and blended.outside
    assert (alone.lead, blended.lead) == pytest.approx((3.0, 2.5))
    # the cases differ in gain by the same amount for both methods, so that nothing is left to chance
    assert (alone.lower, alone.upper) == pytest.approx((3.0, 3.0), abs=0.08)
    assert "outside Gaussian: +3.00 dB" in describe("Gaussian", alone)


def test_curves_run_from_the_input_through_the_means() -> None:
    curves = curves_of(table())
    assert list(curves) == ["Gaussian", "full"]
    np.testing.assert_allclose(curves["Gaussian"].sweep, [ORIGIN, (0.9, 2.0), (0.5, 3.0)])
    np.testing.assert_allclose(curves["full"].blends, [[ORIGIN, (0.975, 2.5), (0.95, 4.0)]])


def test_picture_shows_every_method_in_its_colour_and_ours_in_white(tmp_path: Path) -> None:
    draw(curves_of(table()), tmp_path / "curve.png", "by hand", ours="full")
    picture = np.asarray(Image.open(tmp_path / "curve.png").convert("RGB")).reshape(-1, 3).astype(int)
    for colour in ((0xFF, 0xB0, 0x00), (0xFF, 0xFF, 0xFF)):
        assert (np.abs(picture - colour).max(axis=1) < 12).sum() > 100
