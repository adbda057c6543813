"""What a command prints: for people, for programs, and never what a DICOM header says of a patient."""

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medbundles.cli import main
from medbundles.errors import InputError
from medbundles.io import read_image
from medbundles.logs import say, show_log

BUNDLE = "fetal_us_biometry_segmentation"
PRIVATE = {
    "PatientName": "Zwetschge^Quirina",
    "PatientID": "QX-90210-K",
    "PatientBirthDate": "19870203",
    "AccessionNumber": "ACC77316",
    "OtherPatientNames": "Mirabelle^Quirina",
    "ReferringPhysicianName": "Pflaume^Ottokar",
    "PatientAddress": "Obstgarten 12",
    "StudyDescription": "Frau Zwetschge Kontrolle",
    "InstitutionName": "Klinik Pflaumenheim",
}
WORDS = ("zwetschge", "quirina", "90210", "19870203", "77316", "mirabelle", "pflaum", "obstgarten", "ottokar")


@pytest.fixture(autouse=True)
def logging_as_before() -> None:
    """Gives the root logger back its handlers."""
    root, ours = logging.getLogger(), logging.getLogger("medbundles")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before
    logging.captureWarnings(False)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


@pytest.fixture
def scans(tmp_path: Path, dicom_file: Callable[..., Path], us_region: Callable[..., object]) -> Path:
    """One good frame of ultrasound, one of another modality, and one whose pixels end too early."""
    folder, noise = tmp_path / "scans", np.random.default_rng(0)
    folder.mkdir()
    frame = noise.integers(0, 255, (160, 200)).astype(np.uint8)
    region = us_region(0.03, 0.03, (0, 0, 199, 159))
    dicom_file(folder / "good.dcm", frame, SequenceOfUltrasoundRegions=[region], **PRIVATE)
    dicom_file(folder / "other.dcm", frame, modality="CT", **PRIVATE)
    whole = dicom_file(folder / "cut.dcm", frame, **PRIVATE).read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-9000])
    return folder


def test_json_lines_hold_message_level_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    show_log(as_json=True)
    say('a "quoted" sentence', case="ä.png", seconds=1.5)
    logging.getLogger("elsewhere").warning("of %s", "another")
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["message"] == 'a "quoted" sentence' and first["case"] == "ä.png" and first["seconds"] == 1.5
    assert first["level"] == "INFO" and first["time"].endswith("+00:00")
    assert (second["level"], second["logger"], second["message"]) == ("WARNING", "elsewhere", "of another")


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_log(as_json=True)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("medbundles.x").exception("failed")
    (line,) = capsys.readouterr().out.splitlines()
    assert "two\nlines" in json.loads(line)["error"]


def test_sentences_for_people_have_no_time_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    show_log()
    say("a sentence", case="x")
    assert capsys.readouterr().out == "a sentence\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_tells_who_the_patient_is(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    status = run("predict", BUNDLE, scans, tmp_path / "out", *(["--log_json"] if as_json else []))
    printed = capsys.readouterr()
    assert status == 1  # two of three cannot be used
    results = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    told = [printed.out, printed.err, *(str(path) for path in results)]
    told += [path.read_bytes().decode("latin-1") for path in results]
    for word in WORDS:
        assert not any(word in text.lower() for text in told), word
    statuses = {case["input"]: case["status"] for case in report(tmp_path / "out")}
    assert [statuses[name] for name in sorted(statuses)] == ["failed", "ok", "failed"]
    if as_json:
        lines = [json.loads(line) for line in printed.out.splitlines()]
        seen = {line["case"]: line["status"] for line in lines if "status" in line}
        assert seen == statuses
        assert any("measurements" in line for line in lines)


@pytest.mark.parametrize("name", ["other.dcm", "cut.dcm"])
def test_a_traceback_tells_nothing_either(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run("predict", BUNDLE, scans / name, tmp_path / "out", "--debug") == 1
    printed = capsys.readouterr()
    with pytest.raises(InputError) as caught:
        read_image(scans / name).check({"modality": "US", "channels": 1, "spatial_dims": 2})
    told = "".join(traceback.format_exception(caught.value)) + printed.out + printed.err
    assert name in told
    assert not any(word in told.lower() for word in WORDS)


def report(folder: Path) -> list[dict]:
    return json.loads((folder / "report.json").read_text())["cases"]
