"""What 3D Slicer makes of results: its readers of segmentations and volumes, its surfaces, its pictures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, Invertd, Orientationd

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
from dicom_cases import METADATA, TILT, builder, case_of
from slicer_scene import Scene, Shown

from medbundles import cli
from medbundles.dicom_results import SaveDicomd
from medbundles.metadata import bundle_info
from medbundles.reports import read_report
from medbundles.slicer import write_segmentation
from medbundles.terminology import Terminology
from medbundles.transforms import LoadImageCheckedd, SaveImageWholed
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import find_bundle

pytestmark = pytest.mark.slicer

TEETH, BRAIN = "dental_cbct_tooth_segmentation", "brats_mri_collagan_segmentation"
FETUS = "fetal_us_biometry_segmentation"
TISSUE, MARKER = 100, 1000
SIZE = (24, 20, 16)
PLACE = (slice(3, 7), slice(12, 15), slice(9, 11))  # off the middle along every axis
SPACING = (0.3, 0.9, 2.7)


def turned(axes: np.ndarray) -> np.ndarray:
    """Returns an anisotropic affine with the axes (columns, RAS) and an origin off zero."""
    affine = np.eye(4)
    affine[:3, :3] = axes * SPACING
    affine[:3, 3] = [41.0, -17.0, 88.0]
    return affine


OBLIQUE = TILT * np.array([1, 1, np.linalg.det(TILT)])
LAYOUTS = {
    "RAS": turned(np.eye(3)),
    "LPS": turned(np.diag([-1.0, -1, 1])),
    "sagittal": turned(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])),
    "oblique": turned(OBLIQUE),
    "mirrored oblique": turned(OBLIQUE * np.array([1, 1, -1])),
}


def phantom() -> np.ndarray:
    image = np.full(SIZE, TISSUE, np.int16)
    image[PLACE] = MARKER
    return image


def truth(affine: np.ndarray) -> np.ndarray:
    """Returns the middle of the marker by hand."""
    middle = [(part.start + part.stop - 1) / 2 for part in PLACE]
    return affine[:3, :3] @ middle + affine[:3, 3]


def segmented(source: Path, folder: Path, extension: str) -> Path:
    """Finds the marker as bundles do: read, turn to LPS, compute, turn back, save."""
    info = bundle_info(find_bundle(TEETH) / "configs" / "metadata.json")
    read = Compose([LoadImageCheckedd("image"), Orientationd("image", axcodes="LPS")])
    case = read({"image": str(source)})
    case["pred"] = (case["image"] > MARKER / 2) * 2
    case = Invertd("pred", transform=read, orig_keys="image", nearest_interp=True)(case)
    writer = SaveImageWholed("pred", folder, metadata=info.metadata, output_ext=extension)
    return Path(writer(case)["outputs"]["pred"])


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_segment_lies_where_the_image_shows_it(scene: Scene, layout: str, tmp_path: Path) -> None:
    affine = LAYOUTS[layout]
    nib.save(nib.Nifti1Image(phantom(), affine), tmp_path / "scan.nii.gz")
    seen = scene.brightest(scene.volume(tmp_path / "scan.nii.gz"))
    named = scene.segments(scene.segmentation(segmented(tmp_path / "scan.nii.gz", tmp_path, ".seg.nrrd")))
    (plain,) = scene.segments(scene.segmentation(segmented(tmp_path / "scan.nii.gz", tmp_path, ".nii.gz")))
    (found,) = [segment for segment in named if segment.voxels]
    assert found.name == "12 upper right lateral incisor" and plain.name == "Segment_2"
    assert found.voxels == plain.voxels == 4 * 3 * 2
    assert found.volume == pytest.approx(24 * np.prod(SPACING), rel=1e-5)
    within = 0.01 * min(SPACING)
    for centre in (found.centre, plain.centre, seen):
        np.testing.assert_allclose(centre, truth(affine), atol=within)


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as an oblique DICOM series, its slices numbered from the other end."""
    folder = tmp_path_factory.mktemp("dicom") / "ct"
    folder.mkdir()
    image = phantom()
    for index in range(SIZE[2]):
        tags: dict[str, Any] = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": "1.2.3.4",
            "FrameOfReferenceUID": "1.2.9",
            "ImageOrientationPatient": [f"{v:.10f}" for v in (*OBLIQUE[:, 0], *OBLIQUE[:, 1])],
            "ImagePositionPatient": [f"{v:.8f}" for v in in_patient([0, 0, index])],
            "PixelSpacing": [SPACING[1], SPACING[0]],
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
            "InstanceNumber": SIZE[2] - index,
        }
        builder()(folder / f"{index:02d}.dcm", image[..., index].T, modality="CT", **tags)
    return folder


