"""Segmentations for 3D Slicer, read by a parser of the NRRD format that is no code of ours, and by ITK."""

from __future__ import annotations

import gzip
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medbundles import io, slicer
from medbundles.errors import OverrideError
from medbundles.metadata import bundle_info
from medbundles.saving import SaveImageWholed
from medbundles.slicer import write_segmentation
from medbundles.terminology import Code, SegmentTerms, Terminology
from medbundles.zoo.find import bundle_folders, load_object

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.linalg.qr(np.array([[1, 2, 0.5], [0.2, 1, 3], [2, 0.1, 1]]))[0] * [0.3, 0.6, 2.0]
OBLIQUE[:3, 3] = [5, -7, 9]
CORONAL = np.array([[-0.3, 0, 0, 1], [0, 0, 1, 2], [0, -0.4, 0, 3], [0, 0, 0, 1.0]])
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
HEAD = Code("69536005", "SCT", "Head")
SEGMENTS = [
    SegmentTerms(1, "11 first", ANATOMY, Code("1", "SCT", "A tooth"), None, HEAD, "#FF8000"),
    SegmentTerms(
        2, "12 second", ANATOMY, Code("2", "SCT", "Odd ~^| text"), Code("P", "X", "part"), None, "#00FF00"
    ),
    SegmentTerms(7, "çà", ANATOMY, Code("3", "SCT", "None here"), None, None, "#0000FF"),
]
METADATA = {
    "name": "a_bundle",
    "version": "1.2.3",
    "network_data_format": {
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "11 first", "2": "12 second"}}}
    },
    "medbundles": {"input": {"spatial_dims": 3}, "output": {"key": "pred", "kind": "labels"}},
}


def parsed(path: Path) -> tuple[dict[str, str], np.ndarray]:
    """Returns the fields and keys of an attached, compressed NRRD of bytes, and its values (x, y, z)."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    magic, *lines = head.decode().split("\n")
    assert magic.startswith("NRRD000")
    pairs = [line.split(":=" if ":=" in line else ": ", 1) for line in lines]
    fields = {name: value.strip() for name, value in pairs}
    sizes = [int(n) for n in fields["sizes"].split()]
    return fields, np.frombuffer(gzip.decompress(body), np.uint8).reshape(sizes, order="F")


def some_labels(shape: tuple[int, ...] = (7, 5, 4)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[1:3, 1:4] = 1
    labels[5, 2] = 2
    return labels


@pytest.mark.parametrize("block", [1, 80, 2**24], ids=lambda n: f"{n} bytes at once")
def test_values_grid_and_type_come_back(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer, "BLOCK_BYTES", block)
    labels = np.random.default_rng(0).choice(np.array([0, 1, 2, 7], np.uint8), (7, 5, 4))
    write_segmentation(labels, tmp_path / "a.seg.nrrd", affine=OBLIQUE, segments=SEGMENTS)
    fields, values = parsed(tmp_path / "a.seg.nrrd")
    assert np.array_equal(values, labels)
    assert fields["space"] == "left-posterior-superior" and fields["type"] == "unsigned char"
    image = io.read_image(tmp_path / "a.seg.nrrd")
    assert np.array_equal(image.array[0], labels) and image.array.dtype == np.uint8
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-12)


def test_a_segment_has_the_name_colour_value_and_codes_of_its_label(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(some_labels(), path, affine=OBLIQUE, segments=SEGMENTS, description="b 1\n2")
    fields, _ = parsed(path)
    assert [fields[f"Segment{i}_Name"] for i in range(3)] == ["11 first", "12 second", "çà"]
    assert [fields[f"Segment{i}_LabelValue"] for i in range(3)] == ["1", "2", "7"]
    assert [fields[f"Segment{i}_Layer"] for i in range(3)] == ["0", "0", "0"]
    assert fields["Segment0_Color"] == "1 0.501961 0"
    assert "Segment3_ID" not in fields and len({fields[f"Segment{i}_ID"] for i in range(3)}) == 3
    what = "SCT^91723000^Anatomical Structure~SCT^1^A tooth~^^"
    lists = "Segmentation category and type - DICOM master list", "Anatomic codes - DICOM master list"
    assert fields["Segment0_Tags"] == f"TerminologyEntry:{lists[0]}~{what}~{lists[1]}~SCT^69536005^Head~^^|"
    assert fields["Segment1_Tags"].count("~") == 6 and "~SCT^2^Odd text~X^P^part~" in fields["Segment1_Tags"]
    assert fields["Segmentation_SourceRepresentation"] == "Binary labelmap"
    assert fields["description"] == "b 1 2"


def test_every_segment_extends_over_the_whole_volume_lest_the_first_cut_the_others(tmp_path: Path) -> None:
    labels = some_labels()
    labels[labels == 1] = 0
    write_segmentation(labels, tmp_path / "a.seg.nrrd", affine=OBLIQUE, segments=SEGMENTS)
    fields, _ = parsed(tmp_path / "a.seg.nrrd")
    assert {fields[f"Segment{i}_Extent"] for i in range(3)} == {"0 6 0 4 0 3"}


@pytest.mark.parametrize("affine", [np.diag([-0.5, -0.25, 1.0, 1.0]), CORONAL], ids=["upright", "coronal"])
def test_a_frame_becomes_a_volume_of_one_slice_at_its_place(tmp_path: Path, affine: np.ndarray) -> None:
    labels = some_labels((7, 5))
    write_segmentation(labels, tmp_path / "a.seg.nrrd", affine=affine, segments=SEGMENTS)
    fields, values = parsed(tmp_path / "a.seg.nrrd")
    assert fields["sizes"] == "7 5 1" and np.array_equal(values[..., 0], labels)
    image = io.read_image(tmp_path / "a.seg.nrrd")
    assert image.array.shape == (1, 7, 5)
    np.testing.assert_allclose(image.affine, affine, atol=1e-12)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = tmp_path / f"{name}.seg.nrrd"
        write_segmentation(some_labels(), path, affine=OBLIQUE, segments=SEGMENTS)
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_a_large_volume_is_written_without_a_copy_of_it(tmp_path: Path) -> None:
    labels = np.zeros((400, 400, 400), np.uint8)  # 64 MB
    labels[50:350, 50:350, 50:350] = 1
    tracemalloc.start()
    write_segmentation(labels, tmp_path / "a.seg.nrrd", affine=OBLIQUE, segments=SEGMENTS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * slicer.BLOCK_BYTES < labels.nbytes


@pytest.mark.parametrize("labels", [np.full((4, 4, 4), 3, np.uint8), np.zeros((4, 4, 4), np.int16)])
def test_values_without_a_name_and_other_types_are_refused(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\[3\]|int16"):
        write_segmentation(labels, tmp_path / "a.seg.nrrd", affine=OBLIQUE, segments=SEGMENTS)


def saved(folder: Path, labels: np.ndarray, **case: object) -> Path:
    """Saves a label map as a bundle's postprocessing does."""
    meta = {"filename_or_obj": "scan.nii.gz"}
    pred = MetaTensor(torch.from_numpy(labels[None].astype(np.float32)), affine=OBLIQUE, meta=meta)
    writer = SaveImageWholed("pred", folder, metadata=METADATA, output_ext=".seg.nrrd")
    return Path(writer({"pred": pred, **case})["outputs"]["pred"])


