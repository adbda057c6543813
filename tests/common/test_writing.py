"""What is written is read back, and appears under its name only when it is whole."""

import os
import stat
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medbundles import checks, io
from medbundles.images import upright_affine

COS, SIN = np.cos(0.3), np.sin(0.3)
TURNED = np.array(
    [[-0.5 * COS, 0.25 * SIN, 0, 3], [-0.5 * SIN, -0.25 * COS, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]]
)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.linalg.qr(np.array([[1, 2, 0.5], [0.2, 1, 3], [2, 0.1, 1]]))[0] * [0.3, 0.6, 2.0]
OBLIQUE[:3, 3] = [5, -7, 9]
CORONAL = np.array([[-0.3, 0, 0, 1], [0, 0, 1, 2], [0, -0.4, 0, 3], [0, 0, 0, 1.0]])


def ramp(shape: tuple[int, ...], kind: type) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) % 120).astype(kind)


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "affine"),
    [((1, 7, 5), TURNED), ((1, 7, 5), CORONAL), ((1, 7, 5, 4), OBLIQUE), ((2, 7, 5, 4), OBLIQUE)],
)
def test_what_is_written_is_read_back(
    tmp_path: Path, extension: str, kind: type, shape: tuple[int, ...], affine: np.ndarray
) -> None:
    array, path = ramp(shape, kind), tmp_path / f"çà b{extension}"
    io.write_image(array, path, affine=affine, description="synthetic")
    image = io.read_image(path)
    assert image.array.shape == array.shape
    assert np.array_equal(image.array, array)
    assert np.allclose(image.affine, affine, atol=1e-5)
    assert np.allclose(image.spacing, np.linalg.norm(affine[:3, : image.ndim], axis=0), atol=1e-6)
    assert image.calibrated
    assert image.warnings == ()


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_the_pixel_type_is_kept(tmp_path: Path, extension: str, kind: type) -> None:
    io.write_image(ramp((1, 7, 5, 4), kind), tmp_path / f"a{extension}", affine=OBLIQUE)
    assert io.read_image(tmp_path / f"a{extension}").array.dtype == kind


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".nrrd"])
def test_an_uncalibrated_frame_stays_uncalibrated_when_written(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    io.write_image(ramp((1, 7, 5), np.uint8), path, affine=upright_affine((1, 1)))
    image = io.read_image(path)
    assert not image.calibrated
    assert image.spacing == (1.0, 1.0)


def test_a_2d_result_is_a_2d_file_for_other_programs(tmp_path: Path) -> None:
    import itk

    for extension in (".nii.gz", ".mha", ".nrrd"):
        io.write_image(ramp((1, 7, 5), np.uint8), tmp_path / f"a{extension}", affine=TURNED)
        image = itk.imread(str(tmp_path / f"a{extension}"))
        assert image.GetImageDimension() == 2
        assert np.allclose(image.GetSpacing(), [0.5, 0.25], atol=1e-6)
        assert np.allclose(itk.array_from_matrix(image.GetDirection()), [[COS, -SIN], [SIN, COS]], atol=1e-6)


def test_the_description_reaches_the_header(tmp_path: Path) -> None:
    io.write_image(
        ramp((1, 7, 5), np.uint8), tmp_path / "a.nii.gz", affine=TURNED, description="synthetic T1"
    )
    io.write_image(ramp((1, 7, 5), np.uint8), tmp_path / "a.png", affine=TURNED, description="synthetic T1")
    assert nibabel.load(tmp_path / "a.nii.gz").header["descrip"].item() == b"synthetic T1"
    assert Pillow.open(tmp_path / "a.png").text["Description"] == "synthetic T1"
    io.write_image(ramp((1, 7, 5), np.uint8), tmp_path / "a.nrrd", affine=TURNED, description="synthetic T1")
    assert b"synthetic T1" in (tmp_path / "a.nrrd").read_bytes()


def test_a_sheared_volume_is_written_so_that_it_can_be_read(tmp_path: Path) -> None:
    sheared = OBLIQUE.copy()
    sheared[:3, 2] += 0.5 * sheared[:3, 1]
    io.write_image(ramp((1, 7, 5, 4), np.int16), tmp_path / "a.nii.gz", affine=sheared)
    assert np.allclose(io.read_image(tmp_path / "a.nii.gz").affine, sheared, atol=1e-5)


def test_a_failed_write_leaves_neither_a_file_nor_a_rest(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(RuntimeError), io.atomic_path(tmp_path / "a.json") as path:
        path.write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_the_temporary_file_of_a_write_is_hidden_beside_the_result_and_has_its_suffix(tmp_path: Path) -> None:
    with io.atomic_path(tmp_path / "new" / "a.nii.gz") as path:
        path.write_bytes(b"x")
        assert path.parent == tmp_path / "new"
        assert path.name.startswith(".")
        assert path.name.endswith(".nii.gz")
    assert stat.S_IMODE((tmp_path / "new" / "a.nii.gz").stat().st_mode) & stat.S_IRUSR
    assert os.listdir(tmp_path / "new") == ["a.nii.gz"]


def test_a_folder_appears_under_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with io.atomic_folder(tmp_path / "new" / "a") as folder:
        (folder / "1").write_text("one")
        assert [p.name for p in (tmp_path / "new").iterdir()] == [folder.name]
        assert folder.name.startswith(".")
    with pytest.raises(RuntimeError), io.atomic_folder(tmp_path / "new" / "a") as folder:
        (folder / "2").write_text("half")
        raise RuntimeError
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["new", "new/a", "new/a/1"]


def test_a_folder_replaces_an_earlier_one_without_mixing(tmp_path: Path) -> None:
    for name in ("1", "2"):
        with io.atomic_folder(tmp_path / "a") as folder:
            (folder / name).write_text(name)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["a", "a/2"]


def test_files_folders_and_what_is_not_there_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_text("one")
    (tmp_path / "b").write_text("two")
    for name in "abc":
        io.remove(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    io.remove(tmp_path / "link")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_unknown_result_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(checks.InputError, match=r"\.jpg"):
        io.write_image(ramp((1, 7, 5), np.uint8), tmp_path / "a.jpg", affine=TURNED)