def in_patient(index: Sequence[float]) -> np.ndarray:
    """Returns where DICOM's headers say that a voxel is, LPS."""
    return np.array([-30.0, 12.0, 40.0]) + OBLIQUE @ (np.asarray(index) * SPACING)


def test_a_segment_of_dicom_lies_where_the_patient_has_it(scene: Scene, ct: Path, tmp_path: Path) -> None:
    expected = in_patient([(part.start + part.stop - 1) / 2 for part in PLACE]) * [-1, -1, 1]
    path = segmented(ct, tmp_path, ".seg.nrrd")
    (found,) = [segment for segment in scene.segments(scene.segmentation(path)) if segment.voxels]
    seen = scene.brightest(scene.volume(*sorted(ct.iterdir())))
    np.testing.assert_allclose(found.centre, expected, atol=0.01 * min(SPACING))
    np.testing.assert_allclose(seen, expected, atol=0.01 * min(SPACING))


def test_dicom_seg_and_seg_nrrd_show_the_same_in_slicer(scene: Scene, ct: Path, tmp_path: Path) -> None:
    """Slicer's extension QuantitativeReporting reads DICOM SEG with dcmqi."""
    case = case_of(ct, (phantom() == MARKER).astype(np.uint8) * 2, tmp_path / "preview")
    case = SaveImageWholed("pred", tmp_path, metadata=METADATA, output_ext=".seg.nrrd")(case)
    case = SaveDicomd("pred", tmp_path, metadata=METADATA, output_format="dicom")(case)
    source = Path(case["outputs"]["dicom"]) / "segmentation.dcm"
    program = Path(sys.executable).with_name("segimage2itkimage")
    options = ["--inputDICOM", source, "--outputDirectory", tmp_path, "-t", "nrrd"]
    subprocess.run([str(word) for word in (program, *options)], check=True, capture_output=True)
    (theirs,) = scene.segments(scene.segmentation(tmp_path / "1.nrrd"))
    listed = scene.segments(scene.segmentation(Path(case["outputs"]["pred"])))
    (ours,) = [segment for segment in listed if segment.voxels]
    assert ours.name == "12 second" and theirs.voxels == ours.voxels == 24
    np.testing.assert_allclose(theirs.centre, ours.centre, atol=0.01 * min(SPACING))


def test_every_tooth_is_listed_named_coloured_and_coded_whether_found_or_not(
    scene: Scene, tmp_path: Path
) -> None:
    info = bundle_info(find_bundle(TEETH) / "configs" / "metadata.json")
    terms = list(Terminology(info).segments.values())
    labels = np.zeros((40, 40, 6), np.uint8)
    found = {term.value: (term.value % 5 + 1) * 2 for term in terms if term.value not in (1, 20)}
    for value, count in found.items():
        labels[value, :count, 2] = value
    segments = {"affine": LAYOUTS["oblique"], "segments": terms}
    write_segmentation(labels, tmp_path / "teeth.seg.nrrd", **segments)
    listed = scene.segments(scene.segmentation(tmp_path / "teeth.seg.nrrd"))
    assert [segment.name for segment in listed] == list(info.label_names.values())
    for segment, term in zip(listed, terms, strict=True):
        assert segment.voxels == found.get(term.value, 0)
        assert segment.volume == pytest.approx(segment.voxels * np.prod(SPACING))
        colour = np.frombuffer(bytes.fromhex(term.colour[1:]), np.uint8) / 255
        np.testing.assert_allclose(segment.colour, colour, atol=1e-4)
        entry = scene.term(segment.entry)
        kind, category = entry.GetTypeObject(), entry.GetCategoryObject()
        assert (kind.GetCodingSchemeDesignator(), kind.GetCodeValue()) == (term.type.scheme, term.type.value)
        assert kind.GetCodeMeaning() == term.type.meaning
        assert category.GetCodeValue() == term.category.value


def test_modifiers_and_regions_are_read_too(scene: Scene, tmp_path: Path) -> None:
    terms = Terminology(bundle_info(find_bundle(BRAIN) / "configs" / "metadata.json")).segments
    labels = np.ones((4, 4, 4), np.uint8)
    write_segmentation(labels, tmp_path / "a.seg.nrrd", affine=LAYOUTS["RAS"], segments=list(terms.values()))
    core = scene.segments(scene.segmentation(tmp_path / "a.seg.nrrd"))[0]
    entry = scene.term(core.entry)
    assert entry.GetTypeModifierObject().GetCodeValue() == terms[1].modifier.value
    assert entry.GetRegionObject().GetCodeMeaning() == terms[1].region.meaning


