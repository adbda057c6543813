"""The simulated array on points, speckle and simple bodies whose image can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import hilbert

from medbundles.simulators.ultrasound import SOUND_SPEED, Echoes, Probe
from medbundles.simulators.ultrasound_array import Channels, ConvexArray, beamform, record
from medbundles.simulators.ultrasound_maps import Part, Region, Scene, Tissue
from medbundles.simulators.ultrasound_regions import Blob
from medbundles.simulators.ultrasound_rf import render_rf
from medbundles.simulators.ultrasound_scatterers import Cloud, interface_cloud, path_amplitude

PROBE = Probe(
    radius=40.0,
    half_angle=0.35,
    depth=60.0,
    frequency=3.5,
    bandwidth=0.6,
    f_number=2.0,
    tgc=0.0,
    noise=-200.0,
)
ARRAY = ConvexArray(PROBE, elements=56, shots=3, widest=48)
ONE_SHOT = replace(ARRAY, shots=1, spread=5.0)
SOFT = Tissue(0.0, attenuation=0.0, grain=0.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def image_of(scene: Scene) -> Echoes:
    return render_rf(scene, PROBE, rng(), ARRAY)


def level(amplitude: np.ndarray) -> float:
    """Mean power in dB."""
    return float(10 * np.log10(np.mean(amplitude**2)))


def around(depth: float, angle: float) -> tuple[np.ndarray, ...]:
    """Depths, angles, x and z of a fine beam grid around a place."""
    depths = np.linspace(depth - 1.5, depth + 1.5, 151, dtype=np.float32)
    angles = np.linspace(angle - 0.06, angle + 0.06, 161, dtype=np.float32)
    r = PROBE.radius + depths[:, None]
    return depths, angles, r * np.sin(angles), r * np.cos(angles) - np.float32(PROBE.radius)


def spot(array: ConvexArray, depth: float, angle: float) -> tuple[np.ndarray, ...]:
    """The beamformed envelope of a point of amplitude 1, with its depths and angles."""
    r = PROBE.radius + depth
    point = Cloud(*(np.float32([v]) for v in (r * np.sin(angle), r * np.cos(angle) - PROBE.radius, 1.0)))
    depths, angles, x, z = around(depth, angle)
    channels = record(array, point, np.ones((1, 1), np.float32))
    return np.abs(beamform(array, channels, x, z)), depths, angles


def half_width(values: np.ndarray, places: np.ndarray) -> float:
    """Full width at half height (-6 dB), between samples."""
    level, above = values / values.max(), np.flatnonzero(values >= values.max() / 2)
    first, last = above[0], above[-1]
    left = np.interp(0.5, level[first - 1 : first + 1], places[first - 1 : first + 1])
    return float(np.interp(-0.5, -level[last : last + 2], places[last : last + 2]) - left)


@pytest.mark.parametrize(("depth", "angle"), [(15.0, 0.0), (40.0, 0.2), (55.0, -0.25)])
def test_a_point_appears_at_its_place(depth: float, angle: float) -> None:
    image, depths, angles = spot(ARRAY, depth, angle)
    row, line = np.unravel_index(image.argmax(), image.shape)
    assert depths[row] == pytest.approx(depth, abs=0.03)
    assert angles[line] == pytest.approx(angle, abs=0.1 / (PROBE.radius + depth))
    assert 0.8 < image.max() < 1.02


def test_a_point_is_as_thick_as_the_pulse() -> None:
    image, depths, _ = spot(ARRAY, 40.0, 0.0)
    pulse = 2.355 * 0.375 / (PROBE.bandwidth * PROBE.frequency) * SOUND_SPEED / 2
    assert half_width(image.max(axis=1), depths) == pytest.approx(pulse, rel=0.05)


@pytest.mark.parametrize("depth", [20.0, 40.0, 55.0])
def test_a_point_is_as_wide_as_its_receiving_aperture_diffracts(depth: float) -> None:
    image, _, angles = spot(ONE_SHOT, depth, 0.0)
    r, places = PROBE.radius + depth, ONE_SHOT.element_angles()
    ex, ez = PROBE.radius * np.sin(places), PROBE.radius * (np.cos(places) - 1)
    share = np.clip(np.abs(places) * PROBE.radius / ONE_SHOT.half_aperture(np.float32(depth)), 0, 1)
    way = np.hypot(r * np.sin(angles)[:, None] - ex, r * np.cos(angles)[:, None] - PROBE.radius - ez)
    waves = np.exp(2j * np.pi * PROBE.frequency / SOUND_SPEED * (way - np.hypot(ex, depth - ez)))
    ears = [ONE_SHOT.heard(place, np.float32(0), np.float32(depth))[1] for place in places]
    theory = np.abs(((0.5 + 0.5 * np.cos(np.pi * share)) * ears * waves).sum(axis=1))
    assert half_width(image.max(axis=0), angles) == pytest.approx(half_width(theory, angles), rel=0.06)


def test_more_shots_make_a_point_narrower() -> None:
    (one, _, angles), (many, *_) = spot(ONE_SHOT, 50.0, 0.0), spot(ARRAY, 50.0, 0.0)
    assert half_width(many.max(axis=0), angles) < 0.95 * half_width(one.max(axis=0), angles)


def test_speckle_is_rayleigh_distributed_and_tissue_of_0_db_has_about_unit_power() -> None:
    amplitude = image_of(Scene(SOFT)).amplitude[100:-60, 30:-30]
    # The brightness changes slowly with depth and between shots; speckle is what is left.
    speckle = amplitude / np.sqrt(gaussian_filter(amplitude**2, (60, 25)))
    assert speckle.mean() / speckle.std() == pytest.approx(1.913, rel=0.06)
    assert abs(level(amplitude)) < 3


def test_a_cyst_is_dark_to_its_border() -> None:
    cyst = Part(Blob((0.0, 35.0), (9.0, 9.0)), Tissue(-80.0, 0.0))
    echoes = image_of(Scene(SOFT, [cyst]))
    x, z = echoes.probe.grid()
    away = np.hypot(x, z - 35)
    assert level(echoes.amplitude[away < 6]) < level(echoes.amplitude[(away > 12) & (away < 18)]) - 25
    assert level(echoes.amplitude[away < 8]) < -15


def test_echo_falls_by_twice_attenuation_times_frequency_per_cm() -> None:
    powers = [
        (image_of(Scene(Tissue(0.0, loss, grain=0.0))).amplitude ** 2).mean(axis=1) for loss in (0.0, 0.7)
    ]
    # Points and noise are the same, so what is left of the ratio is the loss.
    decibel = 10 * np.log10(powers[1] / powers[0])[80:-40]
    depth = np.linspace(0, PROBE.depth, len(powers[0]))[80:-40] / 10
    assert np.polyfit(depth, decibel, 1)[0] == pytest.approx(-2 * 0.7 * 3.5, rel=0.04)


def test_loss_along_a_path_is_attenuation_times_its_length() -> None:
    maps = Scene(Tissue(0.0, 0.5)).paint(*PROBE.grid())
    point = Cloud(*(np.float32([v]) for v in (10.0, 50.0, 1.0)))
    kept = path_amplitude(maps, PROBE, point, np.array([0.0, 0.3]))
    starts = np.array([(40 * np.sin(a), 40 * np.cos(a) - 40) for a in (0.0, 0.3)])
    length = np.hypot(*(np.array([10.0, 50.0]) - starts).T)
    assert -20 * np.log10(kept[:, 0]) == pytest.approx(0.5 * 3.5 * length / 10, rel=0.02)


def test_tissue_behind_bone_is_darker_than_beside_it() -> None:
    bone = Part(Blob((0.0, 25.0), (7.0, 2.0)), Tissue(0.0, 8.0, impedance=2.0))
    echoes = image_of(Scene(SOFT, [bone]))
    below = (echoes.probe.depths() > 33) & (echoes.probe.depths() < 55)
    middle, beside = np.abs(echoes.probe.angles()) < 0.03, np.abs(echoes.probe.angles()) > 0.25
    assert level(echoes.amplitude[below][:, middle]) < level(echoes.amplitude[below][:, beside]) - 15


def test_an_interface_lies_on_the_border_and_shines_only_where_it_faces_the_probe() -> None:
    border: Region = Blob((0.0, 35.0), (12.0, 12.0))
    scene = Scene(Tissue(-60.0, 0.0, grain=0.0), [Part(border, Tissue(-60.0, 0.0, impedance=1.7, grain=0.0))])
    cloud = interface_cloud(scene, PROBE, rng())
    assert np.abs(np.hypot(cloud.x, cloud.z - 35) - 12).max() < 0.3
    echoes = image_of(scene)
    x, z = echoes.probe.grid()
    rim, off = np.abs(np.hypot(x, z - 35) - 12) < 0.5, np.abs(np.arctan2(x, 35 - z))
    assert (
        level(echoes.amplitude[rim & (off < 0.15)])
        > level(echoes.amplitude[rim & (np.abs(off - 1.55) < 0.35)]) + 10
    )


def test_a_seed_gives_the_same_echoes() -> None:
    array = replace(ARRAY, elements=16, shots=1)
    first, again, other = (
        render_rf(Scene(SOFT), replace(PROBE, depth=20.0), np.random.default_rng(seed), array).amplitude
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("depth", [20.0, 40.0, 55.0])
def test_another_simulator_of_arrays_puts_a_point_at_the_same_place_as_wide(depth: float) -> None:
    fast_simus = pytest.importorskip("fast_simus")
    # The whole array fires at once: a circular wave from its centre of curvature.
    array = replace(ONE_SHOT, behind=PROBE.radius)
    step, metre = 2 * PROBE.half_angle / array.elements, 1e3
    chord = 2 * PROBE.radius * np.sin(step / 2) / metre
    transducer = fast_simus.TransducerParams(
        freq_center=PROBE.frequency * 1e6,
        pitch=chord,
        kerf=0.0,
        n_elements=array.elements,
        radius=PROBE.radius / metre,
        bandwidth=PROBE.bandwidth,
    )
    elements = fast_simus.element_positions(array.elements, chord, PROBE.radius / metre, np)[0]
    # Its origin lies between the ends of the array, ours on the middle of the surface.
    angles = array.element_angles()
    lift = elements[:, 1].max() * metre + PROBE.radius * (1 - np.cos(np.abs(angles).min()))
    point, silent = np.array([[0.0, (depth + lift) / metre]]), np.zeros(array.elements)
    rate = 8 * PROBE.frequency
    plan = fast_simus.simus_precompute(point, np.ones(1), silent, transducer, fs=rate * 1e6)
    traces = fast_simus.simus_compute(point, np.ones(1), silent, plan, transducer).rf
    wave = hilbert(np.asarray(traces), axis=0)
    wave *= np.exp(-2j * np.pi * PROBE.frequency * np.arange(len(wave))[:, None] / rate)
    channels = Channels(wave.T[:, None].astype(np.complex64), rate, PROBE.frequency)
    depths, places, x, z = around(depth, 0.0)
    theirs, (ours, *_) = np.abs(beamform(array, channels, x, z)), spot(array, depth, 0.0)
    row, line = np.unravel_index(theirs.argmax(), theirs.shape)
    assert depths[row] == pytest.approx(depth, abs=0.1)
    assert places[line] == pytest.approx(0.0, abs=0.1 / (PROBE.radius + depth))
    assert half_width(theirs.max(axis=0), places) == pytest.approx(
        half_width(ours.max(axis=0), places), rel=0.1
    )
