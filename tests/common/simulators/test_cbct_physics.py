"""Attenuation, spectra, water scale, the head outside the volume and the detector, against known numbers."""

from dataclasses import replace

import numpy as np
import pytest

from medbundles.errors import InputError
from medbundles.simulators.cbct_detector import Detector
from medbundles.simulators.cbct_physics import BASIS, WaterScale, beam, material_names, table
from medbundles.simulators.cbct_scanner import TRAINED, Scanner
from medbundles.simulators.cbct_surroundings import Ellipsoid, Outside

BEAM = beam(90, 3.0, 0.0)
CLEAN = Scanner(columns=40, rows=20, pitch_mm=4.0, electronic=0.0, scatter=0.0, blur_mm=0.0)


def test_attenuation_at_60_kev_is_that_of_published_tables() -> None:
    # cm2/g of water, aluminium, titanium and copper, by NIST; the densities in g/cm3 are ours.
    published = {"soft": 0.2059 * 1.0, "aluminium": 0.2778 * 2.70, "copper": 1.593 * 8.96}
    mu, energy = table()["attenuation"], table()["energy"]["keV"]
    for name, per_cm in published.items():
        assert 10 * np.interp(60.0, energy, mu[name]) == pytest.approx(per_cm, rel=0.01)


def test_more_filtration_and_voltage_make_a_harder_beam() -> None:
    energies = [float(b.energy @ b.share) for b in (BEAM, beam(90, 3.0, 0.3), beam(110, 3.0, 0.3))]
    assert energies == sorted(energies)
    assert 45 < energies[0] < 60
    assert BEAM.share.sum() == pytest.approx(1)


@pytest.mark.parametrize("tube", [(85, 3.0, 0.0), (90, 1.0, 0.0), (90, 3.0, -0.1)])
def test_an_unknown_tube_is_refused(tube: tuple[int, float, float]) -> None:
    with pytest.raises(InputError, match="expected: one of 70"):
        beam(*tube)


def test_every_metal_is_a_mixture_of_the_basis_that_attenuates_alike() -> None:
    names = material_names()
    basis, parts = BEAM.mixtures(names)
    assert basis == BASIS
    mixed = parts @ np.stack([BEAM.attenuation[name] for name in basis])
    for name, mu in zip(names, mixed, strict=True):
        miss = np.abs(mu / BEAM.attenuation[name] - 1) @ BEAM.share
        assert miss < (0.01 if name in BASIS else 0.12), name


def test_without_metal_only_two_materials_are_projected() -> None:
    basis, parts = BEAM.mixtures(["mineral", "soft"])
    assert basis == ("soft", "mineral")
    assert parts.tolist() == [[0, 1], [1, 0]]


def test_water_scale_undoes_the_hardening_of_any_thickness_of_water() -> None:
    length = np.array([0.0, 3.0, 40.0, 180.0, 300.0])
    scale = WaterScale(BEAM)
    assert scale.water_mm(-np.log(BEAM.transmission("soft", length))) == pytest.approx(length, abs=0.05)
    assert scale.water_mm(np.array([-0.01]))[0] < 0


@pytest.mark.parametrize("front", [-np.inf, -5.0])
def test_length_outside_a_box_is_the_chord_of_the_ellipsoid_less_that_of_the_box(front: float) -> None:
    ball = Ellipsoid((0.0, 0.0, 0.0), (50.0, 50.0, 50.0), "soft", 2.0)
    outside = Outside((-20.0, -10.0, -30.0), (20.0, 10.0, 30.0), (ball,), front)
    rays = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0]])
    ((material, length),) = outside.lengths(np.array([-100.0, 0.0, 0.0]), rays)
    # Along x 100 mm of ball hold 40 mm of box; the oblique ray passes 60 mm off the middle.
    assert material == "soft"
    assert length == pytest.approx([2 * (100 - 40), 0.0])
    back = outside.lengths(np.array([0.0, -100.0, 0.0]), np.array([[0.0, 1.0, 0.0]]))
    assert next(back)[1] == pytest.approx([2 * (100 - 20) if np.isinf(front) else 2 * (50 + 5 - 15)])


def test_detector_reads_water_as_its_length_at_any_exposure() -> None:
    lengths = np.full((1, CLEAN.rows, CLEAN.columns), 120.0, np.float32)
    for quanta in (1e5, 1e7):
        read = Detector(replace(CLEAN, quanta=quanta), ("soft",), seed=3).read(lengths)
        assert read.mean() == pytest.approx(120, abs=0.2)


def test_noise_falls_with_the_root_of_the_quanta() -> None:
    lengths = np.full((1, CLEAN.rows, CLEAN.columns), 120.0, np.float32)
    few, many = (
        Detector(replace(CLEAN, quanta=quanta), ("soft",), seed=3).read(lengths).std()
        for quanta in (1e5, 1.6e6)
    )
    assert few / many == pytest.approx(4, rel=0.15)


def test_a_starved_reading_ends_at_the_floor_and_stays_finite() -> None:
    lengths = np.full((1, CLEAN.rows, CLEAN.columns), 400.0, np.float32)
    read = Detector(replace(CLEAN, electronic=8.0, quanta=100.0), ("amalgam",), seed=3).read(lengths)
    assert np.isfinite(read).all()
    assert 50 < read.max() < 400


def test_scatter_that_is_not_corrected_makes_metal_look_thinner() -> None:
    lengths = np.full((2, CLEAN.rows, CLEAN.columns), 0.0, np.float32)
    lengths[0] = 130
    lengths[1, 8:12, 18:22] = 6
    quiet = replace(CLEAN, quanta=1e9)
    clean = Detector(quiet, ("soft", "cobalt_chrome"), seed=1).read(lengths)
    stray = Detector(replace(quiet, scatter=0.3, scatter_corrected=0.5), ("soft", "cobalt_chrome"), 1).read(
        lengths
    )
    assert stray[10, 20] < 0.9 * clean[10, 20]
    # The calibration with water holds the scatter of water.
    assert stray[1, 1] == pytest.approx(clean[1, 1], rel=0.02)


def test_same_seed_reads_the_same_and_another_seed_other_noise() -> None:
    lengths = np.full((1, CLEAN.rows, CLEAN.columns), 100.0, np.float32)
    one, same, other = (Detector(TRAINED_SMALL, ("soft",), seed).read(lengths) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


TRAINED_SMALL = replace(TRAINED, columns=40, rows=20, pitch_mm=4.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"source_detector_mm": 400.0}, "behind the axis"),
        ({"offset_mm": 90.0}, "does not see the axis"),
        ({"offset_mm": 10.0, "arc_deg": 300.0}, "needs exactly 360"),
        ({"arc_deg": 185.0}, "needs at least 193"),
        ({"quanta": 0.0}, "not positive"),
    ],
)
def test_an_impossible_scanner_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scanner(**wrong)
