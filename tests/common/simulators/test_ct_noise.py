"""Counting noise, the bowtie filter and the tube current, against their formulas."""

import numpy as np
import pytest

from medbundles.simulators.ct_noise import (
    FILTER_RADIUS_MM,
    FLOOR,
    REFERENCE,
    TUBE_LIMITS,
    bowtie,
    measure,
    tube_current,
)


def test_a_full_bowtie_makes_a_water_cylinder_of_its_radius_look_flat() -> None:
    distance = np.linspace(-FILTER_RADIUS_MM, FILTER_RADIUS_MM, 101)
    cylinder = 2 * np.sqrt(FILTER_RADIUS_MM**2 - distance**2) * 0.02
    total = cylinder - np.log(bowtie(distance, 1.0, 0.02))
    assert np.ptp(total) < 1e-6
    assert bowtie(np.zeros(1), 0.7, 0.02) == 1


def test_no_bowtie_lets_everything_through() -> None:
    assert (bowtie(np.array([0.0, 100.0, 300.0]), 0.0, 0.02) == 1).all()


def test_measured_integrals_have_mean_and_variance_of_their_counts() -> None:
    integrals, incident = np.full((400, 500), 2.0, np.float32), np.full(500, 5e3)
    measured = measure(integrals, incident, 12.0, np.random.default_rng(0))
    counts = 5e3 * np.exp(-2)
    variance = (counts + 12**2) / counts**2
    assert measured.mean() == pytest.approx(2 + variance / 2, abs=0.001)
    assert measured.var() == pytest.approx(variance, rel=0.02)


def test_rays_without_quanta_stop_at_the_floor() -> None:
    measured = measure(np.full((10, 10), 30.0, np.float32), np.full(10, 1e3), 0.0, np.random.default_rng(0))
    assert measured == pytest.approx(np.log(1e3 / FLOOR), abs=1e-3)


def test_tube_current_follows_the_longest_path_of_each_view_within_its_limits() -> None:
    views = np.repeat(np.float32([[REFERENCE], [REFERENCE + 1], [REFERENCE + 9], [0]]), 50, axis=1)
    assert tube_current(views, 0.5).ravel() == pytest.approx([1, np.exp(0.5), TUBE_LIMITS[1], TUBE_LIMITS[0]])
    assert (tube_current(views, 0.0) == 1).all()
