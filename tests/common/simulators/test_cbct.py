"""The simulated cone-beam scanner: HU, places and artefacts of phantoms that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from medbundles.errors import GridError, InputError
from medbundles.simulators.cbct import AIR, Grid, Scanner, scan

# Coarse and quick; the field is 100 mm wide.
SCANNER = Scanner(views=72, columns=60, rows=40, pitch_mm=2.5, quanta=1e7, surroundings=())
SPACING = 2.0
GRID = Grid.centred((72, 64, 40), SPACING)
X, Y, Z = GRID.points().numpy()
AFFINE = np.diag([-SPACING, -SPACING, SPACING, 1.0])
AFFINE[:3, 3] = (50.0, 20.0, -700.0)
MARKER = (14.0, -10.0, 6.0)  # left, front, up


def ball(x: float, y: float, z: float, radius: float) -> np.ndarray:
    distance = np.sqrt((X - x) ** 2 + (Y - y) ** 2 + (Z - z) ** 2)
    return np.clip(0.5 - (distance - radius) / SPACING, 0, 1).astype(np.float32)


def cylinder(x: float, y: float, radius: float) -> np.ndarray:
    return np.clip(0.5 - (np.hypot(X - x, Y - y) - radius) / SPACING, 0, 1).astype(np.float32)


def water() -> dict[str, np.ndarray]:
    return {"soft": cylinder(0, 0, 26) * (np.abs(Z) < 15)}


def marked() -> dict[str, np.ndarray]:
    marker = ball(*MARKER, 5)
    return {"soft": water()["soft"] * (1 - marker), "mineral": 1.5 * marker}


def hu(
    materials: dict[str, np.ndarray], scanner: Scanner = SCANNER, seed: int = 1, **options: object
) -> np.ndarray:
    return scan(materials, AFFINE, scanner, seed=seed, **options)[0]


INSIDE = (np.hypot(X, Y) < 18) & (np.abs(Z) < 8)
OUTSIDE = (np.hypot(X, Y) > 31) & (np.hypot(X, Y) < 36) & (np.abs(Z) < 8)


@pytest.mark.parametrize(
    "changes",
    [{}, {"offset_mm": 30.0}, {"arc_deg": 210.0}, {"kvp": 110, "copper_mm": 0.2}, {"scatter": 0.0}],
    ids=["full turn", "offset detector", "short scan", "harder beam", "no scatter"],
)
def test_water_is_0_and_air_minus_1000(changes: dict[str, float]) -> None:
    image = hu(water(), replace(SCANNER, **changes))
    assert image.dtype == np.float32
    assert image[INSIDE].mean() == pytest.approx(0, abs=25)
    assert image[OUTSIDE].mean() == pytest.approx(-1000, abs=35)


@pytest.mark.parametrize("offset", [-50.0, 50.0])
def test_an_offset_detector_sees_right_where_one_side_of_it_sees_alone(offset: float) -> None:
    wide = {"soft": cylinder(0, 0, 28)}
    # Both sides see a radius of 16 mm, the longer one of 87 mm.
    image = hu(wide, replace(SCANNER, offset_mm=offset, scatter=0.0))
    radius = np.hypot(X, Y)
    assert image[(radius > 19) & (radius < 24) & (np.abs(Z) < 8)].mean() == pytest.approx(0, abs=15)
    assert image[(radius > 33) & (radius < 36) & (np.abs(Z) < 8)].mean() == pytest.approx(-1000, abs=20)


def test_water_is_flat() -> None:
    image = hu(water(), replace(SCANNER, scatter=0.0))
    middle, rim = image[INSIDE & (np.hypot(X, Y) < 7)].mean(), image[INSIDE & (np.hypot(X, Y) > 12)].mean()
    assert middle == pytest.approx(rim, abs=15)


def test_a_marker_at_the_left_front_top_is_found_there_in_space() -> None:
    for grid in (None, Grid((50, 46, 30), 1.4, (-30.0, -33.0, -18.0))):
        image, affine = scan(marked(), AFFINE, SCANNER, seed=1, grid=grid)
        bright = np.argwhere(image > 1000).mean(axis=0)
        middle = AFFINE @ [*((np.array(X.shape) - 1) / 2), 1]
        assert (affine @ [*bright, 1])[:3] == pytest.approx(
            middle[:3] + np.array(MARKER) * (-1, -1, 1), abs=0.7
        )


def test_output_lies_on_the_asked_grid() -> None:
    grid = Grid((30, 20, 10), 1.5, (-20.0, -10.0, -8.0))
    image, affine = scan(water(), AFFINE, replace(SCANNER, views=12), seed=1, grid=grid)
    assert image.shape == grid.shape
    assert np.diag(affine).tolist() == [-1.5, -1.5, 1.5, 1]
    assert np.allclose(scan(water(), AFFINE, replace(SCANNER, views=4), seed=1)[1], AFFINE)


def test_streaks_appear_only_with_metal() -> None:
    quiet = replace(SCANNER, quanta=1e8)
    posts = [ball(x, -8, 0, 5) for x in (-12, 12)]
    with_metal = {"soft": water()["soft"] * (1 - sum(posts)), "gold": sum(posts)}
    line = (np.abs(X) < 5) & (np.abs(Y + 8) < 3)
    between, above = line & (np.abs(Z) < 2), line & (np.abs(Z - 10) < 2)
    clean, streaked = hu(water(), quiet), hu(with_metal, quiet)
    assert abs(clean[between].mean()) < 40
    # Two heavy balls darken the line between them, and hardly anything a centimetre above.
    assert streaked[between].mean() < clean[between].mean() - 150
    assert abs(streaked[above].mean()) < 60


def test_noise_falls_with_the_quanta() -> None:
    still = replace(SCANNER, electronic=0.0, views=24)
    noise = []
    for quanta in (1e4, 1.6e5):
        one, two = (hu(water(), replace(still, quanta=quanta), seed) for seed in (1, 2))
        noise.append((one - two)[INSIDE].std())
    assert noise[0] / noise[1] == pytest.approx(4, rel=0.2)


def test_the_same_seed_gives_the_same_scan() -> None:
    quick = replace(SCANNER, views=8, quanta=1e4, motion_mm=1.0, rings=0.01)
    assert np.array_equal(hu(water(), quick), hu(water(), quick))
    assert not np.array_equal(hu(water(), quick), hu(water(), quick, seed=2))


def test_motion_blurs_and_rings_ring() -> None:
    quick = replace(SCANNER, views=36)
    still = hu(marked(), quick)
    moved = hu(marked(), replace(quick, motion_mm=2.0))
    ringed = hu(marked(), replace(quick, rings=0.02))
    assert moved[ball(*MARKER, 5) > 0.9].mean() < still[ball(*MARKER, 5) > 0.9].mean() - 50
    profile = np.abs(ringed - still)[INSIDE & (np.hypot(X + 4, Y - 6) < 8)]
    assert profile.mean() > 5


def test_a_head_around_the_volume_truncates_but_keeps_the_middle_near_water() -> None:
    head = replace(SCANNER, surroundings=Scanner().surroundings)
    image = hu({"soft": np.ones_like(X)}, head)
    assert image[INSIDE].mean() == pytest.approx(0, abs=120)


def test_air_before_the_face_stays_air_and_outside_the_field_is_air() -> None:
    head = replace(SCANNER, surroundings=Scanner().surroundings)
    image = hu({"soft": (Y > -16).astype(np.float32)}, head)
    assert image[(np.abs(X) < 15) & (Y < -24) & (np.abs(Z) < 8)].mean() < -700
    narrow = replace(SCANNER, views=4, columns=40)
    assert (hu(water(), narrow)[np.hypot(X, Y) > narrow.field_mm] == AIR).all()


@pytest.mark.parametrize(
    ("materials", "affine", "message"),
    [
        ({"titan": np.ones((4, 4, 4))}, AFFINE, "the material 'titan'"),
        ({}, AFFINE, "no material"),
        ({"soft": np.ones((4, 4, 4)), "mineral": np.ones((4, 4, 5))}, AFFINE, "equal 3D shapes"),
        ({"soft": np.ones((4, 4, 4))}, np.diag([2.0, 2, 2, 1]), "to the left, to the back and up"),
        ({"soft": np.ones((4, 4, 4))}, np.diag([-2.0, -2, 1, 1]), "cubic voxels"),
    ],
)
def test_a_volume_that_cannot_be_scanned_is_refused(
    materials: dict, affine: np.ndarray, message: str
) -> None:
    error = InputError if "material" in message else GridError
    with pytest.raises(error, match=message):
        scan(materials, affine, SCANNER, seed=1)


def test_an_unknown_projector_is_refused() -> None:
    with pytest.raises(InputError, match="'astra'"):
        scan(water(), AFFINE, SCANNER, seed=1, projector="astra")