def test_the_writer_of_results_names_the_bundle_and_what_is_synthetic(tmp_path: Path) -> None:
    path = saved(tmp_path, some_labels(), synthetic_inputs=["t1"])
    assert path.name == "scan_synthetic_input_seg.seg.nrrd"
    fields, values = parsed(path)
    assert np.array_equal(values, some_labels())
    assert fields["description"] == "a_bundle 1.2.3; synthetic input: t1"
    assert fields["Segment1_Name"] == "12 second"


def test_labels_that_were_given_other_numbers_keep_their_names(tmp_path: Path) -> None:
    labels = some_labels() * np.uint8(20)
    fields, values = parsed(saved(tmp_path, labels, label_values={1: 20, 2: 40}))
    assert np.array_equal(values, labels)
    assert (fields["Segment1_Name"], fields["Segment1_LabelValue"]) == ("12 second", "40")


def test_a_result_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[3\]"):
        saved(tmp_path, np.full((4, 4, 4), 3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("extension", "kind", "said"),
    [
        (".seg.nrrd", "image", "not a segmentation"),
        ("seg.nrrd", "labels", "write --output_ext .seg.nrrd"),
        (".nii.gs", "labels", "write --output_ext .nii.gz"),
        (".stl", "labels", "output_ext '.stl'"),
        (".png", "labels", "no 8-bit pictures"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path: Path, extension: str, kind: str, said: str
) -> None:
    block = METADATA["medbundles"] | {"output": {"key": "pred", "kind": kind}}
    with pytest.raises(OverrideError, match=said):
        SaveImageWholed("pred", tmp_path, metadata=METADATA | {"medbundles": block}, output_ext=extension)


@pytest.mark.parametrize("folder", bundle_folders(), ids=lambda folder: folder.name)
def test_segments_have_the_colours_of_the_pictures(folder: Path) -> None:
    info = bundle_info(folder / "configs" / "metadata.json")
    numbers = info.metadata["medbundles"].get("page", {}).get("numbers", {})
    colour = load_object(folder, numbers.get("colour", "medbundles.drawing.label_colour"))
    for value, segment in Terminology(info).segments.items():
        number = int(segment.name.split(" ")[0]) if numbers else value
        assert segment.colour == colour(number), segment.name


def test_names_of_all_bundles_fit_into_a_header(tmp_path: Path) -> None:
    for folder in bundle_folders():
        segments = list(Terminology(bundle_info(folder / "configs" / "metadata.json")).segments.values())
        odd = [replace(segment, value=segment.value + 1) for segment in segments]
        path = tmp_path / f"{folder.name}.seg.nrrd"
        write_segmentation(np.zeros((2, 2, 2), np.uint8), path, affine=OBLIQUE, segments=odd)
        fields, _ = parsed(path)
        assert [fields[f"Segment{i}_Name"] for i in range(len(odd))] == [segment.name for segment in odd]