def test_what_slicer_saves_is_what_it_read(scene: Scene, tmp_path: Path) -> None:
    """Else a correction by hand would come back with other labels."""
    nib.save(nib.Nifti1Image(phantom(), LAYOUTS["oblique"]), tmp_path / "scan.nii.gz")
    node = scene.segmentation(segmented(tmp_path / "scan.nii.gz", tmp_path, ".seg.nrrd"))
    node.GetStorageNode() or node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(tmp_path / "again.seg.nrrd"))
    assert storage.WriteData(node)
    first, again = scene.segments(node), scene.segments(scene.segmentation(tmp_path / "again.seg.nrrd"))
    assert [(s.name, s.entry, s.voxels) for s in again] == [(s.name, s.entry, s.voxels) for s in first]


def test_surfaces_are_drawn_in_the_colours_of_the_pictures(scene: Scene, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(phantom(), LAYOUTS["oblique"]), tmp_path / "scan.nii.gz")
    node = scene.segmentation(segmented(tmp_path / "scan.nii.gz", tmp_path, ".seg.nrrd"))
    pixels = scene.picture(node, tmp_path / "surface.png").astype(int)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    blueish = (blue > green + 20) & (green > red + 20)  # #39B8FF, lit
    assert 0.02 < blueish.mean() < 0.9


def predicted(bundle: str, source: Path, output: Path, *options: str) -> list[dict[str, Any]]:
    """Runs `medbundles predict` and returns the cases of its report."""
    words = ["predict", bundle, source, output, "--device", "cpu", "--page", "false", *options]
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    assert not stop.value.code
    return read_report(output)["cases"]


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One simulated brain with a tumour, anisotropic, stored as RAS and as an oblique LPS."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("brains")
    simulate(find_bundle(BRAIN), made, 1, 5, spacing_mm=2.0)
    image = nib.load(next((made / "images").iterdir())).slicer[:, :, ::2]
    nib.save(nib.as_closest_canonical(image), folder / "ras.nii.gz")
    tilt = np.eye(4)
    tilt[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.15, 0.1)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), tilt @ image.affine), folder / "oblique.nii.gz")
    return folder


def test_tumours_of_predict_have_their_volumes_and_places(scene: Scene, brains: Path, tmp_path: Path) -> None:
    options = ("--spacing_mm", "2")
    named = predicted(BRAIN, brains, tmp_path / "named", *options, "--output_ext", ".seg.nrrd")
    plain = predicted(BRAIN, brains, tmp_path / "plain", *options)
    assert len(named) == len(plain) == 2
    for one, other in zip(named, plain, strict=True):
        assert one["outputs"]["pred"].endswith("_seg.seg.nrrd")
        segments = scene.segments(scene.segmentation(tmp_path / "named" / one["outputs"]["pred"]))
        assert [s.name for s in segments] == list(bundle_info(_metadata(BRAIN)).label_names.values())
        measured = {row["name"]: row["value"] for row in one["measurements"]}
        millilitres = [segment.volume / 1000 for segment in segments]
        assert sum(millilitres) == pytest.approx(measured["WT volume"], rel=1e-4) and sum(millilitres) > 1
        assert millilitres[2] == pytest.approx(measured["ET volume"], rel=1e-4)
        _same(segments, _labels(tmp_path / "plain" / other["outputs"]["pred"]))


def test_a_frame_of_predict_lies_on_its_picture(scene: Scene, tmp_path: Path) -> None:
    simulate(find_bundle(FETUS), tmp_path / "made", 1, 7)
    frame = next((tmp_path / "made" / "images").iterdir())
    (named,) = predicted(FETUS, frame, tmp_path / "named", "--output_ext", ".seg.nrrd")
    (plain,) = predicted(FETUS, frame, tmp_path / "plain")
    segments = scene.segments(scene.segmentation(tmp_path / "named" / named["outputs"]["pred"]))
    assert [s.name for s in segments] == list(bundle_info(_metadata(FETUS)).label_names.values())
    _same(segments, _labels(tmp_path / "plain" / plain["outputs"]["pred"]))
    image, first = scene.volume(frame), segments[0]
    bounds = np.zeros(6)
    image.GetRASBounds(bounds)
    assert all(bounds[2 * i] <= first.centre[i] <= bounds[2 * i + 1] for i in range(3))


def _metadata(bundle: str) -> Path:
    return find_bundle(bundle) / "configs" / "metadata.json"


def _labels(path: Path) -> Callable[[int], tuple[int, np.ndarray | None]]:
    """What nibabel says of a label: its voxels and their middle in RAS."""
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    values = values[..., None] if values.ndim == 2 else values

    def label(value: int) -> tuple[int, np.ndarray | None]:
        places = np.argwhere(values == value)
        middle = nib.affines.apply_affine(image.affine, places.mean(0)) if len(places) else None
        return len(places), middle

    return label


def _same(segments: list[Shown], labels: Callable[[int], tuple[int, np.ndarray | None]]) -> None:
    for value, segment in enumerate(segments, start=1):
        voxels, middle = labels(value)
        assert segment.voxels == voxels
        if voxels:
            np.testing.assert_allclose(segment.centre, middle, atol=0.01)
