"""Simulated amniotic fluid examinations: labels, exact pockets, and what four frames share."""

from dataclasses import replace

import numpy as np
import pytest

from medbundles.simulators.ultrasound import Echoes, Probe
from medbundles.simulators.ultrasound_display import View
from medbundles.simulators.ultrasound_examination import draw_depths, draw_index
from medbundles.simulators.ultrasound_fetus import Fetus
from medbundles.simulators.ultrasound_fluid import FluidFrame, photograph, quadrants
from medbundles.simulators.ultrasound_maps import Part, Region, Scene, Tissue
from medbundles.simulators.ultrasound_mother import Patient
from medbundles.simulators.ultrasound_pockets import (
    FETUS,
    FLUID,
    REVERBERATION,
    FluidScene,
    Haze,
    Seen,
    deepest_column,
    is_fluid,
)
from medbundles.simulators.ultrasound_regions import Blob, Tube

SMALL = (320, 216)
PROBE = Probe(radius=50.0, half_angle=0.7, depth=140.0, lines=100, samples=280)
VIEW = View((-80.0, -12.0), 0.5, (320, 310))
FLESH, WATER = Tissue(-12.0, 0.5), Tissue(-60.0, 0.06, 1.56)
BONE = Tissue(0.0, 20.0, 1.9)


def coarse(scene: Scene, probe: Probe, rng: np.random.Generator) -> Echoes:
    """A renderer that spends little: the tissues' mean echo on a small grid."""
    probe = replace(probe, lines=100, samples=280)
    maps = scene.paint(*probe.grid(), surface=probe.radius)
    return Echoes(10 ** (maps.echo / 20), probe, maps)


@pytest.fixture(scope="module")
def patient() -> list[FluidFrame]:
    return quadrants(3, afi_mm=140.0, size=SMALL)


@pytest.fixture(scope="module")
def dry_patient() -> list[FluidFrame]:
    return quadrants(2, afi_mm=0.0, size=SMALL, renderer=coarse)


def seen(*regions: tuple[Region, Tissue, int], haze: Haze | None = None) -> Seen:
    return Seen.of(FluidScene(FLESH, [Part(*region) for region in regions], haze=haze), PROBE, VIEW)


def pool(half_width: float, half_height: float, x: float = 0.0) -> tuple[Blob, Tissue, int]:
    return Blob((x, 70.0), (half_width, half_height)), WATER, FLUID


def test_an_ellipse_of_fluid_is_as_deep_as_its_height() -> None:
    caliper = seen(pool(30.0, 22.0, x=4.0)).deepest_pocket()
    assert caliper.depth_mm == pytest.approx(44.0, abs=0.02)
    assert caliper.top == pytest.approx((4.0, 48.0), abs=0.2)
    assert caliper.bottom == pytest.approx((4.0, 92.0), abs=0.2)


def test_depth_is_vertical_also_in_a_leaning_pocket() -> None:
    leaning = (Blob((0.0, 70.0), (40.0, 15.0), 0.9), WATER, FLUID)
    # The vertical chord through the middle of the ellipse, by hand.
    chord = 2 / np.hypot(np.sin(0.9) / 40, np.cos(0.9) / 15)
    assert seen(leaning).deepest_pocket().depth_mm == pytest.approx(chord, abs=0.05)


def test_a_limb_divides_a_pocket_into_two_depths() -> None:
    limb = (Tube(((-60.0, 64.0), (60.0, 64.0)), 4.0), FLESH, FETUS)
    caliper = seen(pool(30.0, 22.0), limb).deepest_pocket()
    assert caliper.depth_mm == pytest.approx(92.0 - 68.0, abs=0.02)
    assert caliper.top[1] == pytest.approx(68.0, abs=0.02)


def test_a_deep_cleft_narrower_than_a_centimetre_is_not_measured() -> None:
    cleft = (Tube(((40.0, 40.0), (40.0, 100.0)), 4.0), WATER, FLUID)
    assert seen(cleft).deepest_pocket() is None
    assert seen(cleft, pool(20.0, 8.0)).deepest_pocket().depth_mm == pytest.approx(16.0, abs=0.1)


