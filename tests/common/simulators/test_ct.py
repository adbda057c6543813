"""The simulated CT scanner, on discs whose HU, place and noise can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from medbundles.errors import InputError
from medbundles.simulators import ct
from medbundles.simulators.ct import OTHER, TRAINED, Projector, Scanner, acquire, acquire_doses

SIZE, PIXEL = 160, 2.0
# Coarse and quick, but with the default noise model.
PARALLEL = Scanner(views=300, bins=220, bin_mm=1.6, exposure_control=0.0)
FAN = replace(PARALLEL, geometry="fan", views=600)
QUIET = replace(PARALLEL, electronic=0.0, bowtie=0.0)
X, Y = np.meshgrid(*2 * [PIXEL * (np.arange(SIZE) - (SIZE - 1) / 2)], indexing="ij")


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """Part of each pixel that lies in a disc."""
    return np.clip(0.5 - (np.hypot(X - x, Y - y) - radius) / PIXEL, 0, 1).astype(np.float32)


def middle(x: float, y: float, radius: float) -> np.ndarray:
    return np.hypot(X - x, Y - y) < radius


def phantom() -> np.ndarray:
    """Water of 10 cm radius with a bright disc at the left front and lung at the right back."""
    return -1000 + 1000 * disc(0, 0, 100) + 150 * disc(50, -30, 25) - 800 * disc(-45, 35, 30)


WATER = -1000 + 1000 * disc(0, 0, 100)


def noise(hu: np.ndarray, scanner: Scanner, dose: float) -> np.ndarray:
    result = acquire(hu, PIXEL, scanner, dose, rng())
    return result.image - result.truth


@pytest.mark.parametrize("scanner", [PARALLEL, FAN, PARALLEL.with_kernel("sharp")])
def test_noise_free_slice_has_the_hu_of_every_disc_at_its_place(scanner: Scanner) -> None:
    truth = acquire(phantom(), PIXEL, scanner, 1.0, rng()).truth
    for x, y, hu in ((50, -30, 150), (-45, 35, -800), (0, -60, 0)):
        assert truth[middle(x, y, 14)].mean() == pytest.approx(hu, abs=1.5)
    # The mirror images of the discs are water: left and right, front and back are kept apart.
    for x, y in ((-50, -30), (50, 30)):
        assert truth[middle(x, y, 12)].mean() == pytest.approx(0, abs=1.5)


def test_noise_free_disc_is_flat_to_the_rim() -> None:
    truth = acquire(WATER, PIXEL, PARALLEL, 1.0, rng()).truth
    # Nearer to the rim the band limit of such coarse pixels rings.
    assert np.abs(truth[middle(0, 0, 70)]).max() < 2
    assert np.abs(truth[middle(0, 0, 84)]).max() < 10
    assert np.abs(truth[~middle(0, 0, 125)] + 1000).max() < 10


def test_line_integrals_are_those_of_a_water_cylinder() -> None:
    sinogram = Projector(PARALLEL, SIZE, PIXEL).project(WATER)
    distance = PARALLEL.distances()
    chord = 2 * np.sqrt(np.clip(100**2 - distance**2, 0, None)) * PARALLEL.water
    inside = np.abs(distance) < 92
    assert sinogram.shape == (300, 220)
    assert np.abs(sinogram - chord)[:, inside].max() < 0.01 * chord.max()


@pytest.mark.parametrize("scanner", [PARALLEL, FAN])
def test_an_off_centre_disc_casts_its_shadow_where_the_geometry_says(scanner: Scanner) -> None:
    machine = Projector(scanner, SIZE, PIXEL)
    sinogram = machine.project(-1000 + 1000 * disc(60, -20, 12))
    turn = np.arange(scanner.views) * (np.pi if scanner.geometry == "parallel" else 2 * np.pi) / scanner.views
    seen = sinogram @ scanner.distances() / sinogram.sum(axis=1)
    if scanner.geometry == "parallel":
        assert np.abs(seen - (60 * np.cos(turn) - 20 * np.sin(turn))).max() < 0.4
        return
    # Seen from the source, the disc's distance from the central ray over its distance in depth.
    across = 60 * np.cos(turn) - 20 * np.sin(turn)
    deep = scanner.source_mm + (60 * np.sin(turn) + 20 * np.cos(turn)) * np.array([[1], [-1]])
    expected = scanner.source_mm * np.sin(np.arctan2(across, deep))
    assert min(np.abs(seen - one).max() for one in expected) < 0.4


def test_fan_and_parallel_scanners_agree_without_noise() -> None:
    parallel = acquire(phantom(), PIXEL, PARALLEL, 1.0, rng()).truth
    fan = acquire(phantom(), PIXEL, FAN, 1.0, rng()).truth
    assert np.sqrt(np.mean((parallel - fan) ** 2)) < 4
    assert np.abs(parallel - fan)[middle(0, 0, 15)].max() < 4


@pytest.mark.parametrize("scanner", [QUIET, replace(QUIET, geometry="fan", views=600)])
def test_noise_variance_is_inverse_to_dose(scanner: Scanner) -> None:
    clean, images = acquire_doses(WATER, PIXEL, scanner, (1.0, 0.25), rng())
    variance = {dose: (image - clean)[middle(0, 0, 70)].var() for dose, image in images.items()}
    assert variance[0.25] / variance[1.0] == pytest.approx(4, rel=0.1)


def test_noise_of_an_empty_field_has_the_variance_of_counting() -> None:
    scanner = replace(QUIET, photons=1e4, electronic=50.0)
    machine = Projector(scanner, SIZE, PIXEL)
    measured = machine.measure(np.zeros((300, 220), np.float32), 0.5, rng())
    assert measured.var() == pytest.approx((5e3 + 50**2) / 5e3**2, rel=0.03)


def test_starved_rays_are_noisier_than_the_square_root_law() -> None:
    starved = replace(PARALLEL, photons=2e4)
    high, low = (noise(WATER, starved, dose)[middle(0, 0, 40)].std() for dose in (1.0, 0.02))
    assert low > 1.5 * high * np.sqrt(50)


def test_mean_hu_is_unbiased_from_a_quarter_of_the_dose() -> None:
    for x, y in ((50, -30), (-45, 35), (0, -60)):
        error = noise(phantom(), PARALLEL, 0.25)[middle(x, y, 14)]
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(error.size) + 0.2


def test_bowtie_takes_quanta_from_the_rim() -> None:
    def rim_over_centre(strength: float) -> float:
        error = noise(WATER, replace(QUIET, bowtie=strength), 0.1)
        return error[middle(0, 0, 95) & ~middle(0, 0, 75)].std() / error[middle(0, 0, 30)].std()

    assert rim_over_centre(3.0) > 1.2 * rim_over_centre(0.0)


def test_noise_streaks_run_along_the_line_through_two_dense_objects() -> None:
    bones = WATER + 1200 * (disc(75, 0, 20) + disc(-75, 0, 20))
    error = noise(bones, replace(QUIET, photons=3e4), 0.1)[60:100, 70:90]
    error = error - error.mean()
    along = np.mean(error[2:] * error[:-2]) / error.var()
    across = np.mean(error[:, 2:] * error[:, :-2]) / error.var()
    assert along > across + 0.25


def test_noise_power_rises_with_frequency_as_ramp_and_kernel_say() -> None:
    window = np.outer(np.hanning(80), np.hanning(80))
    clean, images = acquire_doses(WATER, PIXEL, QUIET, (0.5, 0.51, 0.52, 0.53), rng())
    power = sum(
        np.abs(np.fft.fft2((image - clean)[40:120, 40:120] * window)) ** 2 for image in images.values()
    )
    axis = np.fft.fftfreq(80, PIXEL)
    frequency = np.hypot(axis[:, None], axis)
    bands = [(0.0, 0.02), (0.05, 0.07), (0.1, 0.12), (0.16, 0.18)]
    level = [power[(frequency >= low) & (frequency < high)].mean() for low, high in bands]
    middles = np.array([np.mean(band) for band in bands])
    expected = middles * QUIET.response(middles) ** 2
    assert level[2] / level[1] == pytest.approx(expected[2] / expected[1], rel=0.15)
    assert level[3] / level[1] == pytest.approx(expected[3] / expected[1], rel=0.15)
    assert level[0] < 0.35 * level[1]


def test_a_sharper_kernel_is_noisier_and_has_steeper_edges() -> None:
    scanners = [replace(PARALLEL, bin_mm=0.8, bins=440).with_kernel(name) for name in ct.KERNELS]
    x, y = np.meshgrid(*2 * [0.6 * (np.arange(200) - 99.5)], indexing="ij")
    small = -1000 + 1000 * np.clip(0.5 - (np.hypot(x, y) - 40) / 0.6, 0, 1).astype(np.float32)
    results = [acquire(small, 0.6, scanner, 0.5, rng()) for scanner in scanners]
    deviation = [(one.image - one.truth)[80:120, 80:120].std() for one in results]
    slope = [np.abs(np.diff(one.truth[:, 100])).max() for one in results]
    assert deviation[0] < 0.8 * deviation[1] < 0.64 * deviation[2]
    assert slope[0] < slope[1] < slope[2]


def test_kernels_reach_the_stated_frequencies() -> None:
    frequency = np.linspace(0, 1, 2001)
    for name, half, tenth in (("smooth", 0.30, 0.48), ("standard", 0.40, 0.64), ("sharp", 0.70, 0.88)):
        transfer = Scanner(kernel=name).response(frequency)
        assert frequency[transfer >= 0.5].max() == pytest.approx(half, abs=0.01)
        assert frequency[transfer >= 0.1].max() == pytest.approx(tenth, abs=0.01)


def test_exposure_control_evens_out_the_noise_of_flat_patients() -> None:
    flat = -1000 + 1000 * np.clip(0.5 - (np.hypot(X / 150, Y / 60) - 1) * 60 / PIXEL, 0, 1)

    def anisotropy(strength: float) -> float:
        error = noise(flat, replace(QUIET, exposure_control=strength), 0.1)[60:100, 65:95]
        return float(np.mean(error[1:] * error[:-1]) - np.mean(error[:, 1:] * error[:, :-1])) / error.var()

    assert anisotropy(1.0) < 0.75 * anisotropy(0.0)


def test_the_same_generator_gives_the_same_image_and_doses_are_independent() -> None:
    scanner = replace(QUIET, geometry="fan", views=600)
    first, again = (acquire(WATER, PIXEL, scanner, 0.3, rng()).image for _ in range(2))
    assert np.abs(first - again).max() < 0.5
    clean, images = acquire_doses(WATER, PIXEL, QUIET, (0.5, 0.25), rng())
    errors = [(image - clean)[middle(0, 0, 70)] for image in images.values()]
    assert abs(np.corrcoef(*errors)[0, 1]) < 0.1


def test_padding_below_air_and_what_lies_outside_the_field_count_as_air() -> None:
    scanner = replace(PARALLEL, bins=150)  # a field of 120 mm radius
    corner = WATER + 2000 * (np.hypot(X, Y) > 150) - 2048 * (np.hypot(X, Y) > 125)
    clean = acquire(corner, PIXEL, scanner, 1.0, rng()).truth
    assert np.abs(clean - acquire(WATER, PIXEL, scanner, 1.0, rng()).truth).max() < 0.5
    assert (clean[np.hypot(X, Y) > 121] == -1000).all()


def test_slices_need_not_be_square() -> None:
    whole = acquire(phantom(), PIXEL, PARALLEL, 1.0, rng()).truth
    cut = acquire(phantom()[:, 20:140], PIXEL, PARALLEL, 1.0, rng()).truth
    inner = middle(0, 0, 90)[:, 20:140]
    assert np.abs(cut - whole[:, 20:140])[inner].max() < 2


def test_the_two_named_scanners_differ_in_all_that_shapes_the_noise() -> None:
    assert (ct.scanner("trained"), ct.scanner("other")) == (TRAINED, OTHER)
    for name in ("geometry", "views", "bins", "bin_mm", "kernel", "bowtie", "electronic"):
        assert getattr(TRAINED, name) != getattr(OTHER, name)


def test_routine_dose_of_the_trained_scanner_has_clinical_noise() -> None:
    x, y = np.meshgrid(*2 * [1.0 * (np.arange(340) - 169.5)], indexing="ij")
    body = np.clip(0.5 - (np.hypot(x / 150, y / 105) - 1) * 105, 0, 1)
    lungs = sum(np.clip(0.5 - (np.hypot((x - s * 75) / 50, y / 70) - 1) * 50, 0, 1) for s in (-1, 1))
    clean, images = acquire_doses(-1000 + 1040 * body - 850 * lungs, 1.0, TRAINED, (1.0, 0.1), rng())
    deviation = [(image - clean)[150:190, 140:200].std() for image in images.values()]
    assert 5 < deviation[0] < 13
    assert 18 < deviation[1] < 45


def test_a_mistyped_scanner_or_kernel_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'trained'"):
        ct.scanner("traind")
    with pytest.raises(InputError, match="did you mean 'smooth'"):
        Scanner(kernel="smoth")
    with pytest.raises(InputError, match="parallel, fan"):
        Scanner(geometry="cone")  # type: ignore[arg-type]


def test_bad_slices_doses_and_fans_are_refused() -> None:
    machine = Projector(QUIET, SIZE, PIXEL)
    with pytest.raises(ValueError, match="shape"):
        machine.project(WATER[1:])
    with pytest.raises(ValueError, match="finite"):
        machine.project(np.where(X > 100, np.nan, WATER))
    with pytest.raises(ValueError, match="dose"):
        machine.measure(np.zeros((300, 220), np.float32), 0.0, rng())
    with pytest.raises(ValueError, match="even number"):
        Projector(replace(FAN, views=301), SIZE, PIXEL)
