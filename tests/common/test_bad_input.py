"""Every kind of bad input: one `InputError` of its own, that names the file and says what to do."""

import gzip
import io as streams
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medbundles import archives, checks, formats, io
from medbundles.images import upright_affine

SPEC = {
    "spatial_dims": 2,
    "channels": 1,
    "modality": ["US"],
    "calibration": "optional",
    "spacing_mm": [0.02, 2.0],
    "size_px": [64, 4096],
    "value_range": [0, 65535],
    "colour": "grey_only",
}
VOLUME = SPEC | {
    "spatial_dims": 3,
    "modality": ["CT"],
    "value_range": [-1024, 30000],
    "calibration": "required",
}
VOLUME |= {"size_px": [2, 4096], "spacing_mm": [0.1, 10]}

x, y = np.meshgrid(np.arange(70), np.arange(90), indexing="ij")
FRAME = ((x + 2 * y) % 251).astype(np.uint8)
COLOUR = np.stack([FRAME, np.roll(FRAME, 40), 255 - FRAME], axis=-1).transpose(1, 0, 2)
Make = Callable[[Path], Path]


def png(folder: Path, pixels: np.ndarray = FRAME.T, name: str = "a.png") -> Path:
    Pillow.fromarray(pixels).save(folder / name)
    return folder / name


def nifti(folder: Path, array: np.ndarray, affine: np.ndarray | None = None, **fields: object) -> Path:
    image = nibabel.Nifti1Image(array, np.diag([-0.2, -0.2, 1, 1]) if affine is None else affine)
    content = bytearray(image.to_bytes())
    # nibabel repairs a bad header when it writes one, so the fields are changed in the bytes.
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return text(folder, "a.nii.gz", gzip.compress(bytes(content)))


