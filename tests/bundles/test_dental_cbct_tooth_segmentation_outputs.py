"""What the dental bundle says of each tooth, the table it writes, and the surfaces."""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_teeth.arch import ArchCurve
from dental_teeth.boxes import box_of
from dental_teeth.frame import Frame
from dental_teeth.measure import MeasureTeethd, SaveTeethTabled, tooth_name, tooth_rows
from dental_teeth.numbering import row_of
from dental_teeth.panorama import View
from dental_teeth.surfaces import SaveSurfacesd, surface, write_stl
from dental_teeth.teeth import FDI_CODES, JawReading, Reading, Tooth, label_of
from dental_teeth.tooth_shape import tooth_length
from dental_teeth.transforms import FdiCodesd
from medbundles.io import read_image
from medbundles.saving import SaveImageWholed

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rod(
    affine: np.ndarray, shape: tuple[int, ...], *, radius: float, length: float, along: Any
) -> np.ndarray:
    """A rod through the middle of a volume, along a direction in LPS millimetres."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - (np.array(shape) - 1) / 2
    points = index @ (LPS @ affine)[:3, :3].T
    direction = np.asarray(along, float) / np.linalg.norm(along)
    height = points @ direction
    across = np.linalg.norm(points - height[..., None] * direction, axis=-1)
    return (across <= radius) & (np.abs(height) <= length / 2)


def tensor(array: np.ndarray, affine: np.ndarray = LPS, name: str = "case.nii.gz") -> MetaTensor:
    meta = {"filename_or_obj": name, "calibrated": True}
    return MetaTensor(torch.as_tensor(array)[None], affine=torch.from_numpy(affine), meta=meta)


def finding(code: int, *, sure: bool = True) -> Tooth:
    mask = np.zeros((240, 40), bool)
    mask[row_of("upper").index(code) * 15 : row_of("upper").index(code) * 15 + 12, 10:35] = True
    return Tooth(code, "upper", box_of(mask), mask, score=0.9, margin=1.0, sure=sure)


def reading(*teeth: Tooth) -> Reading:
    """An upper jaw on a straight arch, all of it scanned."""
    points = np.stack([np.arange(240) * 0.5 - 60, np.zeros(240)], 1)
    curve = ArchCurve(points, 0.5, 0, 239, 1.0, 1.0)
    view = View("upper", Frame(np.eye(3), np.zeros(3)), curve, rows=40, top_mm=15.0, depth_mm=10.0)
    missing = tuple(code for code in row_of("upper") if code not in {tooth.code for tooth in teeth})
    picture = np.full((240, 40), 20.0, np.float32)
    return Reading({"upper": JawReading(view, picture, tuple(teeth), missing)}, "single", 1.0)


def one_tooth(code: int = 16, first: int = 4, shape: tuple[int, ...] = (20, 20, 30)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[8:14, 8:14, first : first + 20] = label_of(code)
    return labels


def named(case: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in case["measurements"]}


@pytest.mark.parametrize("turn", [np.eye(4), np.diag([-1.0, 1.0, 1.0, 1.0]), np.eye(4)[[2, 0, 1, 3]]])
def test_a_tilted_rod_has_its_volume_and_length_on_any_grid(turn: np.ndarray) -> None:
    affine = LPS @ turn @ np.diag([0.4, 0.5, 0.7, 1.0])
    mask = rod(affine, (70, 60, 50), radius=3.0, length=20.0, along=(0.3, -0.2, 1.0))
    (row,) = tooth_rows(mask.astype(np.uint8) * label_of(23), affine)
    assert (row.fdi, row.name) == (23, "upper left canine")
    assert row.volume_mm3 == pytest.approx(np.pi * 9 * 20, rel=0.03)
    assert row.length_mm == pytest.approx(20.0, abs=0.8)


def test_the_length_of_a_tooth_broader_than_long_is_its_height() -> None:
    upright = np.ones((24, 22, 18), bool)  # of half a millimetre: 12, 11 and 9 mm
    assert tooth_length(upright, LPS @ np.diag([0.5, 0.5, 0.5, 1.0])) == pytest.approx(9.0)
    lying = LPS @ np.eye(4)[[2, 0, 1, 3]] @ np.diag([0.5, 0.5, 0.5, 1.0])  # its second axis runs upwards
    assert tooth_length(upright, lying) == pytest.approx(11.0)


def test_specks_and_hair_thin_tips_do_not_lengthen_a_tooth() -> None:
    affine = LPS @ np.diag([0.4, 0.4, 0.4, 1.0])
    labels = np.zeros((30, 30, 90), np.uint8)
    labels[10:20, 10:20, 20:60] = 1
    labels[15, 15, 60:75] = 1  # a needle of 0.16 mm2
    labels[2, 2, 85] = 1
    (row,) = tooth_rows(labels, affine)
    assert row.length_mm == pytest.approx(16.0, abs=0.5)


def test_of_a_tooth_that_the_volume_cuts_only_a_lower_bound_is_told(tmp_path: Path) -> None:
    case = MeasureTeethd("pred")({"pred": tensor(one_tooth(first=0))})
    found = named(case)["tooth 16 length"]
    assert found["value"] is None and "20.0 mm of it are inside" in found["reason"]
    assert named(case)["tooth 16 volume"]["value"] is None
    done = SaveTeethTabled("pred", tmp_path)(case)
    (line,) = csv.DictReader(Path(done["outputs"]["teeth"]).open())
    assert line["touches_field_of_view"] == "yes" and line["length_mm"] == line["volume_mm3"] == ""
    assert "at least 720 mm3, 20.0 mm" in line["remark"]


def test_a_round_field_of_view_cuts_teeth_far_from_the_faces_of_the_volume() -> None:
    x, y = np.meshgrid(*(np.arange(20) - 9.5,) * 2, indexing="ij")
    image = np.random.default_rng(0).normal(0, 50, (20, 20, 30)).astype(np.float32)
    whole = tooth_rows(one_tooth(), LPS, image=image)
    image[
        np.hypot(x, y) > 6.0
    ] = -1000.0  # the tooth's corner at (4, 4) is 5.4 away: nothing unseen beside it
    (cut,) = tooth_rows(one_tooth(), LPS, image=image)
    assert not whole[0].cut and cut.cut


def test_metal_is_inside_near_or_neither() -> None:
    labels, affine = one_tooth(shape=(40, 20, 30)), LPS @ np.diag([0.5, 0.5, 0.5, 1.0])
    image = np.where(labels > 0, 2000.0, 0.0).astype(np.float32)

    def metal(place: tuple[slice, ...]) -> str | None:
        with_metal = image.copy()
        with_metal[place] = 12000.0
        (row,) = tooth_rows(labels, affine, image=with_metal)
        return row.metal

    assert metal((slice(9, 12), slice(9, 12), slice(9, 12))) == "inside"
    assert metal((slice(17, 22), slice(9, 12), slice(9, 12))) == "near"  # 2 mm away
    assert metal((slice(25, 30), slice(9, 12), slice(9, 12))) == "none"  # 6 mm away
    assert metal((slice(9, 10), slice(9, 10), slice(9, 10))) == "none"  # a single voxel is noise
    assert metal((slice(13, 24), slice(6, 16), slice(8, 20))) == "near"  # a neighbour's crown shines in


def test_enamel_denser_than_4000_hu_is_no_metal_and_the_last_value_of_a_12_bit_scan_is() -> None:
    labels = one_tooth()
    image = np.random.default_rng(0).normal(0, 60, labels.shape) + np.where(labels > 0, 2500.0, 0.0)
    image[8:14, 8:14, 4:10] += 1900.0
    assert tooth_rows(labels, LPS, image=image)[0].metal == "none"
    clipped = np.minimum(image, 2400.0)
    clipped[10:12, 10:12, 5:8] = 3071.0
    assert tooth_rows(labels, LPS, image=clipped)[0].metal == "inside"


def test_the_scan_is_used_in_any_orientation_but_not_on_another_grid() -> None:
    labels = one_tooth()
    image = np.zeros(labels.shape, np.float32)
    image[9:12, 9:12, 6:9] = 12000.0
    turned = LPS @ np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[0, 3] = LPS[0, 0] * (labels.shape[0] - 1)
    for affine, values, expected in ((turned, image[::-1].copy(), "inside"), (2 * LPS, image, None)):
        case = {"pred": tensor(labels), "image": tensor(values, affine)}
        assert MeasureTeethd("pred")(case)["teeth"][0].metal == expected


def test_missing_teeth_and_uncertain_numbers_are_told() -> None:
    labels = one_tooth(16)
    labels[:, :, 25] = 0
    findings = reading(finding(17), finding(16, sure=False))
    case = MeasureTeethd("pred")({"pred": tensor(labels), "findings": findings})
    found = named(case)
    assert found["upper teeth"]["value"] == 1
    assert (
        "18, 15" not in found["upper teeth"]["reason"] and "14, 15, 18, 21" in found["upper teeth"]["reason"]
    )
    assert "17" not in found["upper teeth"]["reason"]  # seen, if not outlined
    assert found["lower teeth"]["value"] is None and "not in the field" in found["lower teeth"]["reason"]
    assert found["tooth 16 confidence"]["value"] == pytest.approx(0.9)
    assert found["tooth 16 volume"]["reason"] == "number uncertain"
    assert any(note.startswith("uncertain number: 16 ") for note in case["warnings"])
    assert any(note.endswith("not outlined in 3D: 17") for note in case["warnings"])


def test_without_findings_nothing_fails_and_missing_teeth_come_from_the_label_map(tmp_path: Path) -> None:
    labels = one_tooth(46).astype(np.float32)  # as a label map can come back from an inverse transform
    case = MeasureTeethd("pred")({"pred": tensor(labels)})
    found = named(case)
    assert found["lower teeth"]["value"] == 1 and "45, 47" in found["lower teeth"]["reason"]
    assert "tooth 46 confidence" not in found and case["warnings"] == []
    done = SaveTeethTabled("pred", tmp_path)(case)
    (line,) = csv.DictReader(Path(done["outputs"]["teeth"]).open())
    assert Path(done["outputs"]["teeth"]).name == "case_teeth.csv"
    assert (line["fdi"], line["name"], line["volume_mm3"]) == ("46", "lower right first molar", "720.0")
    assert line["confidence"] == line["sure"] == line["metal"] == ""


def test_an_empty_label_map_gives_no_rows() -> None:
    case = MeasureTeethd("pred")({"pred": tensor(np.zeros((6, 6, 6), np.uint8))})
    assert case["teeth"] == []
    assert [item["value"] for item in case["measurements"]] == [None, None]


def test_every_tooth_has_its_own_name() -> None:
    assert tooth_name(11) == "upper right central incisor" and tooth_name(38) == "lower left third molar"
    assert len({tooth_name(code) for code in FDI_CODES}) == 32


def test_rows_follow_the_fdi_numbers() -> None:
    labels = np.zeros((40, 10, 10), np.uint8)
    for place, code in enumerate((48, 11, 25)):
        labels[10 * place + 2 : 10 * place + 6, 2:6, 2:8] = label_of(code)
    assert [row.fdi for row in tooth_rows(labels, LPS)] == [11, 25, 48]


def edges(triangles: np.ndarray) -> tuple[int, set[int]]:
    """How often a directed edge occurs at most, and how often undirected ones do."""
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    both = np.unique(np.sort(directed, 1), axis=0, return_counts=True)[1]
    return int(np.unique(directed, axis=0, return_counts=True)[1].max()), set(both.tolist())


def volume(points: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = np.moveaxis(points[triangles], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_the_surface_of_a_ball_has_its_volume_and_place_and_faces_outwards(flip: float) -> None:
    spacing, middle = np.array([0.4, 0.4, 0.6]), np.array([14.0, -3.0, 25.0])
    index = np.stack(np.meshgrid(*map(np.arange, (31, 31, 21)), indexing="ij"), -1)
    mask = np.linalg.norm((index - [15, 15, 10]) * spacing, axis=-1) < 4
    affine = LPS @ np.diag([flip * spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = LPS[:3, :3] @ middle - affine[:3, :3] @ [15, 15, 10]
    points, triangles = surface(mask, affine)
    assert volume(points, triangles) == pytest.approx(4 / 3 * np.pi * 64, rel=0.03)
    assert np.allclose(points.mean(0), middle, atol=0.05)
    assert np.abs(np.linalg.norm(points - middle, axis=1) - 4).max() < 0.3


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_every_edge_of_a_surface_belongs_to_two_triangles_even_where_voxels_touch_in_corners(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dental_teeth.surfaces.SMOOTH_VOXELS", 1e-3)  # smoothing would spare the worst
    mask = np.random.default_rng(0).random((12, 12, 12)) < share
    _, triangles = surface(mask, LPS)
    assert edges(triangles) == (1, {2})


def test_a_single_voxel_and_a_full_volume_have_closed_surfaces_and_nothing_has_none() -> None:
    for mask in (np.ones((1, 1, 1), bool), np.ones((4, 5, 6), bool)):
        points, triangles = surface(mask, LPS)
        assert edges(triangles) == (1, {2}) and volume(points, triangles) > 0
    with pytest.raises(ValueError, match="empty"):
        surface(np.zeros((3, 3, 3), bool), LPS)


def test_surfaces_are_written_on_request_only_in_lps_millimetres(tmp_path: Path) -> None:
    affine = LPS @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = (-100.0, -50.0, 7.0)  # RAS; in LPS it is (100, 50, 7)
    findings = reading(finding(16, sure=False))
    case = {"pred": tensor(one_tooth(16), affine), "findings": findings}
    assert "outputs" not in SaveSurfacesd("pred", tmp_path)(case) and not list(tmp_path.iterdir())
    done = SaveSurfacesd("pred", tmp_path, metadata={"name": "b", "version": "1.2.3"}, enabled=True)(case)
    path = Path(done["outputs"]["surface_16"])
    content = path.read_bytes()
    assert path.name == "case_tooth_16.stl"
    assert content[:80].rstrip(b"\0") == b"SPACE=LPS mm, tooth 16 (number uncertain), b 1.2.3"
    count = int(np.frombuffer(content, "<u4", 1, 80)[0])
    assert len(content) == 84 + 50 * count
    record = np.dtype([("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("attribute", "<u2")])
    corners = np.frombuffer(content, record, offset=84)["points"].reshape(-1, 3)
    assert corners.min(0) == pytest.approx([103.75, 53.75, 8.75], abs=0.2)
    assert corners.max(0) == pytest.approx([106.75, 56.75, 18.75], abs=0.2)


def test_the_header_of_a_binary_stl_does_not_begin_as_that_of_a_text_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="solid"):
        write_stl(tmp_path / "a.stl", np.zeros((3, 3)), np.array([[0, 1, 2]]), "solid tooth")


def test_fdi_numbers_keep_the_names_of_their_teeth_for_3d_slicer(tmp_path: Path) -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0], labels[1] = 9, 32
    case = FdiCodesd("pred")({"pred": tensor(labels)})
    metadata = Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation/configs/metadata.json"
    done = SaveImageWholed("pred", tmp_path, metadata=metadata, output_ext=".seg.nrrd")(case)
    header = Path(done["outputs"]["pred"]).read_bytes().partition(b"\n\n")[0].decode().split("\n")
    for index, name in ((8, "21 upper left central incisor"), (31, "48 lower right third molar")):
        assert f"Segment{index}_LabelValue:={name[:2]}" in header and f"Segment{index}_Name:={name}" in header
    assert set(np.unique(read_image(done["outputs"]["pred"]).array).tolist()) == {0, 21, 48}
