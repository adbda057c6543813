"""Frames of heads and abdomens with labels of fluid, and fetal parts that echo less than usual."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from medbundles.simulators.ultrasound import Probe
from medbundles.simulators.ultrasound_biometry import muscle, simulate_biometry
from medbundles.simulators.ultrasound_fluid import FluidFrame
from medbundles.simulators.ultrasound_maps import Part, Scene, Tissue
from medbundles.simulators.ultrasound_pockets import FETUS, FLUID, deepest_column, is_fluid
from medbundles.simulators.ultrasound_regions import Blob
from medbundles.simulators.ultrasound_scenes import draw_head
from medbundles.simulators.ultrasound_varied import SOFT_DB, render_varied, vary

SMALL = (320, 216)
SKULL, BRAIN, WATER = Tissue(6.0, 2.0, 1.7), Tissue(-22.0, 0.4, 1.6), Tissue(-60.0, 0.06, 1.54)
HEAD = Blob((0.0, 60.0), (40.0, 32.0))
PARTS = [
    Part(Blob((0.0, 70.0), (90.0, 60.0)), WATER, FLUID),
    Part(HEAD, SKULL, FETUS),
    Part(HEAD.shrunk(2.0), BRAIN, FETUS),
    Part(Blob((50.0, 60.0), (5.0, 4.0)), BRAIN, FETUS),
]


@pytest.fixture(scope="module")
def frames() -> list[FluidFrame]:
    return [simulate_biometry(seed, size=SMALL) for seed in range(12)]


def test_the_fetus_fills_much_of_the_frame_and_fluid_lies_around_it(frames: list[FluidFrame]) -> None:
    shares = [np.mean(frame.label == FETUS) for frame in frames]
    assert min(shares) > 0.08 and max(shares) < 0.9
    assert sum(np.any(is_fluid(frame.label)) for frame in frames) >= 5


def test_fluid_is_darker_than_the_tissue_beside_it(frames: list[FluidFrame]) -> None:
    differences = []
    for frame in frames:
        fluid = frame.label == FLUID
        if fluid.sum() > 300:
            differences.append(np.median(frame.image[frame.label == FETUS]) - np.median(frame.image[fluid]))
    assert len(differences) >= 4 and np.median(differences) > 10


def test_the_caliper_is_as_long_as_the_deepest_column_of_the_label(frames: list[FluidFrame]) -> None:
    compared = 0
    for frame in frames:
        found = deepest_column(is_fluid(frame.label), frame.spacing_mm)
        if found is not None and frame.caliper is not None:
            depth = (found.stop - found.start) * frame.spacing_mm
            assert frame.truth["depth_mm"] == pytest.approx(depth, abs=3 * frame.spacing_mm)
            compared += 1
        assert frame.truth["quadrant"] == 0
    assert compared >= 3


def test_the_fetus_may_lie_in_fluid_or_against_the_wall(frames: list[FluidFrame]) -> None:
    shares = []
    for frame in frames:
        fetus = frame.label == FETUS
        rim = binary_dilation(fetus, iterations=4) & ~fetus
        shares.append(float(np.mean(is_fluid(frame.label)[rim])))
    assert min(shares) < 0.35 and max(shares) > 0.6


def test_dark_muscle_along_the_fetus_is_no_fluid() -> None:
    body = draw_head(np.random.default_rng(1), 250.0)
    found = [part for seed in range(12) for part in muscle(body, np.random.default_rng(seed))]
    assert 6 <= len(found) <= 30
    angles = np.linspace(0, 2 * np.pi, 721)
    reach = 1.02 * body.size
    x, z = body.centre[0] + reach * np.cos(angles), body.centre[1] + reach * np.sin(angles)
    for part in found:
        assert part.label == 0 and -33 <= part.tissue.echo <= -18
    assert np.mean([part.region.inside(np.float32(x), np.float32(z)).any() for part in found]) > 0.5


def test_a_seed_gives_one_frame() -> None:
    first, again, other = (simulate_biometry(seed, size=SMALL) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.label, again.label)
    assert not np.array_equal(first.image, other.image)


def test_only_tissues_of_the_fetus_are_varied_and_no_outline() -> None:
    changed = 0
    for seed in range(20):
        parts = vary(PARTS, np.random.default_rng(seed))
        assert parts[0] == PARTS[0]
        for before, after in zip(PARTS, parts, strict=True):
            assert (after.region, after.label) == (before.region, before.label)
            assert after.tissue.attenuation == before.tissue.attenuation
            assert after.tissue.echo <= before.tissue.echo
            changed += after.tissue != before.tissue
    assert 10 < changed < 50


def test_a_head_may_be_nearly_as_dark_as_fluid_but_no_limb() -> None:
    drawn = [vary(PARTS, np.random.default_rng(seed)) for seed in range(60)]
    brains, limbs = ([parts[i].tissue.echo for parts in drawn] for i in (2, 3))
    assert min(brains) < -40 and min(brains) >= SOFT_DB
    assert set(limbs) == {BRAIN.echo}


def test_a_lost_skull_no_longer_shines() -> None:
    probe = Probe(radius=50.0, half_angle=0.5, depth=120.0, lines=120, samples=320)
    scene, skull, brain = Scene(Tissue(-12.0), PARTS, 1), [], []
    radius = HEAD.polar(*probe.grid())[0]
    for seed in range(24):
        amplitude = render_varied(scene, probe, np.random.default_rng(seed)).amplitude
        skull.append(float(np.percentile(amplitude[(radius > 0.95) & (radius < 1)], 90)))
        brain.append(float(np.median(amplitude[radius < 0.8])))
    assert max(skull) > 6 * min(skull)
    assert max(brain) > 3 * min(brain)


def test_variation_leaves_the_scene_as_it_was() -> None:
    scene = Scene(Tissue(-12.0), list(PARTS), 1)
    copy = replace(scene, parts=list(PARTS))
    render_varied(scene, Probe(lines=60, samples=120), np.random.default_rng(5))
    assert scene == copy
