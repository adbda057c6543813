"""The physics of the simulated ultrasound, on scenes whose echo can be worked out by hand."""

import numpy as np
import pytest

from medbundles.simulators.ultrasound import Probe, interfaces, render, two_way_loss
from medbundles.simulators.ultrasound_display import Machine, View, scan_convert, show
from medbundles.simulators.ultrasound_maps import Part, Scene, Tissue
from medbundles.simulators.ultrasound_regions import Blob, Both, Layer, Rippled, Tube, random_ripple

# Nothing but speckle: no gain, noise, side lobes or absorption.
QUIET = {"tgc": 0.0, "noise": -200.0, "clutter": -np.inf}
SOFT = Tissue(echo=0.0, attenuation=0.0, grain=0.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def level(amplitude: np.ndarray) -> float:
    """Mean power in dB."""
    return float(10 * np.log10(np.mean(amplitude**2)))


def test_speckle_of_uniform_tissue_is_rayleigh_distributed() -> None:
    amplitude = render(Scene(SOFT), Probe(**QUIET), rng()).amplitude[60:-60, 20:-20]
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.913, rel=0.03)


def test_speckle_keeps_the_power_of_the_tissue_at_every_depth() -> None:
    amplitude = render(Scene(SOFT), Probe(**QUIET), rng()).amplitude
    assert all(abs(level(band)) < 0.8 for band in np.array_split(amplitude[40:-40], 5))


def test_echo_falls_by_twice_attenuation_times_frequency_per_cm() -> None:
    probe = Probe(frequency=3.0, **QUIET)
    scene = Scene(Tissue(echo=0.0, attenuation=0.7, grain=0.0))
    power = 10 * np.log10((render(scene, probe, rng()).amplitude ** 2).mean(axis=1))
    slope = np.polyfit(probe.depths()[40:-40] / 10, power[40:-40], 1)[0]
    assert slope == pytest.approx(-2 * 0.7 * 3.0, rel=0.02)


def test_gain_over_depth_levels_tissue_of_the_attenuation_it_is_set_to() -> None:
    probe = Probe(**{**QUIET, "tgc": 0.5})
    amplitude = render(Scene(Tissue(0.0, attenuation=0.5, grain=0.0)), probe, rng()).amplitude
    assert abs(level(amplitude[700:900]) - level(amplitude[60:260])) < 0.8


def test_tissue_behind_bone_is_darker_than_beside_it() -> None:
    probe = Probe(**QUIET)
    bone = Part(Blob((0.0, 50.0), (8.0, 2.0)), Tissue(0.0, attenuation=8.0, impedance=2.0))
    amplitude = render(Scene(SOFT, [bone]), probe, rng()).amplitude
    below = (probe.depths() > 70) & (probe.depths() < 110)
    middle = np.abs(probe.angles()) < 0.03
    beside = np.abs(probe.angles()) > 0.3
    assert level(amplitude[below][:, middle]) < level(amplitude[below][:, beside]) - 15


def test_tissue_behind_fluid_is_brighter_than_beside_it() -> None:
    probe = Probe(**{**QUIET, "tgc": 0.5})
    fluid = Part(Blob((0.0, 50.0), (15.0, 15.0)), Tissue(-60.0, attenuation=0.0))
    tissue = Tissue(0.0, attenuation=0.5, grain=0.0)
    amplitude = render(Scene(tissue, [fluid]), probe, rng()).amplitude
    below = (probe.depths() > 75) & (probe.depths() < 110)
    gained = level(amplitude[below][:, np.abs(probe.angles()) < 0.04]) - level(
        amplitude[below][:, np.abs(probe.angles()) > 0.3]
    )
    assert gained == pytest.approx(3.0 * 2 * 0.5 * probe.frequency, abs=1.5)


def test_fluid_is_dark() -> None:
    probe = Probe(**QUIET)
    fluid = Part(Blob((0.0, 70.0), (20.0, 20.0)), Tissue(-60.0))
    amplitude = render(Scene(SOFT, [fluid]), probe, rng()).amplitude
    inside = amplitude[440:520, 190:210]
    assert level(inside) < -30


def test_loss_grows_where_impedance_jumps() -> None:
    probe, scene = Probe(), Scene(SOFT, [Part(Layer(50, 60, 50.0), Tissue(0.0, 0.0, impedance=3.0))])
    loss = two_way_loss(scene.paint(*probe.grid(), surface=50.0), probe)
    once = -20 * np.log10(4 * 1.62 * 3.0 / (1.62 + 3.0) ** 2)
    assert loss[-1].mean() == pytest.approx(2 * once, rel=0.01)


