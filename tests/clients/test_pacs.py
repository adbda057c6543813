"""Studies in a real archive: Orthanc with its DICOMweb plugin. See README.md here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
sys.path.insert(0, str(Path(__file__).parents[1] / "bundles"))
from ct_phantom import phantom, write_dicom
from dicom_cases import METADATA, US, builder
from orthanc import PASSWORD, PORT, USER, Orthanc
from test_logs import PRIVATE, WORDS

from medbundles import cli, io
from medbundles.dicomweb import fetched, run_on_study
from medbundles.dicomweb_address import parse
from medbundles.errors import ArchiveUnreachableError
from medbundles.metadata import BundleInfo
from medbundles.reports import read_report

pytestmark = pytest.mark.pacs

FETAL, DENOISER = "fetal_us_biometry_segmentation", "ct_lowdose_cyclegan_denoising"
STUDY, SLICES = "1.2.826.0.1.77.1", 6
KINDS = {"SEG": "segmentation", "SR": "measurements", "OT": "key image"}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path_factory.mktemp("archive") / "orthanc")
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDBUNDLES_DICOMWEB_PASSWORD", PASSWORD)
    monkeypatch.delenv("MEDBUNDLES_DICOMWEB_TOKEN", raising=False)


@pytest.fixture(scope="module")
def frame(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated frame with a patient's names all over it, also in the archive."""
    folder = tmp_path_factory.mktemp("simulated")
    with pytest.raises(SystemExit):
        cli.main(["simulate", FETAL, str(folder), "--n", "1", "--seed", "3"])
    image = io.read_image(next((folder / "images").iterdir()))
    region = builder().__globals__["build_region"](0.03, 0.03, (0, 0, image.shape[0] - 1, image.shape[1] - 1))
    known = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.1",
        "SeriesNumber": 4,
        "SOPClassUID": US,
    }
    known |= {"SequenceOfUltrasoundRegions": [region], "SeriesDescription": "Zwetschge Kontrolle"}
    pixels = np.ascontiguousarray(np.clip(image.array[0], 0, 255).astype(np.uint8).T)
    path = builder()(folder / "frame.dcm", pixels, modality="US", **(known | PRIVATE))
    orthanc.add(path)
    return path


