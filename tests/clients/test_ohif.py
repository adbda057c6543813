"""OHIF, as MONAI Label brings it, on studies of a real archive: our bundles run from its panel."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent / "label_server"))
sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
from dicom_cases import CT, US, builder
from ohif_viewer import NAMES, Segments, Viewer, chromium
from orthanc import PASSWORD, PORT, USER, Orthanc
from running import Server, free_port, running

from medbundles import cli
from medbundles.images import RAS_FROM_LPS, Image
from medbundles.io import read_image
from medbundles.reports import read_report
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import find_bundle

pytestmark = [pytest.mark.ohif, pytest.mark.timeout(1800)]

DENTAL, DENOISER = "dental_cbct_tooth_segmentation", "ct_lowdose_cyclegan_denoising"
STUDY, PATIENT, SHOWN = "1.2.826.0.1.99.1", "Zwetschge^Anna", "Zwetschge"
SHORT, FRAME = "1.2.826.0.1.99.2", "1.2.826.0.1.99.3"
ARCHIVE = f"dicomweb://{USER}@127.0.0.1:{PORT}/dicom-web"
REFUSED = "e => e.className.includes('not-allowed') || !!e.querySelector('button')?.disabled"
PICTURES = "OHIF_PICTURES"  # a folder in which the pictures stay


@pytest.fixture(scope="module", autouse=True)
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder, a folder of temporary files and a password of its own."""
    home = tmp_path_factory.mktemp("home")
    (home / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("TMPDIR", str(home / "temporary"))
        patch.setenv("MEDBUNDLES_DICOMWEB_PASSWORD", PASSWORD)
        patch.delenv("MEDBUNDLES_DICOMWEB_TOKEN", raising=False)
        yield home


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cone-beam CT of a simulated patient as a DICOM series."""
    made = tmp_path_factory.mktemp("made")
    (case,) = simulate(find_bundle(DENTAL), made, 1, 4, spacing_mm=0.6, metal="none")
    image = read_image(made / case["image"])
    return write_series(image, made / "series", StudyInstanceUID=STUDY, PatientName=PATIENT)


@pytest.fixture(scope="module")
def orthanc(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An archive with the scan, with three slices of it as another study, and a frame of ultrasound."""
    place = tmp_path_factory.mktemp("archive")
    server = Orthanc(place / "orthanc")
    image = read_image(scan)
    part = Image(image.array[..., :3], image.affine, True, "none", None, scan, [], False)
    short = write_series(part, place / "short", StudyInstanceUID=SHORT, PatientName="Quitte^Berta")
    known = {"SOPClassUID": US, "StudyInstanceUID": FRAME, "SeriesInstanceUID": f"{FRAME}.1"}
    frame = builder()(place / "us.dcm", np.zeros((40, 50), np.uint8), PatientName="Mirabelle^Carla", **known)
    for path in [*scan.iterdir(), *short.iterdir(), frame]:
        server.add(path)
    with server.entered():
        yield server
    server.stop()


@pytest.fixture(scope="module")
def server(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home, port = tmp_path_factory.mktemp("label") / "home", free_port()
    command = ["-m", "medbundles.cli", "serve", ARCHIVE, "--port", str(port), "--output", str(home)]
    with running([*command, "--bundles", f"{DENTAL},{DENOISER}"], home, home, port) as found:
        yield found


@pytest.fixture(scope="module")
def viewer(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    pictures = Path(os.environ.get(PICTURES) or tmp_path_factory.mktemp("pictures"))
    with chromium(server.url, pictures) as found:
        yield found


@pytest.fixture(scope="module")
def predicted(panel: Viewer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, dict[int, str]]:
    """What `medbundles predict` writes for the study and stores in it, and the names of its labels."""
    output = tmp_path_factory.mktemp("predicted")
    assert cli.predict(DENTAL, f"{ARCHIVE}/studies/{STUDY}", str(output), page=False) == 0
    (case,) = read_report(output)["cases"]
    return read_image(output / case["outputs"]["pred"]), names_of(DENTAL)


def names_of(bundle: str) -> dict[int, str]:
    from medbundles.metadata import bundle_info

    return bundle_info(find_bundle(bundle) / "configs" / "metadata.json").label_names


def write_series(image: Image, folder: Path, **known: object) -> Path:
    """Writes axial CT: its rows run to the right, its columns to the front, its files from the top down."""
    folder.mkdir()
    affine = RAS_FROM_LPS @ image.affine
    voxels, affine = np.rint(image.array[0]).astype(np.int16), affine.copy()
    for axis, sign in enumerate((-1, -1, 1)):
        if affine[axis, axis] * sign < 0:
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis)
    sizes = np.abs(np.diag(affine))[:3]
    np.testing.assert_allclose(np.abs(affine[:3, :3]), np.diag(sizes), atol=1e-4)
    for number in range(voxels.shape[2]):
        place = {
            **{"SOPClassUID": CT, "SeriesInstanceUID": f"{known['StudyInstanceUID']}.1", "SeriesNumber": 3},
            **{"SeriesDescription": "CBCT, simulated", "StudyDate": "20260102", "StudyTime": "101500"},
            **{"FrameOfReferenceUID": f"{known['StudyInstanceUID']}.9", "InstanceNumber": number + 1},
            **{"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0], "SliceThickness": round(sizes[2], 6)},
            "ImagePositionPatient": [f"{v:.8f}" for v in affine[:3] @ [0, 0, number, 1]],
            "PixelSpacing": [f"{sizes[1]:.8f}", f"{sizes[0]:.8f}"],
            **{"RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 800, "WindowWidth": 3000},
        }
        path = folder / f"{voxels.shape[2] - number:03d}.dcm"
        builder()(path, np.ascontiguousarray(voxels[..., number].T), modality="CT", **place, **known)
    return folder


def on_grid(image: Image, wanted: Segments) -> np.ndarray:
    """The values of a label map at the voxels of the viewer's."""
    to_image = np.linalg.inv(RAS_FROM_LPS @ image.affine) @ wanted.affine
    points = np.indices(wanted.voxels.shape).reshape(3, -1)
    at = to_image[:3, :3] @ points + to_image[:3, 3:]
    index = np.rint(at).astype(int)
    np.testing.assert_allclose(at, index, atol=0.02)
    return image.array[0][tuple(index)].reshape(wanted.voxels.shape)


@pytest.fixture(scope="module")
def panel(viewer: Viewer) -> Viewer:
    """The scan opened with the panel of MONAI Label, and the panel connected."""
    viewer.open_list()
    link = viewer.mode(SHOWN, STUDY)
    viewer.picture("list")
    link.click()
    connect(viewer)
    return viewer


def connect(viewer: Viewer) -> None:
    viewer.page.locator("#monailabelServerURL").wait_for()
    viewer.page.wait_for_function("() => cornerstone.getRenderingEngines()[0]?.getViewports().length === 3")
    viewer.page.locator(".settingsTable button.actionButton").click()
    viewer.page.get_by_title("Run Segmentation", exact=True).wait_for()
    viewer.page.wait_for_function("() => !!services.segmentationService.getSegmentation('1')")
    viewer.page.wait_for_timeout(3000)  # OHIF draws the empty segments first


def run_bundle(viewer: Viewer, said: str) -> None:
    heard = len(viewer.messages)
    viewer.page.get_by_title("Run Segmentation", exact=True).click()
    viewer.wait_for_message("Running Infer", heard)
    if said:
        viewer.page.get_by_text(said).first.wait_for()


def test_the_list_has_the_studies_and_offers_the_panel_for_ct_alone(viewer: Viewer) -> None:
    viewer.open_list()
    listed = viewer.page.inner_text("body")
    assert "3\nStudies" in listed and all(name in listed for name in (SHOWN, "Quitte", "Mirabelle"))
    for patient, study, refused in ((SHOWN, STUDY, False), ("Mirabelle", FRAME, True)):
        assert viewer.mode(patient, study).evaluate(REFUSED) == refused


def test_the_panel_knows_where_the_server_is_and_lists_what_segments(panel: Viewer, server: Server) -> None:
    assert panel.page.locator("#monailabelServerURL").input_value() == f"{server.url}/"
    offered = panel.page.locator("select.selectBox").first.locator("option").all_inner_texts()
    assert [name.strip() for name in offered] == [DENTAL]


def test_a_bundle_that_is_run_from_the_panel_shows_what_predict_writes_voxel_for_voxel(
    panel: Viewer, predicted: tuple[Image, dict[int, str]]
) -> None:
    image, names = predicted
    before = panel.colours()
    run_bundle(panel, "Running Segmentation - Successful")
    panel.wait_for_message("updated the segmentation's scalar data")
    found = panel.segments("1")
    assert set(found.names.values()) == set(names.values()) and len(found.counts()) >= 8
    wanted = on_grid(image, found)
    by_name = {name: number for number, name in found.names.items()}
    expected = np.zeros_like(found.voxels)
    for value, name in names.items():
        expected[wanted == value] = by_name[name]
    np.testing.assert_array_equal(found.voxels, expected)
    panel.picture("panel")
    assert panel.colours() > before + 300


def test_a_scan_that_a_bundle_cannot_use_is_refused_and_the_log_says_why(
    viewer: Viewer, panel: Viewer
) -> None:
    viewer.page.goto(f"{viewer.url}/ohif/monai-label?StudyInstanceUIDs={SHORT}")
    connect(viewer)
    run_bundle(viewer, "Failed to Run Segmentation")
    viewer.picture("refused")
    log = viewer.page.context.request.get(f"{viewer.url}/logs/?text=true&lines=100").text()
    assert "what to do" in log and "3 pixels" in log


def test_results_that_predict_stored_are_shown_with_their_names(
    viewer: Viewer, predicted: tuple[Image, dict[int, str]]
) -> None:
    image, names = predicted
    viewer.page.goto(f"{viewer.url}/ohif/segmentation?StudyInstanceUIDs={STUDY}")
    viewer.open_segmentation()
    (name,) = viewer.page.evaluate(NAMES)
    counts = {names[v]: int((image.array == v).sum()) for v in np.unique(image.array) if v}
    assert viewer.counts(name) == counts
    viewer.picture("stored")


def test_images_stay_in_the_servers_folder_and_nothing_else_was_asked(
    viewer: Viewer, panel: Viewer, server: Server, settings: Path
) -> None:
    copies = server.home / "archive"
    assert not list((settings / "temporary").rglob("*.nii.gz"))
    assert list(copies.rglob("*.dcm")) and copies.stat().st_mode & 0o077 == 0
    assert not (settings / ".cache" / "monailabel").exists()
    assert viewer.hosts == {server.url.split("/")[2]}
    assert server.attempts() == []
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert not [word for word in (SHOWN, "Anna", PASSWORD) if word in log]
