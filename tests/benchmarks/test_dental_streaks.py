"""Streaks of metal in slices and in panoramas, as the benchmark measures them."""

import csv
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import dental_streaks
from dental_prior import streaks
from dental_streaks import energy_of

from dental_teeth.panorama import views


def test_streaks_are_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    coarse = partial(views, columns=160, rows=48, pitch_mm=1.0)
    monkeypatch.setattr(dental_streaks, "views_with_teeth", coarse)
    streaks(str(work), n=1, spacing_mm=2.0, out=str(out))
    with open(out / "dental_streaks.csv", encoding="utf-8") as file:
        rows = {row["picture"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"axial slices", "panoramas"}
    assert all(float(row["contrast"]) > 0 for row in rows.values())
    assert float(rows["axial slices"]["energy"]) > float(rows["panoramas"]["energy"])
    assert "1 of 1 patients" in (out / "dental_streaks.md").read_text(encoding="utf-8")
    monkeypatch.setattr(dental_streaks, "scanned", None)
    streaks(str(work), n=1, spacing_mm=2.0, out=str(out))


def test_streak_energy_is_what_one_gets_by_hand() -> None:
    without, noise = np.zeros((8, 8), np.float32), np.random.default_rng(0).normal(0, 3, (8, 8))
    teeth, around = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    teeth[:, :4], around[:, :4] = True, False
    without[teeth] = 100
    energy, contrast = energy_of(without, without + noise, without + 10, teeth, around)
    assert contrast == 100
    assert energy == pytest.approx((100 - np.square(noise).mean()) / 100**2, rel=1e-4)
