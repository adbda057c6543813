"""Results in an archive: each object once, in the study of the images, or the reason why it is not."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from dicom_cases import METADATA, SIZE, builder, case_of, some_labels, write_ct
from dicomweb_server import ROOT, Server

from medbundles import cli, dicomweb_archive, dicomweb_results, io
from medbundles.dicom_results import SaveDicomd
from medbundles.dicomweb import run_on_study
from medbundles.dicomweb_address import parse
from medbundles.errors import ArchiveStoreError, ArchiveUnreachableError
from medbundles.metadata import BundleInfo
from medbundles.reports import case_result, read_report, write_report
from medbundles.zoo.new import TEMPLATE

INFO, RUN = BundleInfo("a_bundle", METADATA), {"bundle": "a_bundle", "version": "1.2.3", "device": "cpu"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other without a pause."""
    monkeypatch.setattr(dicomweb_archive, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(dicomweb_results, "APPEARS_S", (0.0, 0.0))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An archive with one CT series."""
    running = Server()
    running.add(write_ct(builder(), tmp_path / "ct", np.eye(3)))
    yield running
    running.shutdown()
    running.server_close()


def finding(labels: np.ndarray, output: Path) -> Callable[[Path], int]:
    """What a workflow does, with an answer that is known."""

    def work(place: Path) -> int:
        output.mkdir(exist_ok=True)
        case = case_of(place, labels, output / "picture") | {"case": io.case_name(place), "outputs": {}}
        case = SaveDicomd("pred", output, metadata=METADATA, output_format="dicom")(case)
        case["outputs"] = {"dicom": Path(case["outputs"]["dicom"]).name}
        write_report(output, [case_result(case, status="ok", run=RUN)], RUN)
        return 0

    return work


def run(server: Server, output: Path, labels: np.ndarray | None = None, **options: bool) -> None:
    labels = some_labels(SIZE) if labels is None else labels
    address = parse(f"{server.address}/1.2.3")
    assert run_on_study(address, INFO, output, finding(labels, output), **options) == 0


def made(server: Server) -> list[pydicom.Dataset]:
    found = [pydicom.dcmread(BytesIO(data)) for data in server.files.values()]
    return [dataset for dataset in found if dataset.Modality != "CT"]


def other() -> np.ndarray:
    labels = some_labels(SIZE)
    labels[1, 1, 1] = 2
    return labels


def test_results_come_into_the_study_and_refer_to_its_images(server: Server, tmp_path: Path) -> None:
    images = set(server.files)
    run(server, tmp_path / "out")
    found = {dataset.Modality: dataset for dataset in made(server)}
    assert sorted(found) == ["SEG", "SR"]
    assert set(server.stored()) == {f"{ROOT}/studies/1.2.3"}
    assert all(dataset.StudyInstanceUID == "1.2.3" for dataset in found.values())
    assert int(found["SEG"].pixel_array.sum()) == int((some_labels(SIZE) > 0).sum())
    for dataset in found.values():
        referenced = {e.value for e in dataset.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
        assert referenced & images and referenced <= set(server.files)


def test_the_report_names_the_address_and_the_files_that_are_there(server: Server, tmp_path: Path) -> None:
    run(server, tmp_path / "out")
    (case,) = read_report(tmp_path / "out")["cases"]
    assert case["input"].startswith(f"{server.address}/1.2.3/series_1_")
    assert (tmp_path / "out" / case["outputs"]["dicom"] / "segmentation.dcm").is_file()
    assert not (tmp_path / "out" / ".dicomweb").exists()


def test_the_same_results_are_stored_once(server: Server, tmp_path: Path) -> None:
    run(server, tmp_path / "out")
    before = dict(server.files)
    run(server, tmp_path / "out")
    run(server, tmp_path / "elsewhere", overwrite=True)
    assert server.files == before and len(server.stored()) == 2


def test_what_is_missing_of_a_case_is_stored(server: Server, tmp_path: Path) -> None:
    run(server, tmp_path / "out")
    before = set(server.files)
    report = next(dataset.SOPInstanceUID for dataset in made(server) if dataset.Modality == "SR")
    del server.files[report]
    run(server, tmp_path / "out")
    assert set(server.files) == before and len(server.stored()) == 3


def test_another_result_of_the_same_images_is_stored_only_when_asked_for(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(server, tmp_path / "out")
    run(server, tmp_path / "b", other())
    assert len(server.stored()) == 2 and "--overwrite true" in caplog.text
    run(server, tmp_path / "b", other(), overwrite=True)
    assert len(server.stored()) == 4 and len(made(server)) == 4


def test_a_result_of_other_images_is_no_earlier_result(server: Server, tmp_path: Path) -> None:
    run(server, tmp_path / "out")
    for index, path in enumerate(sorted((tmp_path / "ct").iterdir())):
        dataset = pydicom.dcmread(path)
        del server.files[dataset.SOPInstanceUID]
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3.9", f"1.2.3.9.{index}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path)
    server.add(tmp_path / "ct")
    run(server, tmp_path / "b", other())
    assert len(made(server)) == 4


def test_a_case_that_failed_stores_nothing_and_is_not_said_to_be_there(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def work(place: Path) -> int:
        failed = case_result({"input": str(place)}, status="failed", run=RUN, error="no")
        write_report(tmp_path / "out", [failed], RUN)
        return 1

    assert run_on_study(parse(f"{server.address}/1.2.3"), INFO, tmp_path / "out", work) == 1
    assert not server.stored() and "already" not in caplog.text
    (case,) = read_report(tmp_path / "out")["cases"]
    assert case["input"].startswith(server.address)


def test_without_storing_the_archive_stays_as_it_is(server: Server, tmp_path: Path) -> None:
    before = dict(server.files)
    run(server, tmp_path / "out", store=False)
    assert server.files == before and not server.stored()
    assert list((tmp_path / "out").glob("*_dicom/segmentation.dcm"))


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"reason": 0x0122}, "does not take objects of this class"),
        ({"reason": 0xA7FF}, "no room"),
        ({"reason": 0x1234}, "0x1234"),
        ({"forgets": True}, "does not list it"),
    ],
)
def test_every_object_that_is_not_stored_is_named_with_the_reason(
    server: Server, tmp_path: Path, behaviour: dict[str, object], said: str
) -> None:
    vars(server).update(behaviour)
    with pytest.raises(ArchiveStoreError) as caught:
        run(server, tmp_path / "out")
    text = str(caught.value)
    assert said in text and "2 of 2 objects" in text and len(text.splitlines()) <= 6
    assert "segmentation.dcm of series_1_" in text and "measurements.dcm of series_1_" in text
    assert (tmp_path / "out" / "report.json").is_file()
    vars(server).update(reason=0, forgets=False)
    run(server, tmp_path / "out")
    assert len(made(server)) == 2


def test_an_archive_that_goes_away_meanwhile_is_told(server: Server, tmp_path: Path) -> None:
    find = finding(some_labels(SIZE), tmp_path / "out")

    def work(place: Path) -> int:
        server.statuses = [502] * 9
        return find(place)

    with pytest.raises(ArchiveUnreachableError, match="HTTP 502"):
        run_on_study(parse(f"{server.address}/1.2.3"), INFO, tmp_path / "out", work)
    assert list((tmp_path / "out").glob("*_dicom/segmentation.dcm"))
    assert not (tmp_path / "out" / ".dicomweb").exists()


def test_certificates_are_checked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    address = parse(f"{server.address}/1.2.3".replace("dicomweb:", "dicomwebs:"))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with pytest.raises(ArchiveUnreachableError, match="REQUESTS_CA_BUNDLE"):
        dicomweb_archive.Archive(address).series()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(place))
    assert len(dicomweb_archive.Archive(address).series()) == 1


def certificate(folder: Path) -> Path:
    """Writes a key and a certificate for this machine, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
    )
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dicomweb://127.0.0.1:9/rs/studies/no"], "studies/UID"),
        (["dicomweb://10.0.0.1/rs/studies/1.2"], "dicomwebs://"),
        (["dicomweb://127.0.0.1:9/rs/1.2", "--store", "perhaps"], "true or false"),
        (["dicomweb://127.0.0.1:9/rs/1.2", "--output_format", "auto"], "--store false"),
        (["dicomweb://127.0.0.1:9/rs/1.2", "--ouput_ext", ".png"], "did you mean --output_ext?"),
        (["dicomweb://127.0.0.1:9/rs/1.2", "--dataset_dir", "x"], "--dataset_dir"),
        (["dicomweb://127.0.0.1:9/rs/1.2"], "no connection"),
    ],
)
def test_a_mistake_on_the_command_line_leaves_nothing(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["predict", str(TEMPLATE), words[0], "out", *words[1:]])
    assert stop.value.code == 1
    assert said in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_switch_that_is_false_is_false(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        cli.main(["simulate", str(TEMPLATE), str(tmp_path / "in"), "--n", "1"])
    words = ["predict", str(TEMPLATE), str(tmp_path / "in" / "images"), str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        cli.main([*words, "--device", "cpu", "--page", "false"])
    assert (tmp_path / "out" / "report.json").is_file() and not (tmp_path / "out" / "index.html").exists()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
