"""What is read says where it lies; what is written lies on the input's grid, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, LoadImaged, Orientationd, SaveImaged, Spacingd
from PIL import Image

from medbundles import io
from medbundles.checks import BlankImageError, ChannelError, MissingInputError
from medbundles.transforms import LoadImageCheckedd, SaveImageWholed, SavePreviewd, measurement_text

SPEC = {
    "spatial_dims": 2,
    "channels": 1,
    "calibration": "optional",
    "spacing_mm": [0.02, 2.0],
    "size_px": [8, 512],
}
METADATA = {
    "name": "disc_segmentation",
    "version": "0.3.1",
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "disc"}}}},
    "medbundles": {"title": "Discs", "input": SPEC},
}
VOLUME = {**METADATA, "medbundles": {"input": {"spatial_dims": 3, "channels": 1}}}
OBLIQUE = np.array([[-0.4, 0.06, 0, 12], [0.05, -0.5, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1.0]])


def disc(shape: tuple[int, int] = (40, 30)) -> np.ndarray:
    x, y = np.indices(shape)
    return ((x - 12.0) ** 2 + (y - 18.0) ** 2 < 64).astype(np.uint8)


def write(path: Path, affine: np.ndarray = OBLIQUE) -> Path:
    io.write_image(disc()[None] * 200 + 10, path, affine=affine)
    return path


def test_a_frame_is_read_channel_first_with_its_whole_geometry(tmp_path: Path) -> None:
    case = LoadImageCheckedd("image", METADATA)({"image": str(write(tmp_path / "a.nii.gz"))})
    image = case["image"]
    assert image.shape == (1, 40, 30)
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
    assert image.meta["calibrated"]
    assert tuple(image.meta["spatial_shape"]) == (40, 30)
    np.testing.assert_allclose(image.meta["spacing"], np.linalg.norm(OBLIQUE[:3, :2], axis=0), rtol=1e-5)


def test_a_picture_without_calibration_is_in_pixels_until_the_user_says_otherwise(tmp_path: Path) -> None:
    Image.fromarray(disc().T * 200).save(tmp_path / "a.png")
    plain = LoadImageCheckedd("image", METADATA)({"image": tmp_path / "a.png"})
    told = LoadImageCheckedd("image", METADATA, pixel_mm=0.2)({"image": tmp_path / "a.png"})
    assert not plain["image"].meta["calibrated"]
    assert "pixels" in plain["warnings"][0]
    assert told["image"].meta["calibrated"]
    assert told["image"].meta["spacing"] == [0.2, 0.2]
    assert "warnings" not in told


def test_earlier_warnings_are_kept(tmp_path: Path) -> None:
    Image.fromarray(disc().T * 200).save(tmp_path / "a.png")
    case = LoadImageCheckedd("image", METADATA)({"image": tmp_path / "a.png", "warnings": ["first"]})
    assert case["warnings"][0] == "first"
    assert len(case["warnings"]) == 2


@pytest.mark.parametrize("content", [np.zeros((1, 40, 30)), MetaTensor(torch.zeros(1, 40, 30))])
def test_an_image_in_memory_is_checked_too(content: np.ndarray | MetaTensor) -> None:
    with pytest.raises(BlankImageError):
        LoadImageCheckedd("image", METADATA)({"image": content})


def test_an_image_in_memory_keeps_the_geometry_its_client_gave() -> None:
    client = MetaTensor(torch.from_numpy(disc()[None] * 7.0), affine=torch.from_numpy(OBLIQUE))
    image = LoadImageCheckedd("image", METADATA)({"image": client})["image"]
    np.testing.assert_allclose(image.affine, OBLIQUE)
    assert image.meta["calibrated"]


def test_labels_are_read_without_being_judged(tmp_path: Path) -> None:
    io.write_image(np.zeros((1, 8, 8), np.uint8), tmp_path / "empty.nii.gz", affine=OBLIQUE)
    case = LoadImageCheckedd("label", dtype=np.uint8)({"label": tmp_path / "empty.nii.gz"})
    assert case["label"].dtype == torch.uint8
    assert "warnings" not in case


def test_what_is_wrong_with_an_input_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        LoadImageCheckedd("image", METADATA)({"image": tmp_path / "none.png"})
    with pytest.raises(ChannelError):
        LoadImageCheckedd("image", METADATA)({"image": np.random.default_rng(0).random((2, 40, 30))})


def test_clients_recognise_the_reader_and_both_writers(tmp_path: Path) -> None:
    assert isinstance(LoadImageCheckedd("image", METADATA), LoadImaged)
    assert isinstance(SaveImageWholed("pred", tmp_path), SaveImaged)
    assert isinstance(SavePreviewd("pred", tmp_path, metadata=METADATA), SaveImaged)


def test_older_clients_get_the_metadata_beside_the_image(tmp_path: Path) -> None:
    reader = LoadImageCheckedd("image", METADATA)
    reader._loader.image_only = False
    case = reader({"image": write(tmp_path / "a.nii.gz")})
    np.testing.assert_allclose(case["image_meta_dict"]["affine"], OBLIQUE, atol=1e-6)


@pytest.mark.parametrize("name", ["a.nii.gz", "b.mha", "c.nrrd"])
def test_a_result_lies_on_the_inputs_grid_after_resampling(tmp_path: Path, name: str) -> None:
    before = Compose(
        [
            LoadImageCheckedd("image", METADATA),
            Orientationd("image", "LP", labels=None),
            Spacingd("image", (0.2, 0.2), mode="bilinear"),
        ]
    )
    case = before({"image": str(write(tmp_path / name))})
    case["pred"] = (case["image"] > 110).float()
    after = Compose(
        [
            Invertd("pred", before, "image", nearest_interp=True),
            SaveImageWholed("pred", tmp_path / "out", metadata=METADATA),
        ]
    )
    case = after(case)
    suffix = name[1:]
    assert case["outputs"]["pred"] == str(tmp_path / "out" / f"{name[0]}_seg{suffix}")
    result = io.read_image(case["outputs"]["pred"])
    np.testing.assert_allclose(result.affine, OBLIQUE, atol=1e-5)
    assert result.array.dtype == np.uint8
    assert result.array.shape == (1, 40, 30)
    overlap = 2 * (result.array[0] & disc()).sum() / (result.array[0].sum() + disc().sum())
    assert overlap > 0.97


def test_a_picture_gives_a_picture_of_label_values(tmp_path: Path) -> None:
    Image.fromarray(disc().T * 200).save(tmp_path / "a.png")
    case = LoadImageCheckedd("image", METADATA)({"image": tmp_path / "a.png"})
    case["pred"] = (case["image"] > 100).float()
    case = SaveImageWholed("pred", tmp_path / "out")(case)
    np.testing.assert_array_equal(np.asarray(Image.open(case["outputs"]["pred"])).T, disc())


def test_float_results_of_a_picture_go_where_they_fit(tmp_path: Path) -> None:
    Image.fromarray(disc().T * 200).save(tmp_path / "a.png")
    case = LoadImageCheckedd("image", METADATA)({"image": tmp_path / "a.png"})
    case["pred"] = case["image"] / 3
    case = SaveImageWholed("pred", tmp_path, output_postfix="denoised", output_dtype=np.float32)(case)
    assert case["outputs"]["pred"].endswith("a_denoised.nii.gz")


def test_values_that_the_file_cannot_hold_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    case = LoadImageCheckedd("image", METADATA)({"image": write(tmp_path / "a.nii.gz")})
    case["pred"] = case["image"] + 100
    with pytest.raises(ValueError, match="do not fit"):
        SaveImageWholed("pred", tmp_path / "out")(case)
    assert not list((tmp_path / "out").glob("*"))


def test_a_result_from_a_synthetic_input_says_so_in_its_name_and_header(tmp_path: Path) -> None:
    import nibabel

    case = LoadImageCheckedd("image", METADATA)({"image": write(tmp_path / "a.nii.gz")})
    case |= {"pred": (case["image"] > 100).float(), "synthetic_inputs": ["t1c"]}
    path = SaveImageWholed("pred", tmp_path, metadata=METADATA)(case)["outputs"]["pred"]
    assert path.endswith("a_synthetic_input_seg.nii.gz")
    assert b"synthetic input: t1c" in nibabel.load(path).header["descrip"].item()


def test_the_preview_of_a_frame_has_its_true_proportions(tmp_path: Path) -> None:
    affine = np.diag([-0.2, -0.4, 1, 1.0])
    case = LoadImageCheckedd("image", METADATA)({"image": write(tmp_path / "a.nii.gz", affine)})
    case["pred"] = (case["image"] > 100).float()
    case["measurements"] = [{"name": "diameter", "value": 3.2, "unit": "mm", "reason": None}]
    case = SavePreviewd("pred", tmp_path / "out", metadata=METADATA)(case)
    picture = np.asarray(Image.open(case["outputs"]["preview"]).convert("RGB")).astype(int)
    bright = np.argwhere((picture.min(2) > 180) & (picture.max(2) - picture.min(2) < 20))
    bright = bright[(bright[:, 0] > 60) & (bright[:, 0] < picture.shape[0] - 100)]
    height, width = np.ptp(bright, axis=0) + 1
    assert width / height == pytest.approx(0.5, abs=0.03)  # a disc of voxels twice as high as wide


def test_the_preview_of_a_volume_is_drawn(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(0, 5, (1, 30, 24, 12)).astype(np.float32)
    io.write_image(volume, tmp_path / "v.nii.gz", affine=np.diag([-1.5, -1.5, 3, 1]))
    case = LoadImageCheckedd("image", VOLUME)({"image": tmp_path / "v.nii.gz"})
    case["pred"] = torch.zeros(1, 30, 24, 12)
    case["pred"][:, 10:20, 8:16, 4:9] = 1
    case["pred"] = MetaTensor(case["pred"], meta=case["image"].meta)
    case = SavePreviewd("pred", tmp_path, metadata=VOLUME)(case)
    assert Image.open(case["outputs"]["preview"]).width > 600


def test_measurements_are_written_with_their_unit_or_as_not_measured() -> None:
    assert measurement_text({"name": "AC", "value": 258.34, "unit": "mm"}) == "AC 258.3 mm"
    assert measurement_text({"name": "score", "value": 0.824, "unit": None}) == "score 0.82"
    assert measurement_text({"name": "AC", "value": None, "unit": "mm"}) == "AC not measured"
