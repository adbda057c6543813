"""Studies in an archive: what is fetched, what is refused, and what is said of patients (nothing)."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from dicom_cases import METADATA, SIZE, TILT, builder, write_ct, write_frame
from dicomweb_server import Server
from test_logs import PRIVATE, WORDS

from medbundles import dicomweb_archive
from medbundles.dicomweb import FOLDER, fetched
from medbundles.dicomweb_address import parse
from medbundles.dicomweb_archive import Archive
from medbundles.errors import (
    ArchiveAccessError,
    ArchiveAnswerError,
    ArchiveUnreachableError,
    DicomSeriesError,
    InputError,
    MissingInputError,
    PackageError,
    SizeError,
)
from medbundles.io import read_image
from medbundles.metadata import BundleInfo

STUDY, UPRIGHT = "1.2.3", np.eye(3)
VOLUMES = BundleInfo("a_bundle", METADATA)


def takes(**input_: object) -> BundleInfo:
    """A bundle with this input."""
    return BundleInfo("a_bundle", METADATA | {"medbundles": METADATA["medbundles"] | {"input": input_}})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other without a pause, and no credentials of the user's are taken."""
    monkeypatch.setattr(dicomweb_archive, "WAITS_S", (0.0, 0.0))
    for name in ("TOKEN", "PASSWORD"):
        monkeypatch.delenv(f"MEDBUNDLES_DICOMWEB_{name}", raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def ct(server: Server, tmp_path: Path) -> Path:
    """A CT series, also in the archive as study 1.2.3."""
    folder = write_ct(builder(), tmp_path / "ct", TILT * np.array([1, 1, np.linalg.det(TILT)]))
    server.add(folder)
    return folder


def get(
    server: Server, tmp_path: Path, info: BundleInfo = VOLUMES, series: str = "", study: str = STUDY
) -> None:
    with fetched(parse(f"{server.address}/{study}{series}"), info, tmp_path / "out"):
        pass


def more(server: Server, path: Path, series: str, number: int, **attributes: object) -> None:
    known = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": series, "SeriesNumber": number}
    server.add(builder()(path, np.zeros((4, 4), np.uint8), **(known | attributes | PRIVATE)))


def test_a_fetched_series_is_the_series(server: Server, ct: Path, tmp_path: Path) -> None:
    with fetched(parse(f"{server.address}/{STUDY}"), VOLUMES, tmp_path / "out") as study:
        theirs, ours = read_image(ct), read_image(study.place)
        np.testing.assert_array_equal(ours.array, theirs.array)
        np.testing.assert_allclose(ours.affine, theirs.affine)
        assert study.sources == set(server.files)
        assert (tmp_path / "out" / FOLDER).stat().st_mode & 0o077 == 0
    assert list((tmp_path / "out").iterdir()) == []


def test_what_was_fetched_goes_whatever_happens(server: Server, ct: Path, tmp_path: Path) -> None:
    address = parse(f"{server.address}/{STUDY}")
    with pytest.raises(ZeroDivisionError), fetched(address, VOLUMES, tmp_path / "out"):
        raise ZeroDivisionError
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / FOLDER / "left behind").mkdir(parents=True)
    with fetched(address, VOLUMES, tmp_path / "out") as study:
        assert list((tmp_path / "out" / FOLDER).iterdir()) == [study.place]


def test_the_same_images_always_get_the_same_names(server: Server, ct: Path, tmp_path: Path) -> None:
    names = []
    for index in range(3):
        if index == 2:
            del server.files[next(iter(server.files))]
        with fetched(parse(f"{server.address}/{STUDY}"), VOLUMES, tmp_path / "out") as study:
            names.append([study.place.name, *sorted(path.name for path in study.place.iterdir())])
    assert names[0] == names[1]
    assert names[0][0] != names[2][0] and set(names[2][1:]) < set(names[0][1:])


