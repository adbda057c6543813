"""The dental bundle's pictures: panoramas with numbered teeth, and the preview."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_teeth.arch import ArchCurve
from dental_teeth.boxes import box_of
from dental_teeth.frame import Frame
from dental_teeth.numbering import row_of
from dental_teeth.panorama import View
from dental_teeth.panorama_pictures import (
    SavePanoramasd,
    draw_jaw,
    draw_panoramas,
    legend,
    panorama_sheet,
    tooth_colour,
)
from dental_teeth.places import crown_of, missing_places, not_scanned
from dental_teeth.preview import SaveToothPreviewd, tooth_panels
from dental_teeth.teeth import FDI_CODES, JawReading, Reading, Tooth, label_of
from medbundles.drawing import label_colour

PITCH, COLUMNS, ROWS = 0.5, 256, 60
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
METADATA = {"name": "bundle", "version": "1.2.3"}


def place(code: int, jaw: str) -> int:
    """First column of a tooth: sixteen of 7 mm, side by side about the middle of the picture."""
    return COLUMNS // 2 + 14 * (row_of(jaw).index(code) - 8)


def jaw_reading(
    jaw: str, codes: tuple[int, ...], *, unsure: tuple[int, ...] = (), picture: np.ndarray | None = None
) -> JawReading:
    """Teeth that are 6 mm wide and 20 mm high, crowns at the bite, on a straight arch."""
    points = np.stack([(np.arange(COLUMNS) - (COLUMNS - 1) / 2) * PITCH, np.zeros(COLUMNS)], 1)
    curve = ArchCurve(points, PITCH, 16, COLUMNS - 17, 1.0, 1.0)
    top = (ROWS - 1) * PITCH - 5 if jaw == "upper" else 5.0
    view = View(jaw, Frame(np.eye(3), np.zeros(3)), curve, rows=ROWS, top_mm=top, depth_mm=10.0)
    teeth = []
    for code in codes:
        mask = np.zeros((COLUMNS, ROWS), bool)
        mask[place(code, jaw) + 1 : place(code, jaw) + 13, 10:50] = True
        teeth.append(Tooth(code, jaw, box_of(mask), mask, 0.9, 3.0, code not in unsure))
    missing = tuple(code for code in row_of(jaw) if code not in codes)
    shown = np.full((COLUMNS, ROWS), 20.0, np.float32) if picture is None else picture
    return JawReading(view, shown, tuple(teeth), missing)


def both(**options: tuple[int, ...]) -> Reading:
    jaws = {jaw: jaw_reading(jaw, row_of(jaw)[1:-1], **options) for jaw in ("upper", "lower")}
    return Reading(jaws, "valley", 0.9)


def painted(picture: Image.Image, colour: str) -> np.ndarray:
    """Where a picture (columns, rows) has about this colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return (np.abs(np.asarray(picture, int) - wanted).max(-1) < 40).T


def test_no_tooth_has_the_colour_of_a_neighbour_or_of_the_teeth_opposite() -> None:
    upper, lower = row_of("upper"), row_of("lower")
    for row in (upper, lower):
        assert all(tooth_colour(a) != tooth_colour(b) for a, b in pairwise(row))
    for shift in (0, 1):  # a tooth bites on the one opposite and on a neighbour of that
        pairs = zip(upper[shift:], lower, strict=False)
        assert all(tooth_colour(a) != tooth_colour(b) for a, b in pairs)


def test_crowns_are_at_the_bite_below_in_the_upper_and_above_in_the_lower_jaw() -> None:
    (upper,), (lower,) = (jaw_reading(jaw, (code,)).teeth for jaw, code in (("upper", 16), ("lower", 46)))
    assert crown_of(upper)[1] > 38 and crown_of(lower)[1] < 22
    assert crown_of(upper)[0] == pytest.approx(place(16, "upper") + 6.5, abs=0.6)


