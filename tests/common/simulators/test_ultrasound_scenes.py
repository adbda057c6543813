"""The truth of simulated fetal frames."""

import numpy as np
import pytest

from medbundles.contours import outer_contour
from medbundles.ellipse import fit_ellipse
from medbundles.simulators.ultrasound_abdomen import ABDOMEN, SPINE, STOMACH, VEIN, Body, abdomen_parts
from medbundles.simulators.ultrasound_display import add_marks
from medbundles.simulators.ultrasound_head import HEAD, early_parts, head_parts
from medbundles.simulators.ultrasound_maps import Scene, Tissue
from medbundles.simulators.ultrasound_scenes import Frame, simulate_abdomen, simulate_head

SMALL = (320, 216)


@pytest.fixture(scope="module")
def abdomens() -> list[Frame]:
    return [simulate_abdomen(seed, size=SMALL) for seed in range(8)]


def labels_of(body: Body) -> np.ndarray:
    """Label map (X, Y) of a body about the origin, in pixels of 0.25 mm."""
    parts = abdomen_parts(body, frozenset({"stomach", "vein", "spine"}), np.random.default_rng(2))
    x, z = np.meshgrid(*2 * [np.arange(-50, 50, 0.25, dtype=np.float32)], indexing="ij")
    return Scene(Tissue(0.0), parts).labels(x, z)


def direction_of(labels: np.ndarray, label: int) -> float:
    """Angle of a structure's centre seen from the middle of the map, rad."""
    x, z = (
        index.mean() - (size - 1) / 2
        for index, size in zip(np.nonzero(labels == label), labels.shape, strict=True)
    )
    return float(np.arctan2(z, x))


def test_labels_fill_the_ellipse_exactly(abdomens: list[Frame]) -> None:
    for frame in abdomens:
        assert np.array_equal(frame.label > 0, frame.ellipse.mask(SMALL))


def test_circumference_measured_on_the_label_is_the_stated_one() -> None:
    frame = simulate_abdomen(3, circumference_mm=240.0, size=(640, 430))
    fitted = fit_ellipse(outer_contour((frame.label > 0).astype(float)))
    assert frame.truth["AC"] == pytest.approx(240.0, rel=1e-6)
    assert fitted.scaled(frame.spacing_mm).circumference() == pytest.approx(240.0, rel=0.005)


def test_ellipse_and_spacing_give_the_stated_millimetres(abdomens: list[Frame]) -> None:
    for frame in abdomens:
        scaled = frame.ellipse.scaled(frame.spacing_mm)
        assert scaled.circumference() == pytest.approx(frame.truth["AC"], rel=1e-6)
        assert sorted(2 * axis for axis in scaled.axes) == pytest.approx(
            sorted((frame.truth["APAD"], frame.truth["TAD"])), rel=1e-6
        )


def test_head_label_fills_the_ellipse_of_its_circumference() -> None:
    frame = simulate_head(5, circumference_mm=300.0, size=SMALL)
    assert set(np.unique(frame.label)) == {0, HEAD}
    assert np.array_equal(frame.label == HEAD, frame.ellipse.mask(SMALL))
    assert frame.ellipse.scaled(frame.spacing_mm).circumference() == pytest.approx(300.0, rel=1e-6)


def test_an_early_head_lies_in_fluid_and_its_trunk_carries_no_label() -> None:
    dark = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        head = Body((0.0, 60.0), 14.0, 11.0, 0.3)
        scene = Scene(Tissue(-12.0), [*early_parts(head, rng), *head_parts(head, rng)])
        x, z = np.meshgrid(
            np.arange(-60, 60, 0.5, dtype=np.float32), np.arange(0, 120, 0.5, dtype=np.float32), indexing="ij"
        )
        labels, radius = scene.labels(x, z), head.outline.polar(x, z)[0]
        around = scene.paint(x, z).echo[(radius > 1.35) & (radius < 1.45)]
        assert set(np.unique(labels)) == {0, HEAD}
        assert np.array_equal(labels == HEAD, head.outline.inside(x, z))
        dark.append(float((around < -35).mean()))
    assert np.mean(dark) > 0.3


def test_a_standard_plane_shows_all_structures(abdomens: list[Frame]) -> None:
    for frame in abdomens:
        assert set(np.unique(frame.label)) == {0, ABDOMEN, STOMACH, VEIN, SPINE}
        assert frame.truth["standard_plane"]


@pytest.mark.parametrize(
    ("structures", "missing"),
    [(("vein", "spine"), STOMACH), (("stomach", "spine"), VEIN), (("kidneys",), SPINE)],
)
def test_another_plane_lacks_what_it_was_not_given(structures: tuple[str, ...], missing: int) -> None:
    frame = simulate_abdomen(1, structures=structures, size=SMALL)
    assert missing not in frame.label
    assert not frame.truth["standard_plane"]


def test_a_seed_gives_the_same_frame_and_another_seed_another(abdomens: list[Frame]) -> None:
    again, other = simulate_abdomen(0, size=SMALL), abdomens[1]
    assert np.array_equal(again.image, abdomens[0].image)
    assert np.array_equal(again.label, abdomens[0].label)
    assert not np.array_equal(again.image, other.image)


@pytest.mark.parametrize("pose", [0.0, np.pi / 2, 2.5, -1.0])
def test_the_spine_lies_in_the_direction_of_the_pose(pose: float) -> None:
    found = direction_of(labels_of(Body((0.0, 0.0), 40.0, 36.0, pose)), SPINE)
    assert abs((found - pose + np.pi) % (2 * np.pi) - np.pi) < 0.1


@pytest.mark.parametrize("flip", [1, -1])
def test_the_stomach_lies_on_the_left_of_the_flipped_body(flip: int) -> None:
    assert np.sin(direction_of(labels_of(Body((0.0, 0.0), 40.0, 36.0, 0.0, flip)), STOMACH)) * flip > 0.3


def test_stomach_is_darker_and_skin_brighter_than_liver(abdomens: list[Frame]) -> None:
    darker = [
        np.median(f.image[f.label == STOMACH]) < np.median(f.image[f.label == ABDOMEN]) for f in abdomens
    ]
    assert all(darker)
    shrunk = [f.ellipse.transformed(0.9 * np.eye(2), 0.1 * np.array(f.ellipse.centre)) for f in abdomens]
    rims = [f.ellipse.mask(SMALL) & ~inner.mask(SMALL) for f, inner in zip(abdomens, shrunk, strict=True)]
    brightest = [
        np.percentile(f.image[rim], 98) - np.percentile(f.image[f.label == ABDOMEN], 75)
        for f, rim in zip(abdomens, rims, strict=True)
    ]
    assert np.median(brightest) > 10


def test_frames_come_in_the_sizes_of_stored_pictures() -> None:
    frame = simulate_abdomen(2)
    assert frame.image.dtype == frame.label.dtype == np.uint8
    assert frame.image.shape == frame.label.shape
    assert frame.image.shape[0] > frame.image.shape[1]


def test_marks_keep_the_frame_and_leave_most_of_it_alone() -> None:
    blank = np.full((640, 430), 90, np.uint8)
    changed = []
    for seed in range(20):
        marked = add_marks(blank, np.random.default_rng(seed))
        assert marked.shape == blank.shape
        changed.append((marked != blank).mean())
    assert 0.001 < np.mean(changed) < 0.1