def test_frames_of_a_2d_bundle_come_together_from_all_series(server: Server, tmp_path: Path) -> None:
    for index in range(3):
        server.add(write_frame(builder(), tmp_path / f"{index}.dcm"))
    with fetched(
        parse(f"{server.address}/{STUDY}"), takes(spatial_dims=2, modality=["US"]), tmp_path / "o"
    ) as study:
        assert len([path for path in study.place.iterdir() if path.suffix == ".dcm"]) == 3
        assert study.place.name.startswith("study_")


def test_a_study_of_several_contrasts_comes_with_a_folder_per_series(server: Server, tmp_path: Path) -> None:
    for number in (1, 2):
        more(server, tmp_path / f"{number}.dcm", f"1.2.{number}", number, modality="MR")
    info = takes(spatial_dims=3, channels=4, modality=["MR"])
    with fetched(parse(f"{server.address}/{STUDY}"), info, tmp_path / "out") as study:
        folders = sorted(study.place.iterdir())
        assert [folder.name[:9] for folder in folders] == ["series_1_", "series_2_"]
        assert all(len(list(folder.iterdir())) == 1 for folder in folders)


def test_results_and_other_modalities_are_passed_over(server: Server, ct: Path, tmp_path: Path) -> None:
    more(
        server, tmp_path / "a.dcm", "1.5", 1001, modality="CT", SeriesDescription="x + denoised (medbundles)"
    )
    more(server, tmp_path / "b.dcm", "1.6", 2001, modality="SEG")
    with fetched(parse(f"{server.address}/{STUDY}"), VOLUMES, tmp_path / "out") as study:
        assert len(study.sources) == SIZE[2]
    with fetched(parse(f"{server.address}/{STUDY}/series/1001"), VOLUMES, tmp_path / "out") as study:
        assert len(study.sources) == 1


def test_several_series_are_listed_and_one_is_named(server: Server, ct: Path, tmp_path: Path) -> None:
    more(server, tmp_path / "a.dcm", "1.9.77", 8, modality="CT", SeriesDescription="Zwetschge")
    more(server, tmp_path / "b.dcm", "1.9.1", 9, modality="CT")
    with pytest.raises(DicomSeriesError) as caught:
        get(server, tmp_path)
    text = str(caught.value)
    assert "3 series" in text and "8 (CT, 1 files, UID ends with 1.9.77)" in text and "/series/NUMBER" in text
    assert "Zwetschge" not in text and "Hidden" not in text
    for name in ("1", "8", "1.9.77", "9.77"):
        get(server, tmp_path, series=f"/series/{name}")
    with pytest.raises(MissingInputError, match="no series 5"):
        get(server, tmp_path, series="/series/5")


def test_a_study_without_a_fitting_series_says_what_it_has(server: Server, ct: Path, tmp_path: Path) -> None:
    with pytest.raises(DicomSeriesError, match=r"no acquired series of US .*\n.*1 \(CT, 5 files"):
        get(server, tmp_path, takes(spatial_dims=2, modality=["US"]))