@pytest.mark.parametrize(("width", "found"), [(9.0, False), (11.0, True)])
def test_a_pocket_counts_from_one_centimetre_of_width(width: float, found: bool) -> None:
    fluid = np.zeros((100, 100), bool)
    fluid[20 : 20 + round(width / 0.5), 10:90] = True
    column = deepest_column(fluid, 0.5)
    assert (column is not None) is found
    if found:
        assert (column.start, column.stop, column.width) == (10, 90, 11.0)


def test_fluid_ends_where_the_sector_does() -> None:
    shaft = (Tube(((0.0, -40.0), (0.0, 300.0)), 15.0), WATER, FLUID)
    caliper = seen(shaft).deepest_pocket()
    ends = [PROBE.beam_coordinates(*np.float32(end))[0] for end in (caliper.top, caliper.bottom)]
    assert ends == pytest.approx([0.0, PROBE.depth], abs=0.05)


def test_fluid_in_the_deep_shadow_of_bone_is_not_labelled() -> None:
    bone = (Blob((0.0, 40.0), (8.0, 4.0)), BONE, FETUS)
    labels = seen(pool(60.0, 20.0), bone).labels(np.float32([0.0, 40.0]), np.float32([70.0, 70.0]))
    assert labels.tolist() == [0, FLUID]


def test_fluid_in_a_narrow_shadow_is_fluid_as_a_reader_would_have_it() -> None:
    bone = (Blob((0.0, 40.0), (2.0, 4.0)), BONE, FETUS)
    shown = seen(pool(60.0, 20.0), bone)
    loss = np.cumsum(shown.scene.paint(*PROBE.grid()).attenuation, axis=0)
    assert loss[140, 50] > 2 * loss[140, 10]
    assert shown.labels(np.float32([0.0]), np.float32([70.0])).tolist() == [FLUID]


def test_haze_under_the_near_wall_has_its_label_fades_with_depth_and_counts_as_fluid() -> None:
    haze = Haze(radius=50.0, top=48.0, level=-20.0, fall=1.5)
    shown = seen(pool(30.0, 22.0), haze=haze)
    z = np.float32([50.0, 58.0, 62.0, 80.0])
    assert shown.labels(0 * z, z).tolist() == [REVERBERATION, REVERBERATION, FLUID, FLUID]
    assert shown.deepest_pocket().depth_mm == pytest.approx(44.0, abs=0.05)
    echo = shown.scene.paint(0 * z, z).echo
    assert echo[0] > echo[3] + 10


def test_a_frame_shows_fluid_darker_than_tissue_and_its_caliper_ends_on_fluid(
    patient: list[FluidFrame],
) -> None:
    clear = [f.image[f.label == FLUID] for f in patient]
    tissue = [f.image[(f.label == 0) & (f.image > 0)] for f in patient]
    assert all(np.median(c) < 0.6 * np.median(t) for c, t in zip(clear, tissue, strict=True))
    for frame in patient:
        (x, top), (_, bottom) = frame.truth["ends"]
        column = is_fluid(frame.label)[round(x)]
        assert column[round(top) + 1 : round(bottom) - 1].all()
        assert (bottom - top) * frame.spacing_mm == pytest.approx(frame.truth["depth_mm"], abs=1e-6)


def test_four_frames_of_a_patient_add_up_to_about_the_index_asked_for(patient: list[FluidFrame]) -> None:
    assert [frame.truth["quadrant"] for frame in patient] == [1, 2, 3, 4]
    assert sum(frame.truth["depth_mm"] for frame in patient) == pytest.approx(140.0, rel=0.25)


def test_frames_of_a_patient_share_scale_and_sector_but_not_anatomy(patient: list[FluidFrame]) -> None:
    assert len({frame.spacing_mm for frame in patient}) == 1
    assert len({frame.view for frame in patient}) == 1
    assert not np.array_equal(patient[0].label, patient[1].label)


