"""Pictures that a sonographer can trust: right aspect, right scale bar, contours where the structure is."""

from __future__ import annotations

import numpy as np
import pytest

from medbundles.drawing import Overlay, draw_primitive, label_colour
from medbundles.previews import Captions, Panel, draw_preview, round_length, upright, volume_panels

CAPTIONS = Captions("case.png", "disc 0.1.0", label_names={1: "disc", 2: "hole"})


def disc(shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    x, y = np.indices(shape)
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1


def coloured(picture: np.ndarray, colour: str, *, tolerance: int = 60) -> np.ndarray:
    """Returns (column, row) of the pixels of a colour inside the image, legend and bar left out."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    found = np.argwhere(np.abs(picture.astype(int) - wanted).max(2) < tolerance)
    found = found[(found[:, 0] > 50) & (found[:, 0] < picture.shape[0] - 110)]
    return found[:, ::-1]


def test_the_contour_follows_the_structure_and_is_thin() -> None:
    labels = disc((100, 80), (40, 30), (20, 20)).astype(np.uint8)
    picture = np.asarray(draw_preview(Panel(np.zeros((100, 80), np.uint8), labels), CAPTIONS))
    line = coloured(picture, label_colour(1))
    scale = 8.2  # 820 pixels for 100
    centre = (line.max(0) + line.min(0)) / 2 - [16, 44]
    np.testing.assert_allclose(centre, np.multiply((40.5, 30.5), scale), atol=4)
    np.testing.assert_allclose(np.ptp(line, axis=0), 2 * 20 * scale, atol=scale)
    assert len(line) < 3 * 2 * np.pi * 20 * scale


@pytest.mark.parametrize("inner", [1, 2])
@pytest.mark.parametrize("gap", [False, True])
def test_where_a_structure_lies_in_another_its_own_colour_is_seen(inner: int, gap: bool) -> None:
    outer, core = disc((100, 100), (50, 50), (30, 30)), disc((100, 100), (50, 50), (15, 15))
    if gap:  # the outer one is no closed ring
        outer[48:53, :50] = False
    labels = np.where(core, inner, np.where(outer, 3 - inner, 0)).astype(np.uint8)
    picture = np.asarray(draw_preview(Panel(np.zeros((100, 100), np.uint8), labels), CAPTIONS))
    inside, around = (np.ptp(coloured(picture, label_colour(v)), axis=0) for v in (inner, 3 - inner))
    np.testing.assert_allclose(inside, 2 * 15 * 8.2, atol=8.2)
    np.testing.assert_allclose(around, 2 * 30 * 8.2, atol=8.2)


def test_an_anisotropic_frame_is_shown_with_its_physical_aspect() -> None:
    labels = disc((100, 40), (50, 20), (20, 10)).astype(np.uint8)
    panel = Panel(np.zeros((100, 40), np.uint8), labels, (0.2, 0.4))
    width, height = np.ptp(coloured(np.asarray(draw_preview(panel, CAPTIONS)), label_colour(1)), axis=0)
    assert width / height == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("spacing", "length"), [((0.2, 0.2), 5), ((1.0, 1.0), 20), ((0.5, 1.0), 10)])
def test_the_scale_bar_is_as_long_as_it_says(spacing: tuple[float, float], length: float) -> None:
    panel = Panel(np.zeros((100, 80), np.uint8), None, spacing)
    picture = np.asarray(draw_preview(panel, CAPTIONS))
    row = picture[-20, :, 0] > 200
    bar = np.flatnonzero(np.cumprod(row[16:])).max()
    shown = np.argwhere(picture[44:-100].max(2) == 0)[:, 1]
    extent = (np.ptp(shown) + 1) / (100 * spacing[0])
    assert bar / extent == pytest.approx(length, rel=0.02)


@pytest.mark.parametrize(("wanted", "length"), [(0.9, 1), (17, 20), (3.4, 5), (1400, 1000), (0.031, 0.02)])
def test_bars_have_round_lengths(wanted: float, length: float) -> None:
    assert round_length(wanted) == pytest.approx(length)


def test_a_structure_at_the_border_gets_no_line_along_the_border() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[:20] = 1
    line = coloured(np.asarray(draw_preview(Panel(labels * 0, labels), CAPTIONS)), label_colour(1))
    assert line[:, 0].min() > 16 + 200


def test_every_label_has_its_own_colour() -> None:
    assert len({label_colour(value) for value in range(1, 9)}) == 8


@pytest.mark.parametrize(
    "turn",
    [
        lambda a: (a, np.diag([-0.3, -0.3, 1, 1])),
        lambda a: (a[::-1], np.diag([0.3, -0.3, 1, 1])),
        lambda a: (a[:, ::-1], np.diag([-0.3, 0.3, 1, 1])),
        lambda a: (a.T, np.array([[0, -0.3, 0, 0], [-0.3, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
        lambda a: (a.T[::-1], np.array([[0, -0.3, 0, 0], [0.3, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
    ],
)
def test_a_frame_turned_by_its_header_is_shown_upright(turn: object) -> None:
    frame = np.arange(12).reshape(4, 3)
    array, affine = turn(frame)
    index = [float(i) for i in np.argwhere(array == 7)[0]]
    drawing = [{"kind": "text", "at": index, "label": "seven"}]
    panel = upright(Panel(array, array, (0.3, 0.3), drawing), affine)
    np.testing.assert_array_equal(panel.image, frame)
    np.testing.assert_array_equal(panel.labels, frame)
    assert panel.drawing[0]["at"] == (2, 1)


def test_an_ellipse_turns_with_its_frame() -> None:
    frame, angle = np.zeros((50, 40)), 0.3
    ellipse = {"kind": "ellipse", "centre": (10, 30), "axes": (5, 2), "angle": angle}
    affine = np.array([[0, -1.0, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned = upright(Panel(frame, drawing=[ellipse]), affine).drawing[0]
    assert turned["centre"] == (30, 10)
    assert turned["angle"] == pytest.approx(np.pi / 2 - angle)


def test_drawing_marks_the_voxel_it_names() -> None:
    line = {"kind": "line", "from": (20, 10), "to": (20, 10), "label": "", "colour": "#FF0000"}
    panel = Panel(np.zeros((100, 80), np.uint8), None, drawing=[line])
    cross = coloured(np.asarray(draw_preview(panel, CAPTIONS)), "#FF0000")
    np.testing.assert_allclose(cross.mean(0) - [16, 44], np.multiply((20.5, 10.5), 8.2), atol=1.5)


@pytest.mark.parametrize("turn", np.linspace(0, np.pi, 7)[:-1])
@pytest.mark.parametrize("swapped", [False, True])
def test_texts_of_lines_that_cross_do_not_cover_each_other(turn: float, swapped: bool) -> None:
    long, short = 28 * np.array([np.cos(turn), np.sin(turn)]), 22 * np.array([-np.sin(turn), np.cos(turn)])
    covered = []
    for half in (long, -short if swapped else short):
        overlay = Overlay((300, 300))
        line = {"kind": "line", "from": 150 - half, "to": 150 + half}
        draw_primitive(overlay, {**line, "label": "35 mm"}, (1, 1))
        bare = Overlay((300, 300))
        draw_primitive(bare, {**line, "label": ""}, (1, 1))
        covered.append((np.asarray(overlay.sheet) != np.asarray(bare.sheet)).any(-1))
    assert min(text.sum() for text in covered) > 500
    assert not (covered[0] & covered[1]).any()


def test_an_unknown_drawing_is_refused() -> None:
    with pytest.raises(ValueError, match="ellipse, line or text"):
        draw_preview(Panel(np.zeros((9, 9)), drawing=[{"kind": "arrow"}]), CAPTIONS)


@pytest.mark.parametrize(
    "affine", [np.diag([-2.0, -2, 3, 1]), np.diag([2.0, 2, 3, 1]), np.diag([2.0, -2, -3, 1])]
)
def test_a_volume_is_shown_as_radiologists_see_it_whatever_its_axes(affine: np.ndarray) -> None:
    labels = np.zeros((20, 24, 10), np.uint8)
    labels[4:7, 15:19, 6:9] = 1  # in an image with axes to left, back and up: right, back, top
    steps = tuple(slice(None, None, int(s)) for s in np.sign(np.diag(affine)[:3]) * [-1, -1, 1])
    axial, coronal, sagittal = volume_panels(labels[steps] * 9.0, labels[steps], affine)
    assert axial.letters == "RLAP"
    assert np.argwhere(axial.labels).mean(0).tolist() == [5, 16.5]
    assert coronal.letters == "RLSI"
    assert np.argwhere(coronal.labels).mean(0).tolist() == [5, 9 - 7]
    assert sagittal.letters == "APSI"
    assert np.argwhere(sagittal.labels).mean(0).tolist() == [16.5, 9 - 7]
    assert [p.spacing for p in (axial, coronal, sagittal)] == [(2, 2), (2, 3), (2, 3)]


def test_permuted_axes_give_the_same_planes() -> None:
    image = np.random.default_rng(0).random((5, 6, 7))
    affine = np.diag([-1.0, -2, 3, 1])
    expected = volume_panels(image, None, affine)
    found = volume_panels(image.transpose(2, 0, 1), None, affine[:, [2, 0, 1, 3]])
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert a.spacing == b.spacing


def test_sides_are_not_claimed_where_the_header_does_not_tell_them() -> None:
    assert all(not p.letters for p in volume_panels(np.zeros((4, 4, 4)), None, np.eye(4), oriented=False))


def test_long_names_and_many_values_stay_inside_the_picture() -> None:
    captions = Captions("x" * 400, "y" * 300, lines=[f"measurement {i} 1.0 mm" for i in range(30)])
    picture = draw_preview(Panel(np.zeros((40, 60), np.uint8)), captions)
    assert picture.width <= 1240 + 32
    assert np.asarray(picture)[:, -4:].max() < 30


def test_flat_and_extreme_images_are_drawn() -> None:
    for image in (np.zeros((16, 16)), np.full((16, 16), 1e30), np.full((1, 300), -5.0)):
        assert draw_preview(Panel(image), CAPTIONS).size[0] > 0