@pytest.fixture(scope="module")
def ct(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT study of one series."""
    folder, noise = tmp_path_factory.mktemp("ct") / "series", np.random.default_rng(1)
    for z in range(SLICES):
        hu = phantom(64) + noise.normal(0, 30, (64, 64))
        orthanc.add(write_dicom(folder / f"{z}.dcm", hu, patient="p", position=(-20.0, -30.0, 5.0 * z)))
    return folder


def address(study: str, port: int = PORT, user: str = USER) -> str:
    return f"dicomweb://{user}@127.0.0.1:{port}/dicom-web/studies/{study}"


def predict(orthanc: Orthanc, *words: object) -> int:
    """Runs the command where the archive can be reached."""
    with pytest.raises(SystemExit) as stop:
        orthanc.inside(lambda: cli.main(["predict", *map(str, words), "--page", "false"]))
    return int(stop.value.code or 0)


def held(orthanc: Orthanc, study: str) -> list[pydicom.Dataset]:
    """All that the archive has of a study."""
    read = [pydicom.dcmread(BytesIO(orthanc.file(name))) for name in orthanc.get("/instances")]
    return [dataset for dataset in read if dataset.StudyInstanceUID == study]


def study_of(path: Path) -> str:
    return str(pydicom.dcmread(path).StudyInstanceUID)


def referenced(dataset: pydicom.Dataset) -> set[str]:
    return {e.value for e in dataset.iterall() if e.keyword == "ReferencedSOPInstanceUID"}


def test_the_archive_is_alone_with_its_clients(orthanc: Orthanc) -> None:
    assert [name for _, name in orthanc.inside(socket.if_nameindex)] == ["lo"]


def test_segmentation_report_and_key_image_come_into_the_study(
    orthanc: Orthanc, frame: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "medbundles.cli",
        "predict",
        FETAL,
        address(STUDY),
        str(tmp_path / "out"),
    ]
    inside = ["nsenter", f"--net=/proc/{orthanc.process.pid}/ns/net", *command, "--log_json"]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=280, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]

    images = {str(pydicom.dcmread(frame).SOPInstanceUID)}
    found = {dataset.Modality: dataset for dataset in held(orthanc, STUDY)}
    assert set(found) == {"US", *KINDS}
    for modality, name in KINDS.items():
        assert found[modality].SeriesDescription.startswith(name)
        assert found[modality].PatientID == PRIVATE["PatientID"]
        assert referenced(found[modality]) & images

    assert predict(orthanc, FETAL, frame, tmp_path / "here") == 0
    (case,) = read_report(tmp_path / "here")["cases"]
    labels = io.read_image(tmp_path / "here" / case["outputs"]["pred"]).array
    assert labels.any()
    assert _voxels(found["SEG"]) == {int(v): int((labels == v).sum()) for v in np.unique(labels) if v}

    (case,) = read_report(tmp_path / "out")["cases"]
    assert case["input"].startswith(f"dicomweb://127.0.0.1:{PORT}/dicom-web/studies/{STUDY}/")
    named = [str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*")]
    texts = [(tmp_path / "out" / name).read_text() for name in ("report.json", "report.csv", "index.html")]
    told = "\n".join([done.stdout, done.stderr, *named, *texts]).lower()
    assert not any(word in told for word in (*WORDS, PASSWORD))


def test_a_rerun_stores_nothing_new(orthanc: Orthanc, frame: Path, tmp_path: Path) -> None:
    assert predict(orthanc, FETAL, address(STUDY), tmp_path / "out") == 0
    before = orthanc.get("/instances")
    assert predict(orthanc, FETAL, address(STUDY), tmp_path / "out") == 0
    assert orthanc.get("/instances") == before
    (case,) = read_report(tmp_path / "out")["cases"]
    assert case["status"] == "skipped"
    assert predict(orthanc, FETAL, f"{address(STUDY)}/series/4", tmp_path / "b", "--overwrite", "true") == 0
    assert orthanc.get("/instances") == before


def test_a_volume_comes_back_as_a_series_with_the_pixels_of_the_local_run_and_once(
    orthanc: Orthanc, ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(ct / "0.dcm")
    assert predict(orthanc, DENOISER, address(study), tmp_path / "out") == 0
    assert predict(orthanc, DENOISER, ct, tmp_path / "here") == 0
    (case,) = read_report(tmp_path / "here")["cases"]
    expected = io.read_image(tmp_path / "here" / case["outputs"]["pred"])
    derived = [d for d in held(orthanc, study) if "denoised" in d.get("SeriesDescription", "")]
    (tmp_path / "derived").mkdir()
    for index, dataset in enumerate(derived):
        dataset.save_as(tmp_path / "derived" / f"{index}.dcm")
    found = io.read_image(tmp_path / "derived")
    assert len(derived) == SLICES
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    sources = {str(pydicom.dcmread(path).SOPInstanceUID) for path in ct.iterdir()}
    assert set().union(*map(referenced, derived)) == sources
    assert [d.Modality for d in held(orthanc, study)].count("SR") == 1

    before = orthanc.get("/instances")
    assert predict(orthanc, DENOISER, address(study), tmp_path / "b", "--strength", "0.5") == 0
    assert orthanc.get("/instances") == before and "--overwrite true" in capsys.readouterr().out
    words = [address(study), tmp_path / "b", "--strength", "0.5", "--overwrite", "true"]
    assert predict(orthanc, DENOISER, *words) == 0
    assert len(orthanc.get("/instances")) == len(before) + SLICES + 1


def test_compressed_images_come_as_they_were_stored(orthanc: Orthanc, ct: Path, tmp_path: Path) -> None:
    from pydicom.uid import RLELossless

    dataset = pydicom.dcmread(ct / "0.dcm")
    pixels = dataset.pixel_array.copy()
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.826.0.1.77.5"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.77.5.1"
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "packed.dcm")
    orthanc.add(tmp_path / "packed.dcm")

    def fetch() -> pydicom.Dataset:
        with fetched(
            parse(address("1.2.826.0.1.77.5")), BundleInfo("b", METADATA), tmp_path / "out"
        ) as study:
            got = pydicom.dcmread(next(study.place.iterdir()))
            np.testing.assert_array_equal(got.pixel_array, pixels)
            return got

    assert orthanc.inside(fetch).file_meta.TransferSyntaxUID == RLELossless


@pytest.mark.parametrize(
    ("where", "secret", "said"),
    [
        (address("1.2.826.0.1.99"), PASSWORD, "no such study"),
        (address(STUDY), "a wrong one", "HTTP 401"),
        (address(STUDY, user="nobody"), PASSWORD, "HTTP 401"),
        (address(STUDY).replace("dicom-web", "elsewhere"), PASSWORD, "DICOMweb service"),
        (address(STUDY).replace("/dicom-web", ""), PASSWORD, "DICOMweb service"),
        (address(STUDY, port=PORT + 1), PASSWORD, "no connection"),
        (address(STUDY) + "/series/5", PASSWORD, "no series 5"),
        (address(STUDY).replace("dicomweb:", "dicomwebs:"), PASSWORD, "https"),
    ],
)
def test_what_the_archive_does_not_give_is_told_in_a_few_lines(
    orthanc: Orthanc,
    frame: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    secret: str,
    said: str,
) -> None:
    monkeypatch.setenv("MEDBUNDLES_DICOMWEB_PASSWORD", secret)
    assert predict(orthanc, FETAL, where, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert said in printed.err and "127.0.0.1" in printed.err and len(printed.err.splitlines()) <= 6
    assert not any(word in (printed.out + printed.err).lower() for word in (*WORDS, secret, USER))
    assert not (tmp_path / "out").exists()


def test_an_archive_that_ends_meanwhile_costs_no_results(ct: Path, tmp_path: Path) -> None:
    server = Orthanc(tmp_path / "orthanc")
    for path in ct.iterdir():
        server.add(path)
    where = parse(address(study_of(ct / "0.dcm")))

    def work(place: Path) -> int:
        assert len(list(place.iterdir())) == SLICES
        code = predict(server, DENOISER, place, tmp_path / "out", "--output_format", "dicom")
        server.stop()
        return code

    info = BundleInfo(DENOISER, METADATA)
    with pytest.raises(ArchiveUnreachableError, match="no connection"):
        server.inside(lambda: run_on_study(where, info, tmp_path / "out", work))
    (case,) = read_report(tmp_path / "out")["cases"]
    assert case["status"] == "ok" and (tmp_path / "out" / case["outputs"]["dicom"]).is_dir()


def _voxels(segmentation: pydicom.Dataset) -> dict[int, int]:
    counts: dict[int, int] = {}
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    for pixels, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        counts[number] = counts.get(number, 0) + int(pixels.sum())
    return counts