def cut(path: Path, keep: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def text(folder: Path, name: str, content: bytes = b"this is no image at all\n" * 20) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def archive(folder: Path, name: str = "a.png", content: bytes = b"x", change: Callable | None = None) -> Path:
    info = zipfile.ZipInfo(name)
    if change is not None:
        change(info)
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.writestr(info, content)
    return folder / "a.zip"


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0o120777 << 16


def disagreeing(folder: Path) -> Path:
    image = nibabel.Nifti1Image(FRAME, np.diag([-0.2, -0.2, 1, 1]))
    image.set_sform(np.diag([-0.2, -0.2, 1, 1]), code=1)
    image.set_qform(np.diag([0.2, -0.2, -1, 1]), code=1)
    nibabel.save(image, folder / "a.nii.gz")
    return folder / "a.nii.gz"


def mha(folder: Path, changes: dict[bytes, bytes]) -> Path:
    io.write_image(FRAME[None], folder / "a.mha", affine=upright_affine((0.25, 0.5)))
    content = (folder / "a.mha").read_bytes()
    for old, new in changes.items():
        assert old in content
        content = content.replace(old, new)
    return text(folder, "a.mha", content)


def mhd(folder: Path, data: bytes) -> Path:
    header = b"NDims = 2\nDimSize = 70 90\nElementType = MET_UCHAR\nElementDataFile = " + data + b"\n"
    return text(folder, "a.mhd", header)


def huge_nifti(folder: Path) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    header["vox_offset"] = 352
    content = streams.BytesIO()
    header.write_to(content)
    return text(folder, "a.nii.gz", gzip.compress(content.getvalue() + bytes(100)))


def pages(folder: Path) -> Path:
    frames = [Pillow.fromarray(FRAME.T), Pillow.fromarray(255 - FRAME.T)]
    frames[0].save(folder / "a.tif", save_all=True, append_images=frames[1:])
    return folder / "a.tif"


def bomb(folder: Path) -> Path:
    """A PNG of 30 000 by 30 000 pixels in its header."""
    content = bytearray(png(folder).read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    return text(folder, "a.png", bytes(content))


def nans(value: float) -> np.ndarray:
    array = FRAME.astype(np.float32)
    array[5, 6] = value
    return array


KINDS: dict[str, tuple[Make, type[checks.InputError], str]] = {
    "missing file": (lambda f: f / "no.png", checks.MissingInputError, "no such file"),
    "folder without DICOM": (lambda f: f, checks.EmptyInputError, "without DICOM images"),
    "empty file": (lambda f: text(f, "a.png", b""), checks.EmptyInputError, "0 bytes"),
    "text named .png": (lambda f: text(f, "a.png"), checks.UnreadableFileError, "picture"),
    "text named .nii.gz": (lambda f: text(f, "a.nii.gz"), checks.UnreadableFileError, "NIfTI"),
    "text named .dcm": (lambda f: text(f, "a.dcm"), checks.UnreadableFileError, "not DICOM"),
    "text named .nrrd": (lambda f: text(f, "a.nrrd"), checks.UnreadableFileError, "image"),
    "text named .zip": (lambda f: text(f, "a.zip"), checks.UnreadableFileError, "zip"),
    "truncated PNG": (lambda f: cut(png(f), 0.5), checks.UnreadableFileError, "Truncated"),
    "truncated JPEG": (lambda f: cut(png(f, name="a.jpg"), 0.5), checks.UnreadableFileError, "truncated"),
    "truncated NIfTI": (lambda f: cut(nifti(f, FRAME), 0.5), checks.UnreadableFileError, "NIfTI"),
    "truncated MHA": (lambda f: cut(mha(f, {}), 0.7), checks.UnreadableFileError, "image"),
    "unsupported type": (lambda f: text(f, "a.mp4"), checks.UnreadableFileError, ".mp4"),
    "colour photograph": (lambda f: png(f, COLOUR), checks.ColourError, "RGB"),
    "colour with transparency": (
        lambda f: png(f, np.dstack([COLOUR, np.full((90, 70), 200, np.uint8)])),
        checks.ColourError,
        "RGB",
    ),
    "several pages": (pages, checks.DimensionError, "2 pages"),
    "volume for a 2D bundle": (
        lambda f: nifti(f, np.stack([FRAME] * 9, axis=-1)),
        checks.DimensionError,
        "70 x 90 x 9",
    ),
    "two channels": (
        lambda f: nifti(f, np.stack([FRAME] * 2, axis=-1)[:, :, None]),
        checks.ChannelError,
        "2 channels",
    ),
    "NaN": (lambda f: nifti(f, nans(np.nan)), checks.NotFiniteError, "1 NaN"),
    "Inf": (lambda f: nifti(f, nans(np.inf)), checks.NotFiniteError, "1 infinite"),
    "constant": (lambda f: png(f, np.zeros((90, 70), np.uint8)), checks.BlankImageError, "value 0"),
    "too small": (lambda f: png(f, FRAME[:40, :50].T), checks.SizeError, "40 x 50"),
    "corrupt size": (huge_nifti, checks.SizeError, "announces 2.7e+13 pixels"),
    "picture bomb": (bomb, checks.UnreadableFileError, "picture"),
    "absurd spacing": (
        lambda f: nifti(f, FRAME, np.diag([-200.0, -200, 1, 1])),
        checks.SpacingError,
        "200 x 200 mm",
    ),
    "zero spacing in NIfTI": (
        lambda f: nifti(f, FRAME, pixdim=[1, 0, 0.2, 1, 1, 1, 1, 1], sform_code=0),
        checks.SpacingError,
        "0 x 0.2 mm",
    ),
    "zero spacing in MHA": (lambda f: mha(f, {b"0.25 0.5": b"0 0.5"}), checks.SpacingError, "0 x 0.5 mm"),
    "negative spacing in MHA": (lambda f: mha(f, {b"0.25 0.5": b"-0.25 0.5"}), checks.SpacingError, "-0.25"),
    "NaN in the affine": (lambda f: nifti(f, FRAME, srow_x=[np.nan] * 4), checks.SpacingError, "nan"),
    "coinciding axes": (
        lambda f: nifti(f, FRAME, srow_x=[0.2, 0.2, 0, 0], srow_y=[0.1, 0.1, 0, 0]),
        checks.GridError,
        "coincide",
    ),
    "qform against sform": (disagreeing, checks.GridError, "disagree by"),
    "complex values": (lambda f: nifti(f, FRAME.astype(np.complex64)), checks.ValueRangeError, "complex64"),
    "negative values": (lambda f: nifti(f, FRAME.astype(np.int16) - 300), checks.ValueRangeError, "-300"),
    "pixels in another folder": (lambda f: mhd(f, b"../a.raw"), checks.UnreadableFileError, "another folder"),
    "pixels anywhere": (lambda f: mhd(f, b"/etc/hostname"), checks.UnreadableFileError, "another folder"),
    "pixels missing": (lambda f: mhd(f, b"a.raw"), checks.UnreadableFileError, "image"),
    "empty zip": (lambda f: text(f, "a.zip", b"PK\x05\x06" + bytes(18)), checks.EmptyInputError, "empty zip"),
    "zip without images": (lambda f: archive(f, "a.txt"), checks.EmptyInputError, "no image"),
    "zip that climbs": (lambda f: archive(f, "../../a.png"), checks.UnreadableFileError, "outside"),
    "zip with an absolute path": (lambda f: archive(f, "/a.png"), checks.UnreadableFileError, "outside"),
    "zip with a drive": (lambda f: archive(f, "C:\\a.png"), checks.UnreadableFileError, "outside"),
    "zip with a link": (
        lambda f: archive(f, "a.png", b"/etc/hostname", link),
        checks.UnreadableFileError,
        "symbolic link",
    ),
    "zip with a damaged image": (lambda f: archive(f), checks.UnreadableFileError, "picture"),
    "truncated zip": (lambda f: cut(archive(f, content=b"x" * 999), 0.6), checks.UnreadableFileError, "zip"),
}


def refused(path: Path, kind: type[checks.InputError], spec: dict = SPEC, **options: object) -> str:
    with pytest.raises(checks.InputError) as caught:
        io.read_image(path, **options).check(spec)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert str(path) in message
    assert "what to do: " in message
    assert len(message.splitlines()) <= 6
    return message


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_bad_file_has_its_own_error_that_names_it(tmp_path: Path, name: str) -> None:
    make, kind, words = KINDS[name]
    assert words in refused(make(tmp_path), kind)


@pytest.mark.parametrize("pixel_mm", [-0.2, 0, "wide", [0.1, 0.2, 0.3], float("nan")])
def test_a_bad_pixel_size_is_refused(tmp_path: Path, pixel_mm: object) -> None:
    assert "--pixel_mm" in refused(png(tmp_path), checks.SpacingError, pixel_mm=pixel_mm)


def test_a_ct_given_to_an_ultrasound_bundle_is_refused(tmp_path: Path, dicom_file: Callable) -> None:
    path = dicom_file(tmp_path / "a.dcm", FRAME.astype(np.int16), modality="CT", PixelSpacing=[0.5, 0.5])
    assert "modality CT" in refused(path, checks.ModalityError)


def test_a_clip_given_to_a_2d_bundle_is_refused(tmp_path: Path, dicom_file: Callable) -> None:
    path = dicom_file(tmp_path / "a.dcm", np.stack([FRAME] * 30))
    assert "clip of 30 frames" in refused(path, checks.DimensionError)


def test_a_truncated_dicom_file_is_refused_wherever_it_ends(tmp_path: Path, dicom_file: Callable) -> None:
    whole = dicom_file(tmp_path / "a.dcm", FRAME).read_bytes()
    for end in (100, 140, 200, 400, 600, len(whole) // 2, len(whole) - 10):
        refused(text(tmp_path, "a.dcm", whole[:end]), checks.UnreadableFileError)


def test_a_frame_given_to_a_3d_bundle_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path, FRAME)
    assert "pass the whole volume" in refused(path, checks.DimensionError, VOLUME)


def test_a_volume_without_spacing_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    path = nifti(tmp_path, np.stack([FRAME] * 9, axis=-1), np.eye(4))
    assert "no pixel spacing" in refused(path, checks.SpacingError, VOLUME)


def test_mixed_series_are_refused(tmp_path: Path, dicom_series: Callable) -> None:
    folder = dicom_series(tmp_path / "s", [0, 3, 6], uid="1.2.3.4")
    dicom_series(folder, [0, 3], uid="1.2.3.5")
    assert "2 DICOM series" in refused(folder, checks.DicomSeriesError, VOLUME)


def test_a_series_with_a_gap_is_refused(tmp_path: Path, dicom_series: Callable) -> None:
    folder = dicom_series(tmp_path / "s", [0, 3, 9, 12])
    assert "about 1 missing" in refused(folder, checks.DicomSeriesError, VOLUME)


def test_one_damaged_slice_is_named(tmp_path: Path, dicom_series: Callable) -> None:
    folder = dicom_series(tmp_path / "s", [0, 3, 6])
    damaged = sorted(folder.iterdir())[1]
    cut(damaged, 0.97)
    assert damaged.name in refused(folder, checks.UnreadableFileError, VOLUME)


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = png(tmp_path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read everything
        path.unlink()
        path.symlink_to(path)  # a link to itself cannot be opened by anyone
        refused(path, checks.MissingInputError)
    else:
        refused(path, checks.UnreadableFileError)


def test_a_folder_without_images_is_refused_with_the_folder_that_has_some(tmp_path: Path) -> None:
    below = tmp_path / "deep" / "er"
    below.mkdir(parents=True)
    png(below)
    with pytest.raises(checks.EmptyInputError, match="er") as caught:
        io.find_cases(tmp_path, spatial_dims=2)
    assert str(below) in str(caught.value)
    with pytest.raises(checks.MissingInputError):
        io.find_cases(tmp_path / "none", spatial_dims=2)


def test_a_zip_that_unpacks_to_too_much_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1000)
    assert "GiB" in refused(archive(tmp_path, content=bytes(5000)), checks.UnreadableFileError)


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = archive(tmp_path, content=png(tmp_path).read_bytes())
    assert io.read_image(path).array.shape == (1, 70, 90)
    path.unlink()
    refused(archive(tmp_path), checks.UnreadableFileError)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_size_limit_guards_every_reader() -> None:
    with pytest.raises(checks.SizeError):
        formats.check_volume((2**11, 2**11, 2**11), "a.nii")
