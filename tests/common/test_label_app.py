"""What the MONAI Label app does beside the server: siblings, saved labels, options, weights, refusals."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medbundles.errors import AddressError, DatasetError, MissingInputError, OverrideError, PackageError
from medbundles.io import read_image, write_image
from medbundles.label_app import serving
from medbundles.label_app.answers import answer, labels_of, weights_override
from medbundles.label_app.command import serve
from medbundles.label_app.compatibility import own_origins, require, settle
from medbundles.label_app.labels import Saved, split_cases, training_cases
from medbundles.label_app.options import chosen_options, shown_options
from medbundles.label_app.pictured import case_of
from medbundles.metadata import bundle_info
from medbundles.zoo.find import bundle_folders, find_bundle
from medbundles.zoo.workflows import INFERENCE, read_config

FETAL, BRAIN = "fetal_us_biometry_segmentation", "brats_mri_collagan_segmentation"
DENTAL, CT = "dental_cbct_tooth_segmentation", "ct_lowdose_cyclegan_denoising"
AFFINE = np.array([[0.0, -2, 0, 5], [2, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])


def volume(path: Path, value: int = 1) -> Path:
    """A small oblique volume of one value."""
    write_image(np.full((1, 4, 5, 6), value, np.uint8), path, affine=AFFINE)
    return path


def inference(bundle: str) -> dict[str, Any]:
    return read_config(find_bundle(bundle), INFERENCE)


def test_an_image_brings_its_sibling_contrasts_of_the_same_patient_and_no_saved_labels(
    tmp_path: Path,
) -> None:
    for patient in "ab":
        for contrast in ("t1", "t1gd", "flair"):
            volume(tmp_path / f"{patient}_{contrast}.nii.gz")
    (tmp_path / "labels" / "final").mkdir(parents=True)
    volume(tmp_path / "labels" / "final" / "b_flair.nii.gz")
    (tmp_path / "other.dcm").write_bytes(bytes(128) + b"DICM")
    case = case_of(inference(BRAIN), tmp_path / "b_flair.nii.gz")
    assert case == {name: str(tmp_path / f"b_{name}.nii.gz") for name in ("t1", "t1gd", "flair")}


def test_one_patient_among_images_of_other_kinds_is_found_whole(tmp_path: Path) -> None:
    files = {name: str(volume(tmp_path / f"brain_{name}.nii.gz")) for name in ("t1", "t2", "flair")}
    volume(tmp_path / "chest.nii.gz")
    assert case_of(inference(BRAIN), tmp_path / "brain_t2.nii.gz") == files
    assert case_of(inference(BRAIN), tmp_path / "chest.nii.gz") == str(tmp_path / "chest.nii.gz")


def test_bundles_of_single_images_take_the_image_alone(tmp_path: Path) -> None:
    for contrast in ("t1", "flair"):
        volume(tmp_path / f"a_{contrast}.nii.gz")
    assert case_of(inference(CT), tmp_path / "a_t1.nii.gz") == str(tmp_path / "a_t1.nii.gz")


def test_files_sent_with_a_request_find_no_siblings_among_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for contrast in ("t1", "flair"):
        volume(tmp_path / f"a_{contrast}.nii.gz")
    assert case_of(inference(BRAIN), tmp_path / "a_t1.nii.gz") == str(tmp_path / "a_t1.nii.gz")


def saved(tmp_path: Path, array: np.ndarray, segments: list[dict[str, Any]] | None, name: str = "a") -> Saved:
    label = tmp_path / f"saved_{name}.nii.gz"
    write_image(array, label, affine=np.diag([-0.3, -0.3, 1, 1]))
    return Saved(name, tmp_path / f"{name}.png", label, segments)


def test_names_decide_what_the_numbers_of_a_saved_label_mean(tmp_path: Path) -> None:
    array = np.zeros((1, 6, 4, 1), np.uint8)
    array[0, 0], array[0, 1], array[0, 2] = 41, 39, 7
    segments = [
        {"name": "HEAD", "idx": 41},
        {"name": "abdomen", "idx": 39},
        {"name": "11 upper right central incisor", "idx": 7},
    ]
    (case,) = training_cases(find_bundle(FETAL), [saved(tmp_path, array, segments)], tmp_path / "out")
    labels = read_image(case["label"]).array
    assert labels.shape == (1, 6, 4)
    assert labels[0, :, 0].tolist() == [5, 1, 0, 0, 0, 0]
    assert case["image"] == str(tmp_path / "a.png")


def test_labels_without_names_have_the_numbers_of_the_bundle(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(1, 6, 1)
    (case,) = training_cases(find_bundle(FETAL), [saved(tmp_path, array, None)], tmp_path / "out")
    assert read_image(case["label"]).array[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_teeth_are_trained_by_the_numbers_that_dentists_use(tmp_path: Path) -> None:
    array = np.zeros((1, 3, 3, 3), np.uint8)
    array[0, 0], array[0, 1] = 1, 32
    (case,) = training_cases(find_bundle(DENTAL), [saved(tmp_path, array, None)], tmp_path / "out")
    assert read_image(case["label"]).array[0, :, 0, 0].tolist() == [11, 48, 0]


def test_labels_of_other_bundles_are_left_out_and_nothing_left_is_said(tmp_path: Path) -> None:
    array = np.ones((1, 4, 4), np.uint8)
    teeth = saved(tmp_path, array, [{"name": "48 lower right third molar", "idx": 1}], "teeth")
    head = saved(tmp_path, array, [{"name": "head", "idx": 1}], "head")
    cases = training_cases(find_bundle(FETAL), [teeth, head], tmp_path / "out")
    assert [case["name"] for case in cases] == ["head"]
    with pytest.raises(DatasetError, match="nobody has saved labels"):
        training_cases(find_bundle(FETAL), [teeth], tmp_path / "out")


@pytest.mark.parametrize(("count", "share", "kept"), [(2, 0.2, 1), (10, 0.2, 2), (5, 0.9, 4), (3, 0.0, 1)])
def test_cases_are_split_without_overlap(count: int, share: float, kept: int) -> None:
    cases = [{"name": str(i)} for i in range(count)]
    train, validation = split_cases(cases, share)
    assert len(validation) == kept and len(train) == count - kept
    assert sorted(c["name"] for c in train + validation) == sorted(c["name"] for c in cases)


def test_a_single_case_is_trained_and_validated_on() -> None:
    assert split_cases([{"name": "a"}], 0.2) == ([{"name": "a"}], [{"name": "a"}])


@pytest.mark.parametrize("folder", bundle_folders(), ids=lambda folder: folder.name)
def test_the_options_of_every_bundle_are_knobs_that_clients_can_show(folder: Path) -> None:
    options = shown_options(folder)
    assert all(isinstance(value, bool | int | float | str) for value in options.values())
    assert chosen_options(folder, options) == {name: v for name, v in options.items() if v != ""}


def test_only_named_options_reach_the_workflow_and_typed_numbers_are_numbers() -> None:
    request = {"pixel_mm": "0.25", "mirror": False, "output_dir": "/", "weights": "x", "model": FETAL}
    assert chosen_options(find_bundle(FETAL), request) == {"pixel_mm": 0.25, "mirror": False}


def test_every_inference_workflow_takes_other_weights(tmp_path: Path) -> None:
    for folder in bundle_folders():
        config = read_config(folder, INFERENCE)
        ((key, value),) = weights_override(config, tmp_path / "model.pt").items()
        assert config["handlers"][int(key.split("#")[1])]["path"].endswith("models/model.pt'")
        assert value == str(tmp_path / "model.pt")
    assert weights_override({}, None) == {}
    with pytest.raises(OverrideError):
        weights_override({"handlers": []}, tmp_path)


def test_names_and_colours_are_those_of_the_metadata_and_images_have_none() -> None:
    labels = labels_of(bundle_info(find_bundle(BRAIN) / "configs" / "metadata.json"))
    assert labels["label_names"] == {"necrotic and non-enhancing core": 1, "oedema": 2, "enhancing tumour": 3}
    assert labels["label_colors"]["oedema"] == [0x39, 0xB8, 0xFF]
    none = labels_of(bundle_info(find_bundle(CT) / "configs" / "metadata.json"))
    assert none == {"label_names": {}, "label_colors": {}}


def test_formats_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OverrideError, match="a result of type"):
        answer(find_bundle(FETAL), tmp_path / "missing.png", extension=".stl")


def test_a_missing_server_is_said_with_the_line_that_installs_it() -> None:
    with pytest.raises(PackageError, match=r"no module no_such_server") as caught:
        require(["pytest", "no_such_server"])
    assert '-e ".[label]"' in str(caught.value) and "monailabel==" in str(caught.value)


def test_the_server_is_for_this_machine_alone_and_needs_a_folder(tmp_path: Path) -> None:
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"
    assert own_origins(8731) == ["http://127.0.0.1:8731", "http://localhost:8731"]
    with pytest.raises(MissingInputError):
        serving.place_of(str(tmp_path / "nowhere"))


def test_an_archive_is_served_by_its_web_address_and_its_images_lie_where_nobody_else_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert serving.place_of("dicomweb://reader@localhost:8042/dicom-web") == "http://localhost:8042/dicom-web"
    with pytest.raises(AddressError, match="dicomwebs://"):
        serving.place_of("dicomweb://reader@10.0.0.7/dicom-web")
    known: dict[str, str] = {}
    monkeypatch.setattr("os.environ", known)
    settle(tmp_path / "home", ("reader", "a password"))
    copies = Path(known["MONAI_LABEL_DICOMWEB_CACHE_PATH"])
    assert copies.parent == tmp_path / "home" and copies.stat().st_mode & 0o077 == 0
    login = known["MONAI_LABEL_DICOMWEB_USERNAME"], known["MONAI_LABEL_DICOMWEB_PASSWORD"]
    assert login == ("reader", "a password")