def test_a_seed_gives_the_same_examination(patient: list[FluidFrame], dry_patient: list[FluidFrame]) -> None:
    again = quadrants(2, afi_mm=0.0, size=SMALL, renderer=coarse)
    for first, second in zip(dry_patient, again, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.label, second.label)
        assert first.truth == second.truth
    assert not np.array_equal(dry_patient[0].label, patient[0].label)


def test_a_patient_without_water_has_no_fluid_no_caliper_and_depth_zero(
    dry_patient: list[FluidFrame],
) -> None:
    for frame in dry_patient:
        assert not is_fluid(frame.label).any()
        assert frame.caliper is None
        assert frame.truth["depth_mm"] == 0.0


def test_marks_stay_outside_the_sector(dry_patient: list[FluidFrame]) -> None:
    plain = quadrants(2, afi_mm=0.0, size=SMALL, renderer=coarse, marks=False)
    probe = Patient.draw(np.random.default_rng(2), 0.0, SMALL).probe
    depth, angle = probe.beam_coordinates(*plain[0].view.grid())
    sector = (depth >= 0) & (depth <= probe.depth) & (np.abs(angle) <= probe.half_angle)
    changed = np.array([a.image != b.image for a, b in zip(plain, dry_patient, strict=True)])
    assert changed.any()
    assert not changed[:, sector].any()


def test_the_mothers_bladder_is_as_dark_as_fluid_and_is_none() -> None:
    rng = np.random.default_rng(4)
    who = replace(Patient.draw(rng, 150.0, SMALL), haze=None)
    parts = [*who.near_wall(40.0, rng), *who.bladder(40.0, rng)]
    scene = FluidScene(FLESH, [Part(*pool(90.0, 40.0)), *parts])
    x, z = np.meshgrid(np.arange(-70, 70, 1.0, np.float32), np.arange(5, 60, 1.0, np.float32))
    dark = (scene.paint(x, z).echo < -52) & (np.hypot(x, z + who.probe.radius) < who.probe.radius + 34)
    assert dark.sum() > 100
    assert not is_fluid(scene.labels(x, z))[dark].any()


@pytest.mark.parametrize("kind", ["limb_across", "cord_loop", "trunk_across", "head_cut"])
def test_everything_of_the_fetus_carries_its_label_also_its_own_fluid(kind: str) -> None:
    rng = np.random.default_rng(8)
    parts = getattr(Fetus.draw(rng), kind)((0.0, 60.0), rng)
    assert {part.label for part in parts} == {FETUS}
    x, z = np.meshgrid(np.arange(-60, 60, 1.0, np.float32), np.arange(0, 120, 1.0, np.float32))
    labels = Scene(FLESH, [Part(*pool(90.0, 80.0)), *parts]).labels(x, z)
    assert (labels == FETUS).sum() > 30


def test_indices_run_from_none_to_350_mm_about_a_mean_of_150() -> None:
    rng = np.random.default_rng(0)
    values = np.array([draw_index(rng) for _ in range(2000)])
    assert 0 <= values.min() < 10
    assert 330 < values.max() <= 350
    assert values.mean() == pytest.approx(150, abs=10)


def test_little_water_leaves_some_quadrants_empty() -> None:
    rng = np.random.default_rng(0)
    dry = np.array([np.count_nonzero(np.array(draw_depths(rng, 30.0)) == 0) for _ in range(200)])
    wet = np.array([np.count_nonzero(np.array(draw_depths(rng, 200.0)) == 0) for _ in range(200)])
    assert dry.mean() > 0.8
    assert wet.mean() < 0.2


def test_a_frame_drawn_by_another_renderer_has_the_same_truth() -> None:
    rng = np.random.default_rng(3)
    who = Patient.draw(rng, 120.0, SMALL)
    scene = FluidScene(who.outside, [Part(Blob((0.0, who.near + 20), (40.0, 15.0)), who.water, FLUID)])
    frames = [
        photograph(scene, who, 0, np.random.default_rng(1), marks=False, **option)
        for option in ({}, {"renderer": coarse})
    ]
    assert frames[0].caliper == frames[1].caliper
    assert np.array_equal(frames[0].label, frames[1].label)
    assert not np.array_equal(frames[0].image, frames[1].image)
