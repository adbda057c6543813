"""Files whose bytes changed on the way: a sum is compared with the bytes, also where no library does it."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medbundles.errors import BundleError, GridError, SpacingError, UnreadableFileError
from medbundles.images import upright_affine
from medbundles.io import read_image, write_image
from medbundles.weights import load_weights

PIXELS = np.random.default_rng(0).integers(0, 2000, (1, 20, 24, 6)).astype(np.int16)
AFFINE = upright_affine((0.5, 0.6, 2.0))


def turn_bit(path: Path, place: int) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    return path


def test_a_changed_sum_of_a_gzipped_nifti_is_noticed(tmp_path: Path) -> None:
    write_image(PIXELS, tmp_path / "a.nii.gz", affine=AFFINE)
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").array, PIXELS)
    with pytest.raises(UnreadableFileError, match="CRC"):
        read_image(turn_bit(tmp_path / "a.nii.gz", -8))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_gzipped_nifti_of_both_versions_and_byte_orders_is_read(
    tmp_path: Path, kind: type, order: str
) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nibabel.save(kind(PIXELS[0], AFFINE, header), tmp_path / "a.nii.gz")
    read = read_image(tmp_path / "a.nii.gz")
    assert np.array_equal(read.array, PIXELS)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-6)


def test_much_behind_the_last_pixel_is_refused_and_a_little_is_not(tmp_path: Path) -> None:
    content = nibabel.Nifti1Image(PIXELS[0], AFFINE).to_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content + bytes(100), 1))
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").array, PIXELS)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content + bytes(2**26), 1))
    with pytest.raises(UnreadableFileError, match="more data"):
        read_image(tmp_path / "a.nii.gz")


def test_a_changed_sum_of_a_gzipped_nrrd_is_noticed(tmp_path: Path) -> None:
    write_image(PIXELS, tmp_path / "a.nrrd", affine=AFFINE)
    assert b"gzip" in (tmp_path / "a.nrrd").read_bytes()[:600]
    assert np.array_equal(read_image(tmp_path / "a.nrrd").array, PIXELS)
    with pytest.raises(UnreadableFileError):
        read_image(turn_bit(tmp_path / "a.nrrd", -8))


NRRD = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 2\nencoding: raw\nspacings: 1 2 3\n"
BROKEN_HEADERS = {
    "no blank line": NRRD + b"0 5188 -143 7222 -16390 " * 90,
    "a line that is no field": NRRD + b"9964,0.0)\n\n" + bytes(range(12)),
    "a value without an end": NRRD + b"space origin: (1,2," + b"7 " * 900 + b"\n\n" + bytes(range(12)),
    "another first line": NRRD.replace(b"NRRD0004", b"NRRD") + b"\n" + bytes(range(12)),
}


@pytest.mark.parametrize("name", BROKEN_HEADERS)
def test_a_broken_header_of_nrrd_is_refused_before_itk_sees_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.nrrd").write_bytes(BROKEN_HEADERS[name])
    with pytest.raises(UnreadableFileError, match=r"a\.nrrd"):
        read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_headers_of_nrrd_with_keys_comments_and_either_line_end_are_read(tmp_path: Path, end: bytes) -> None:
    header = NRRD + b"# a comment\nkey:=" + b"long " * 900 + b"\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.replace(b"\n", end) + bytes(range(12)))
    assert read_image(tmp_path / "a.nrrd").array.ravel("F").tolist() == list(range(12))


def test_a_changed_sum_of_a_picture_is_noticed(tmp_path: Path) -> None:
    write_image(PIXELS[..., 0].astype(np.uint8), tmp_path / "a.png", affine=AFFINE)
    content = (tmp_path / "a.png").read_bytes()
    place = content.index(b"IEND") - 5  # the last byte of the pixels' sum
    with pytest.raises(UnreadableFileError, match="picture"):
        read_image(turn_bit(tmp_path / "a.png", place))


def test_a_negative_pixel_spacing_of_dicom_is_refused(tmp_path: Path, dicom_file: Callable) -> None:
    path = dicom_file(tmp_path / "a.dcm", PIXELS[0, ..., 0], modality="CT", PixelSpacing=[-0.5, 0.5])
    with pytest.raises(SpacingError, match=r"a\.dcm"):
        read_image(path)


@pytest.mark.parametrize("element", [b"\x20\x00\x37\x00DS", b"\x02\x00\x00\x00UL"], ids=["value", "length"])
def test_a_damaged_header_of_dicom_is_told_without_quoting_it(
    tmp_path: Path, dicom_file: Callable, element: bytes
) -> None:
    orientation = [1, 0, 0, 0, 1, 0]
    path = dicom_file(tmp_path / "a.dcm", PIXELS[0, ..., 0], ImageOrientationPatient=orientation)
    content = bytearray(path.read_bytes())
    assert content.count(element) == 1
    place = content.index(element)
    content[place + (8 if element.endswith(b"DS") else 6)] = ord("S")  # first byte of the value or its length
    path.write_bytes(bytes(content))
    with pytest.raises((UnreadableFileError, GridError), match=r"a\.dcm") as caught:
        read_image(path)
    assert "could not convert" not in str(caught.value)
    assert "Secret" not in str(caught.value)


def weights(path: Path, change: Callable[[torch.Tensor], None] = lambda w: None) -> torch.nn.Module:
    network = torch.nn.Linear(3, 2)
    with torch.no_grad():
        change(network.weight)
    torch.save(network.state_dict(), path)
    return network


def test_a_bit_turned_in_weights_is_noticed(tmp_path: Path) -> None:
    network = weights(tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        stored = archive.read(next(name for name in archive.namelist() if name.endswith("data/0")))
    place = (tmp_path / "model.pt").read_bytes().index(stored)
    assert load_weights(torch.nn.Linear(3, 2), tmp_path / "model.pt").weight.equal(network.weight)
    with pytest.raises(BundleError, match="damaged"):
        load_weights(torch.nn.Linear(3, 2), turn_bit(tmp_path / "model.pt", place))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    weights(tmp_path / "model.pt", lambda w: w.fill_(value))
    with pytest.raises(BundleError, match=r"not numbers.*weight"):
        load_weights(torch.nn.Linear(3, 2), tmp_path / "model.pt")


@st.composite
def images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of any type and shape, on a grid that is turned, mirrored, stretched and far away."""
    ndim = draw(st.sampled_from([2, 3]))
    shape = draw(st.tuples(*[st.integers(2, 9)] * ndim))
    kind = np.dtype(draw(st.sampled_from(["u1", "i2", "u2", "i4", "f4"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 100, (1, *shape)).astype(kind)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * draw(st.tuples(*[st.floats(0.05, 20)] * 3))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-900, 900)] * 3))
    return pixels, affine


@given(image=images(), suffix=st.sampled_from([".nii.gz", ".nii", ".nrrd", ".mha"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path: Path, image: tuple[np.ndarray, np.ndarray], suffix: str) -> None:
    pixels, affine = image
    path = tmp_path / f"a{suffix}"
    write_image(pixels, path, affine=affine)
    read = read_image(path)
    assert np.array_equal(read.array, pixels)
    columns = [*range(pixels.ndim - 1), 3]
    np.testing.assert_allclose(read.affine[:3, columns], affine[:3, columns], atol=1e-3)