def test_a_study_that_is_not_there_is_missing(server: Server, ct: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such study"):
        get(server, tmp_path, study="1.2.99")
    server.statuses = [404]  # some archives say so instead of an empty list
    with pytest.raises(MissingInputError, match="no such study"):
        get(server, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("behaviour", "kind", "said"),
    [
        ({"secret": "Bearer x"}, ArchiveAccessError, "HTTP 401.*MEDBUNDLES_DICOMWEB_TOKEN"),
        ({"statuses": [403]}, ArchiveAccessError, "HTTP 403"),
        ({"statuses": [404, 404]}, ArchiveAnswerError, "nothing there.*dicom-web for Orthanc"),
        ({"statuses": [400]}, ArchiveAnswerError, "HTTP 400"),
        ({"statuses": [503] * 3}, ArchiveUnreachableError, "HTTP 503"),
        ({"statuses": [501]}, ArchiveUnreachableError, "HTTP 501"),
        ({"page": "<html>Zwetschge</html>"}, ArchiveAnswerError, "not DICOMweb's"),
        ({"page": '["Zwetschge"]'}, ArchiveAnswerError, "not DICOMweb's"),
        ({"elsewhere": "http://127.0.0.1:9/Zwetschge"}, ArchiveAnswerError, "sends on"),
        ({"cut": 3}, ArchiveUnreachableError, "broke off"),
        ({"missing": 1}, ArchiveAnswerError, "4 of 5 images"),
        ({"another": b"Zwetschge"}, ArchiveAnswerError, "not DICOMweb's"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_whatever_an_archive_does_the_error_names_it_and_no_patient(
    server: Server,
    ct: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    behaviour: dict[str, object],
    kind: type[InputError],
    said: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    vars(server).update(behaviour)
    with pytest.raises(kind, match=rf"(?s){said}") as caught:
        get(server, tmp_path)
    text = str(caught.value)
    assert f"127.0.0.1:{server.server_port}" in text and len(text.splitlines()) <= 6
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert not any(word in told.lower() for word in (*WORDS, "hidden", "secret"))
    assert not (tmp_path / "out" / FOLDER).exists()


def test_an_archive_that_is_down_is_told_by_its_host(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ArchiveUnreachableError, match=f"127.0.0.1:{server.server_port}"):
        get(server, tmp_path)


def test_images_of_another_patient_are_refused(server: Server, ct: Path, tmp_path: Path) -> None:
    path = write_frame(builder(), tmp_path / "other.dcm", StudyInstanceUID="1.2.99")
    server.another = path.read_bytes()
    with pytest.raises(ArchiveAnswerError, match="another study"):
        get(server, tmp_path)


def test_what_fails_for_a_moment_is_asked_again(server: Server, ct: Path, tmp_path: Path) -> None:
    server.statuses, server.cut = [503, 429], 1
    with fetched(parse(f"{server.address}/{STUDY}"), VOLUMES, tmp_path / "out") as study:
        np.testing.assert_array_equal(read_image(study.place).array, read_image(ct).array)


def test_a_transfer_ends_where_it_becomes_too_large(server: Server, ct: Path) -> None:
    archive = Archive(parse(f"{server.address}/{STUDY}"))
    with pytest.raises(SizeError, match="/series/NUMBER"):
        archive.receive("1.2.3.4", lambda dataset: None, room=2000)
    size = sum(len(data) for data in server.files.values())
    assert 0 < archive.receive("1.2.3.4", lambda dataset: None, room=size + 5000) < 5000


def test_a_token_goes_to_the_archive_and_nowhere_else(
    server: Server,
    ct: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.secret = "Bearer topsecret"
    monkeypatch.setenv("MEDBUNDLES_DICOMWEB_TOKEN", "topsecret")
    get(server, tmp_path)
    server.secret = "Bearer another"
    with pytest.raises(ArchiveAccessError) as caught:
        get(server, tmp_path)
    assert "topsecret" not in caplog.text + "".join(traceback.format_exception(caught.value))


def test_a_user_needs_a_password(
    server: Server, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.secret = "Basic bWU6cHc="  # me:pw
    address = parse(f"{server.address}/{STUDY}".replace("//", "//me@"))
    with pytest.raises(ArchiveAccessError, match="MEDBUNDLES_DICOMWEB_PASSWORD"):
        Archive(address)
    monkeypatch.setenv("MEDBUNDLES_DICOMWEB_PASSWORD", "pw")
    assert len(Archive(address).series()) == 1


def test_no_proxy_sees_what_is_not_encrypted(
    server: Server, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    get(server, tmp_path)


def test_the_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dicomweb_client.api", None)
    with pytest.raises(PackageError, match=r"pip install 'medbundles\[dicomweb\]'"):
        Archive(parse("dicomweb://127.0.0.1:9/rs/studies/1.2.3"))