def test_missing_teeth_are_placed_between_their_neighbours_and_beyond_the_last() -> None:
    jaw = jaw_reading("upper", (16, 13, 12, 11, 21, 22))
    places = missing_places(jaw)
    column = {tooth.code: crown_of(tooth)[0] for tooth in jaw.teeth}
    assert column[16] < places[15][0] < places[14][0] < column[13]
    assert places[18][0] < places[17][0] < column[16] and column[22] < places[23][0] < places[28][0]
    assert (column[16] - places[17][0]) * PITCH == pytest.approx(9.5)  # half of 10 and half of 9 mm
    assert places[14][1] == pytest.approx(crown_of(jaw.teeth[0])[1])


def test_in_a_jaw_without_teeth_all_places_are_about_the_middle_of_the_arch() -> None:
    places = missing_places(jaw_reading("lower", ()))
    assert len(places) == 16
    assert places[41][0] + places[31][0] == pytest.approx(COLUMNS - 1)
    assert places[48][0] < places[41][0] < places[31][0] < places[38][0]


def test_places_outside_the_field_of_view_are_not_called_missing() -> None:
    picture = np.full((COLUMNS, ROWS), 20.0, np.float32)
    picture[COLUMNS // 2 + 20 :] = 0.0  # the patient's left was not scanned
    jaw = jaw_reading("upper", (15, 13, 12, 11), picture=picture)
    assert set(not_scanned(jaw)) == {22, 23, 24, 25, 26, 27, 28}
    notes = legend(Reading({"upper": jaw}, "single", 1.0))
    assert "grey: missing or not found (14, 16, 17, 18, 21)" in notes
    assert "outside the field of view (22, 23, 24, 25, 26, 27, 28)" in notes


def test_the_patients_right_is_on_the_left_of_the_picture() -> None:
    picture = draw_panoramas(Reading({"upper": jaw_reading("upper", (16, 24))}, "single", 1.0))
    right, left = (np.argwhere(painted(picture, tooth_colour(code)))[:, 0] for code in (16, 24))
    assert 0 < right.max() < picture.width / 2 < left.min()


def test_an_outline_lies_on_the_edge_of_its_mask() -> None:
    jaw = jaw_reading("upper", (11,))
    picture = draw_jaw(jaw, (-10.0, 10.0), pixels_per_mm=12.0)
    columns = np.argwhere(painted(picture, tooth_colour(11)))[:, 0]
    first = (place(11, "upper") + 1 - (COLUMNS - 1) / 2 - 0.5) * PITCH + 10.0  # mm from the picture's edge
    assert columns.min() / 12.0 == pytest.approx(first, abs=0.35)
    assert columns.max() / 12.0 == pytest.approx(first + 6.0, abs=0.35)


def test_the_outline_of_a_tooth_with_an_uncertain_number_is_dashed_and_explained() -> None:
    sure, unsure = (jaw_reading("upper", (11,), unsure=codes) for codes in ((), (11,)))
    solid, dashed = (painted(draw_jaw(jaw, (-10.0, 10.0)), tooth_colour(11)).sum() for jaw in (sure, unsure))
    assert 0.3 * solid < dashed < 0.7 * solid
    reading = Reading({"upper": unsure}, "single", 1.0)
    assert legend(reading)[0] == "dashed, with ?: number uncertain (11)"
    assert not any("dashed" in note for note in legend(Reading({"upper": sure}, "single", 1.0)))


def test_upper_stands_above_lower_at_one_scale_with_their_middles_in_line() -> None:
    jaws = {"upper": jaw_reading("upper", (11,)), "lower": jaw_reading("lower", (41,))}
    picture = draw_panoramas(Reading(jaws, "valley", 1.0))
    upper, lower = (np.argwhere(painted(picture, tooth_colour(code))) for code in (11, 41))
    assert upper[:, 1].max() < picture.height / 2 < lower[:, 1].min()
    assert lower[:, 0].mean() == pytest.approx(upper[:, 0].mean(), abs=2)
    assert np.ptp(lower, axis=0) == pytest.approx(np.ptp(upper, axis=0), abs=3)


@pytest.mark.parametrize("codes", [(), (38,), row_of("lower")])
def test_any_number_of_teeth_can_be_drawn(codes: tuple[int, ...]) -> None:
    reading = Reading({"lower": jaw_reading("lower", codes)}, "single", 1.0)
    sheet = panorama_sheet(reading, "a" * 90, "bundle 1.2.3")
    assert sheet.height > 300 and np.asarray(sheet).max() == 255


def case(findings: Reading | None = None) -> dict[str, Any]:
    """Two teeth, 16 and 26, in a scan of 40 mm."""
    labels = np.zeros((40, 30, 20), np.uint8)
    labels[4:12, 10:18, 4:16], labels[28:36, 10:18, 4:16] = label_of(16), label_of(26)
    image = np.where(labels > 0, 2000.0, 0.0).astype(np.float32)
    image[labels == label_of(26)] = 30000.0
    meta = {"filename_or_obj": "patient.nii.gz", "calibrated": True}
    found = {
        key: MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(LPS), meta=dict(meta))
        for key, array in (("pred", labels), ("image", image))
    }
    return found | ({} if findings is None else {"findings": findings})


