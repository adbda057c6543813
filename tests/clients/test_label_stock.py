"""Packed bundles in the app that comes with MONAI Label, as far as it goes; the how-to has the list."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medbundles import cli
from medbundles.io import Image, read_image, write_image
from medbundles.reports import read_report
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import find_bundle
from medbundles.zoo.pack import pack

sys.path.append(str(Path(__file__).parent / "label_server"))
from images import OBLIQUE, brain, write_images
from running import Server, free_port, running

pytestmark = [pytest.mark.label, pytest.mark.timeout(1800)]

FETAL, FLUID = "fetal_us_biometry_segmentation", "amniotic_fluid_us_segmentation"
BRAIN, CT = "brats_mri_collagan_segmentation", "ct_lowdose_cyclegan_denoising"
DENTAL = "dental_cbct_tooth_segmentation"
BUNDLES = (FETAL, FLUID, BRAIN, CT, DENTAL)
SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8"}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, made = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("made")
    write_images(place, [made / case["image"] for case in simulate(find_bundle(FETAL), made, 2, 3)])
    four = brain()[[3, 0, 1, 2]]  # in the order of the Decathlon, which a 4D file has
    write_image(four, place / "four.nii.gz", affine=OBLIQUE)
    ct = read_image(place / "slice.nii.gz").array
    tilted = np.array([[-0.7, 0.05, 0, 30], [0.05, 0.7, 0, -40], [0, 0, 2.0, 10], [0, 0, 0, 1]])
    write_image(np.stack([ct, ct[:, ::-1]], -1), place / "volume.nii.gz", affine=tilted)
    return place


@pytest.fixture(scope="module")
def server(studies: Path) -> Iterator[Server]:
    app = studies.with_name("app")
    shutil.copytree(Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle", app)
    shutil.rmtree(app / "model", ignore_errors=True)
    for bundle in BUNDLES:
        with zipfile.ZipFile(pack(find_bundle(bundle), studies.with_name("packed")).path) as archive:
            archive.extractall(app / "model")
    port = free_port()
    command = ["-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(studies)]
    command += ["--conf", "models", ",".join(BUNDLES), "--conf", "zoo_source", "local"]
    command += ["--conf", "sam2", "false", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, studies, studies.with_name("home"), port, stock=True) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(server.url, tmpdir=str(tmp_path_factory.mktemp("client")))


def predicted(bundle: str, source: Path, output: Path) -> Image:
    assert cli.predict(bundle, str(source), str(output), page=False) == 0
    return read_image(output / read_report(output)["cases"][0]["outputs"]["pred"])


@pytest.mark.parametrize("bundle", [FETAL, FLUID])
def test_labels_of_a_plane_are_right_but_stand_on_edge(
    bundle: str, client: Any, studies: Path, tmp_path: Path
) -> None:
    file, _ = client.infer(bundle, "frame_1", dict(SLICER))
    found, wanted = read_image(file).array, predicted(bundle, studies / "frame_1.nii.gz", tmp_path).array
    assert found.shape == (1, *wanted.shape)  # a volume one voxel wide, where the image is one voxel deep
    np.testing.assert_array_equal(found[0], wanted)


@pytest.mark.parametrize(("bundle", "image"), [(DENTAL, "jaw"), (BRAIN, "four")])
def test_labels_of_a_volume_are_those_of_predict_voxel_for_voxel(
    bundle: str, image: str, client: Any, studies: Path, tmp_path: Path
) -> None:
    file, params = client.infer(bundle, image, dict(SLICER))
    found, wanted = read_image(file), predicted(bundle, studies / f"{image}.nii.gz", tmp_path)
    np.testing.assert_array_equal(found.array, wanted.array)
    np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-4)
    assert set(params["label_names"].values()) == set(range(1, len(params["label_names"]) + 1))


def test_an_image_is_given_in_full_by_floating_point_only(client: Any, studies: Path, tmp_path: Path) -> None:
    file, params = client.infer(CT, "volume", {"result_extension": ".nii.gz", "result_dtype": "float32"})
    found, wanted = read_image(file), predicted(CT, studies / "volume.nii.gz", tmp_path)
    assert np.abs(found.array - wanted.array.astype(float)).max() <= 0.5  # not yet rounded
    np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-4)
    spoilt, _ = client.infer(CT, "volume", dict(SLICER))
    assert read_image(spoilt).array.min() >= 0  # no negative HU are left of what Slicer asks for
    assert "measurements" not in params and "warnings" not in params


def test_one_contrast_of_a_study_is_refused_without_a_word(client: Any) -> None:
    from monailabel.client.client import MONAILabelClientException

    with pytest.raises(MONAILabelClientException) as caught:
        client.infer(BRAIN, "brain_flair", dict(SLICER))
    assert "500" in caught.value.msg and "MissingContrastError" not in caught.value.msg


def test_the_server_never_asked_for_another_machine(server: Server) -> None:
    assert server.attempts() == []
