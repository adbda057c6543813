"""Our app in a real MONAI Label server, by its REST API as 3D Slicer's plugin uses it, without a network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medbundles import cli
from medbundles.io import read_image, write_image
from medbundles.reports import read_report
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import bundle_folders, find_bundle

sys.path.append(str(Path(__file__).parent / "label_server"))
from images import SECRET, write_images
from running import Server, environment, free_port, running

pytestmark = [pytest.mark.label, pytest.mark.timeout(1800)]

FETAL, FLUID = "fetal_us_biometry_segmentation", "amniotic_fluid_us_segmentation"
BRAIN, CT = "brats_mri_collagan_segmentation", "ct_lowdose_cyclegan_denoising"
DENTAL = "dental_cbct_tooth_segmentation"
SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8"}  # what its plugin always asks for
# An image that each bundle is asked about, and what `medbundles predict` is given for the same case.
CASES = {
    FETAL: ("frame_1", "frame_1.nii.gz"),
    FLUID: ("frame_2", "frame_2.nii.gz"),
    CT: ("slice", "slice.nii.gz"),
    BRAIN: ("brain_flair", "brain"),
    DENTAL: ("jaw", "jaw.nii.gz"),
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with images for all bundles."""
    place, made = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("made")
    write_images(place, [made / case["image"] for case in simulate(find_bundle(FETAL), made, 3, 3)])
    shutil.copytree(place, place.with_name("predicted"))  # the server writes into its own
    return place


@pytest.fixture(scope="module")
def server(studies: Path) -> Iterator[Server]:
    home, port = studies.with_name("home"), free_port()
    command = ["-m", "medbundles.cli", "serve", str(studies), "--port", str(port), "--output", str(home)]
    with running(command, studies, home, port) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(server.url, tmpdir=str(tmp_path_factory.mktemp("client")), client_id="reader")