def test_the_panorama_is_written_so_that_it_prints_at_life_size(tmp_path: Path) -> None:
    done = SavePanoramasd("pred", tmp_path, metadata=METADATA)(case(both()))
    path = Path(done["outputs"]["panorama"])
    assert path.name == "patient_panorama.png"
    with Image.open(path) as picture:
        assert picture.info["dpi"][0] == pytest.approx(12 * 25.4, abs=0.1)


def test_without_findings_there_is_no_panorama_and_a_preview_of_the_planes(tmp_path: Path) -> None:
    assert "outputs" not in SavePanoramasd("pred", tmp_path, metadata=METADATA)(case())
    bare = SaveToothPreviewd("pred", tmp_path / "bare", metadata=METADATA)(case())
    full = SaveToothPreviewd("pred", tmp_path / "full", metadata=METADATA)(case(both()))
    heights = []
    for done in (bare, full):
        with Image.open(done["outputs"]["preview"]) as picture:
            heights.append(picture.height)
    assert heights[1] > heights[0] + 200


def test_planes_bear_the_numbers_in_the_teeth_and_the_colours_of_the_panorama() -> None:
    found = case()
    labels, image = found["pred"].numpy()[0], found["image"].numpy()[0]
    axial = tooth_panels(image, labels, LPS)[0]
    numbers = {item["label"]: item["at"] for item in axial.drawing}
    assert set(numbers) == {"16", "26"} and numbers["16"][0] < 12 and numbers["26"][0] > 24
    assert axial.image.max() == 3000.0  # metal does not make the other teeth dark
    (value,) = np.unique(axial.labels[:20][axial.labels[:20] > 0])
    assert label_colour(int(value)) == tooth_colour(16)


def test_planes_are_the_same_however_the_voxels_are_stored() -> None:
    found = case()
    labels, image = found["pred"].numpy()[0], found["image"].numpy()[0]
    turned = LPS @ np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[0, 3] = -(labels.shape[0] - 1.0)
    for one, other in zip(
        tooth_panels(image, labels, LPS), tooth_panels(image[::-1], labels[::-1], turned), strict=True
    ):
        assert np.array_equal(one.labels, other.labels) and list(one.drawing) == list(other.drawing)


def test_a_tooth_without_room_for_its_number_has_none() -> None:
    labels = np.zeros((40, 30, 20), np.uint8)
    labels[4:6, 10:18, 4:16], labels[28:36, 10:18, 4:16] = label_of(16), label_of(26)
    axial = tooth_panels(None, labels, LPS)[0]
    assert [item["label"] for item in axial.drawing] == ["26"] and not axial.image.any()


def test_colours_of_previews_stay_one_to_one() -> None:
    labels = np.zeros((40, 4, 4), np.uint8)
    labels[:32] = np.arange(1, 33)[:, None, None]
    axial = tooth_panels(None, labels, LPS)[0]
    assert len(np.unique(axial.labels)) == len(FDI_CODES) + 1