def test_an_interface_shines_where_it_faces_the_beam_and_drops_out_beside_it() -> None:
    probe = Probe()
    scene = Scene(SOFT, [Part(Blob((0.0, 70.0), (30.0, 30.0)), Tissue(0.0, 0.0, impedance=1.7))])
    answer = interfaces(scene.paint(*probe.grid()).impedance, probe)
    x, z = probe.grid()
    rim = np.abs(np.hypot(x, z - 70) - 30) < 1
    facing, turned = rim & (np.abs(x) < 5), rim & (np.abs(x) > 29)
    assert answer[facing].max() > 5 * answer[turned].max()


def test_the_beam_is_narrowest_at_its_focus() -> None:
    probe = Probe(focus=70.0)
    line = 2 * probe.half_angle / (probe.lines - 1) * (probe.radius + probe.depths())
    width = probe.lateral_sigma() * line
    narrowest = probe.depths()[width.argmin()]
    assert 50 < narrowest < 75
    assert width[-1] > 1.5 * width.min()


def test_a_picture_puts_every_echo_at_its_place() -> None:
    probe, view = Probe(), View((-60.0, 5.0), 0.5, (240, 200))
    depth, sector = scan_convert(np.repeat(probe.depths()[:, None], probe.lines, axis=1), probe, view)
    x, z = view.grid()
    expected = np.hypot(x, z + probe.radius) - probe.radius
    assert np.abs(depth - expected)[sector].max() < 0.01
    assert np.array_equal(
        sector, (np.abs(np.arctan2(x, z + 50)) <= 0.6) & (expected <= 140) & (expected >= 0)
    )


def test_a_picture_is_black_outside_the_sector_and_shows_the_reference_at_its_grey() -> None:
    probe, view = Probe(**QUIET), View((-120.0, -10.0), 0.5, (480, 330))
    machine = Machine(level=0.4, gamma=1.0, edges=0.0, levelling=0.0)
    echoes = render(Scene(SOFT), probe, rng())
    picture, sector = show(echoes, view, machine, reference=float(np.median(echoes.amplitude)))
    assert picture[~sector].max() == 0
    assert np.median(picture[sector]) == pytest.approx(0.4, abs=0.03)


def test_layered_texture_is_parallel_to_the_probe() -> None:
    probe = Probe()
    scene = Scene(Tissue(0.0, grain=1.0, texture="layered"), seed=3)
    echo = scene.paint(*probe.grid(), surface=probe.radius).echo
    assert np.diff(echo, axis=0).std() / 0.146 > 3 * np.diff(echo, axis=1).std() / 0.36


def test_paint_order_decides_which_tissue_and_label_a_point_has() -> None:
    parts = [
        Part(Blob((0.0, 0.0), (4.0, 4.0)), Tissue(-5.0, grain=0.0), 1),
        Part(Blob((0.0, 0.0), (2.0, 2.0)), Tissue(-7.0, grain=0.0)),
        Part(Blob((0.0, 0.0), (1.0, 1.0)), Tissue(-9.0, grain=0.0), 2),
    ]
    scene, x = Scene(SOFT, parts), np.float32([0.0, 1.5, 3.0, 5.0])
    assert scene.labels(x, 0 * x).tolist() == [2, 1, 1, 0]
    assert scene.paint(x, 0 * x).echo.tolist() == [-9.0, -7.0, -5.0, 0.0]


@pytest.mark.parametrize(
    "region",
    [
        Blob((3.0, -2.0), (9.0, 4.0), 0.7, ((3, 0.2, 1.0),)),
        Tube(((0.0, 0.0), (5.0, 4.0), (6.0, 12.0)), 2.0, taper=1.3),
        Rippled(Blob((3.0, -2.0), (9.0, 4.0), 0.7), random_ripple(np.random.default_rng(1), 2.0)),
        Both(Blob((3.0, -2.0), (9.0, 4.0)), Blob((0.0, 0.0), (5.0, 5.0))),
    ],
)
def test_bounds_enclose_the_region(region: Blob) -> None:
    x, z = np.meshgrid(
        np.linspace(-40, 40, 400, dtype=np.float32), np.linspace(-40, 40, 400, dtype=np.float32)
    )
    inside, (cx, cz, radius) = region.inside(x, z), region.bounds
    assert inside.any()
    assert np.hypot(x - cx, z - cz)[inside].max() <= radius + 1e-3