def predicted(bundle: str, studies: Path, output: Path) -> Path:
    """What `medbundles predict` writes for the bundle's case."""
    home = studies.with_name("predicted")
    source = home / CASES[bundle][1]
    if bundle == BRAIN:
        source.mkdir()
        for path in home.glob("brain_*.nii.gz"):
            shutil.copyfile(path, source / path.name)
    assert cli.predict(bundle, str(source), str(output), page=False) == 0
    (case,) = read_report(output)["cases"]
    return output / case["outputs"]["pred"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_bundle_is_listed_with_our_names_and_colours(client: Any) -> None:
    info = client.info()
    assert set(info["models"]) == {folder.name for folder in bundle_folders()}
    fetal = info["models"][FETAL]
    assert fetal["labels"] == {
        **{"abdomen": 1, "stomach bubble": 2, "umbilical vein": 3},
        **{"spine": 4, "head": 5},
    }
    assert fetal["label_colors"]["abdomen"] == [0xFF, 0xB0, 0x00]
    assert (fetal["type"], fetal["dimension"], fetal["config"]["mirror"]) == ("segmentation", 2, True)
    assert info["models"][CT]["type"] == "others"  # or Slicer would turn the image into labels
    assert set(info["trainers"]) == set(info["models"]) - {CT}
    assert set(info["strategies"]) == {"random", "first"}


def test_files_of_all_formats_are_images(client: Any, studies: Path) -> None:
    objects = client.datastore()["objects"]
    assert {"frame_0", "picture", "frame", "slice", "jaw", "brain_t1"} <= set(objects)
    assert {"series", "patient"} <= set(objects)  # folders that are one case
    assert "notes" not in objects


@pytest.mark.parametrize("bundle", list(CASES))
def test_the_answer_is_that_of_predict_voxel_for_voxel(
    bundle: str, client: Any, studies: Path, tmp_path: Path
) -> None:
    file, params = client.infer(bundle, CASES[bundle][0], {"result_extension": ".nii.gz"})
    found, wanted = read_image(file), read_image(predicted(bundle, studies, tmp_path))
    assert found.array.dtype == wanted.array.dtype
    np.testing.assert_array_equal(found.array, wanted.array)
    np.testing.assert_array_equal(found.affine, wanted.affine)
    assert params["bundle"] == bundle and params["label_names"] == client.info()["models"][bundle]["labels"]


def test_what_slicer_gets_is_what_monai_itself_writes(client: Any, studies: Path, tmp_path: Path) -> None:
    import nrrd
    import SimpleITK as sitk

    folder = find_bundle(FETAL)
    command = ["-m", "monai.bundle", "run", "--config_file", str(folder / "configs" / "inference.json")]
    source = studies.with_name("predicted") / "frame_1.nii.gz"
    command += ["--bundle_root", str(folder), "--dataset_dir", str(source), "--output_dir", str(tmp_path)]
    env = environment(tmp_path / "connections")
    subprocess.run([sys.executable, *command], check=True, env=env, capture_output=True)
    wanted = read_image(tmp_path / read_report(tmp_path)["cases"][0]["outputs"]["pred"])
    file, _ = client.infer(FETAL, "frame_1", dict(SLICER))
    image, header = sitk.ReadImage(file), nrrd.read_header(file)
    voxels = sitk.GetArrayFromImage(image).T
    assert wanted.array.any()
    np.testing.assert_array_equal(voxels[..., 0], wanted.array[0])
    np.testing.assert_allclose(image.GetSpacing()[:2], wanted.spacing, rtol=1e-6)
    assert (header["Segment4_Name"], header["Segment4_LabelValue"]) == ("head", "5")
    assert header["Segment0_Color"] == "1 0.690196 0"
    assert "SCT^818981001^Abdomen" in header["Segment0_Tags"]


def test_a_dicom_series_is_an_image_and_so_is_a_frame(client: Any, studies: Path, tmp_path: Path) -> None:
    file, _ = client.infer(CT, "series", {"result_extension": ".nii.gz"})
    source = studies.with_name("predicted") / "series"
    assert cli.predict(CT, str(source), str(tmp_path), page=False, output_ext=".nii.gz") == 0
    wanted = read_image(tmp_path / read_report(tmp_path)["cases"][0]["outputs"]["pred"])
    np.testing.assert_array_equal(read_image(file).array, wanted.array)
    frame, _ = client.infer(FETAL, "frame", dict(SLICER))
    picture, _ = client.infer(FETAL, "picture", dict(SLICER))
    np.testing.assert_array_equal(read_image(frame).array, read_image(picture).array)


def test_an_image_stays_an_image_in_hounsfield_units(client: Any, studies: Path) -> None:
    file, params = client.infer(CT, "slice", dict(SLICER))
    image = read_image(file)
    assert image.array.dtype == np.int16 and image.array.min() < -900
    assert params["label_names"] == {}
    assert {m["name"] for m in params["measurements"]} >= {"noise before", "noise after"}


def test_a_picture_without_calibration_is_measured_with_the_size_that_the_user_types(client: Any) -> None:
    file, params = client.infer(FETAL, "picture", {**SLICER, "pixel_mm": "0.2"})
    labels = read_image(file)
    assert all(m["unit"] != "px" for m in params["measurements"])
    np.testing.assert_allclose(labels.spacing[:2], 1)  # the grid that viewers show the picture on


def test_warnings_of_the_report_are_in_the_answer(client: Any) -> None:
    _, params = client.infer(FETAL, "frame_1", {**SLICER, "pixel_mm": "0.5"})
    assert any("--pixel_mm 0.5 x 0.5 mm replaces" in warning for warning in params["warnings"])


def test_an_image_of_the_wrong_kind_is_refused_in_words(client: Any) -> None:
    from monailabel.client.client import MONAILabelClientException

    with pytest.raises(MONAILabelClientException) as caught:
        client.infer(DENTAL, "frame_1", dict(SLICER))
    assert "422" in caught.value.msg and "what to do" in caught.value.msg


def test_an_image_that_only_the_client_has_is_sent_as_a_session(client: Any, studies: Path) -> None:
    frame = studies.with_name("predicted") / "frame_1.nii.gz"
    session = client.create_session(str(frame))
    by_session, _ = client.infer(FETAL, "", dict(SLICER), session_id=session["session_id"])
    by_file, _ = client.infer(FETAL, "", dict(SLICER), file=str(frame))
    by_name, _ = client.infer(FETAL, "frame_1", dict(SLICER))
    wanted = read_image(by_name).array
    np.testing.assert_array_equal(read_image(by_session).array, wanted)
    np.testing.assert_array_equal(read_image(by_file).array, wanted)


def test_many_images_at_once_without_a_gpu(server: Server, client: Any) -> None:
    import requests

    body = {"images": ["frame_0"], "save_label": True}
    answer = requests.post(
        f"{server.url}/batch/infer/{FETAL}?images=all&run_sync=true", json=body, timeout=900
    )
    assert answer.status_code == 200 and set(answer.json()) == {"frame_0"}
    assert "original" in client.datastore()["objects"]["frame_0"]["labels"]


def test_other_machines_and_pages_of_other_origins_are_shut_out(server: Server) -> None:
    import requests

    port = int(server.url.rpartition(":")[2])
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    listening = {line.split()[1] for line in lines if line.split()[3] == "0A"}
    assert {place for place in listening if place.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}
    stranger = requests.get(f"{server.url}/info/", headers={"Origin": "https://example.org"}, timeout=60)
    assert "access-control-allow-origin" not in stranger.headers
    own = requests.get(f"{server.url}/info/", headers={"Origin": server.url}, timeout=60)
    assert own.headers["access-control-allow-origin"] == server.url


def test_labels_are_saved_and_learnt_from_and_the_bundle_stays_as_it_was(
    server: Server, client: Any, tmp_path: Path
) -> None:
    weights = find_bundle(FETAL) / "models" / "model.pt"
    before = digest(weights)
    numbers = {name: index for index, name in enumerate(client.info()["labels"], start=1)}
    infos = [{"name": name, "idx": index} for name, index in numbers.items()]
    for image in ("frame_0", "frame_1"):
        label = tmp_path / f"{image}.nii.gz"
        frame = read_image(server.studies / f"{image}.nii.gz")
        drawn = np.zeros((*frame.array.shape, 1), np.uint8)  # a plane is a volume to Slicer
        size = drawn.shape[1:3]
        drawn[0, size[0] // 3 : size[0] // 2, size[1] // 3 : size[1] // 2] = numbers["abdomen"]
        write_image(drawn, label, affine=frame.affine)
        client.save_label(image, str(label), params={"label_info": infos})
        assert digest(Path(client.download_label(image, "final"))) == digest(label)
    assert client.next_sample("first", {})["id"] not in ("frame_0", "frame_1")
    assert client.next_sample("random", {})["id"] not in ("frame_0", "frame_1")
    old, _ = client.infer(FETAL, "frame_2", dict(SLICER))
    client.train_start(FETAL, {"max_epochs": 1, "val_split": 0.5, "learning_rate": 0.05, "device": "cpu"})
    while client.train_status(check_if_running=False)["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(1)
    status = client.train_status(check_if_running=False)
    assert status["status"] == "DONE", "\n".join(status["details"])
    stats = client.info()["train_stats"][FETAL]
    assert (stats["cases"], stats["total_epochs"]) == (2, 1)
    assert (server.home / "bundles" / FETAL / "model.pt").is_file()
    assert digest(weights) == before
    new, _ = client.infer(FETAL, "frame_2", dict(SLICER))
    assert (read_image(new).array != read_image(old).array).any()


def test_the_server_never_asked_for_another_machine_and_logs_no_names(server: Server) -> None:
    assert server.attempts() == []
    assert SECRET not in server.log.read_text(encoding="utf-8", errors="replace")
