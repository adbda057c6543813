"""What programs of other people make of the DICOM that we write.

dcmqi comes with the extra `test`. dciodvfy and dsrdump do not: their tests carry the mark `dicom_tools`, see
README.md here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
from dicom_cases import METADATA, ROWS, SIZE, TILT, builder, case_of, some_labels, write_ct, write_frame

from medbundles import io
from medbundles.dicom_results import SaveDicomd
from medbundles.dicom_series import Maker, series_of, write_derived

ADVICE = "apt-get install dicom3tools dcmtk"


def run(name: str, *arguments: object) -> str:
    """Returns all that a program prints."""
    beside = Path(sys.executable).with_name(name)
    program = str(beside) if beside.is_file() else shutil.which(name)
    assert program, f"{name} is not installed: {ADVICE}"
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, errors="replace")
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    axes = TILT * np.array([1, 1, np.linalg.det(TILT)])
    folder = tmp_path_factory.mktemp("acquired") / "ct"
    return write_ct(builder(), folder, axes, spacing=(0.3, 0.9, 2.7))


@pytest.fixture(scope="module")
def volume(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a volume's results."""
    folder = tmp_path_factory.mktemp("volume")
    case = case_of(source, some_labels(SIZE), folder / "p")
    done = SaveDicomd("pred", folder, metadata=METADATA, output_format="dicom")(case)
    return Path(done["outputs"]["dicom"])


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a frame's results."""
    folder = tmp_path_factory.mktemp("flat")
    case = case_of(write_frame(builder(), folder / "us.dcm"), some_labels((50, 40)), folder / "p")
    block = METADATA["medbundles"] | {"input": {"spatial_dims": 2, "modality": ["US"]}}
    writer = SaveDicomd("pred", folder, metadata=METADATA | {"medbundles": block}, output_format="dicom")
    return Path(writer(case)["outputs"]["dicom"])


@pytest.fixture(scope="module")
def derived(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series that nobody acquired."""
    image, path = io.read_image(source), tmp_path_factory.mktemp("derived") / "series"
    maker = Maker("a_bundle", "1.2.3", "synthetic T1", synthetic="T1")
    write_derived(image.array, path, series=series_of(source), affine=image.affine, maker=maker)
    return path


def test_dcmqi_finds_the_segments_where_the_labels_are(source: Path, volume: Path, tmp_path: Path) -> None:
    options = ["--outputDirectory", tmp_path, "-t", "nii"]
    said = run("segimage2itkimage", "--inputDICOM", volume / "segmentation.dcm", *options)
    affine = io.read_image(source).affine
    for value in (1, 2):
        image = nib.load(tmp_path / f"{value}.nii.gz")
        theirs = nib.affines.apply_affine(image.affine, np.argwhere(np.asanyarray(image.dataobj)))
        ours = np.argwhere(some_labels(SIZE) == value) @ affine[:3, :3].T + affine[:3, 3]
        assert len(theirs) == len(ours), said
        assert np.linalg.norm(theirs[:, None] - ours[None], axis=-1).min(axis=1).max() < 0.15


def test_dcmqi_reads_the_measurements_of_segments(volume: Path, tmp_path: Path) -> None:
    options = ["--outputMetadata", tmp_path / "read.json"]
    run("tid1500reader", "--inputDICOM", volume / "measurements.dcm", *options)
    read = json.loads((tmp_path / "read.json").read_text())
    values = {
        float(item["value"]) for group in read["Measurements"] for item in group.get("measurementItems", [])
    }
    volumes = [row["value"] for row in ROWS if "volume" in row["name"]]
    assert all(any(value == pytest.approx(v) for v in values) for value in volumes)


@pytest.mark.dicom_tools
def test_dciodvfy_finds_no_error(volume: Path, flat: Path, derived: Path) -> None:
    files = [path for folder in (volume, flat, derived) for path in sorted(folder.iterdir())]
    assert len(files) == 2 + 3 + SIZE[2]
    for path in files:
        assert "Error" not in (said := run("dciodvfy", "-new", path)), f"{path.name}: {said}"


@pytest.mark.dicom_tools
def test_dsrdump_prints_every_value(volume: Path, flat: Path) -> None:
    for folder in (volume, flat):
        text = run("dsrdump", folder / "measurements.dcm")
        assert not re.search(r"^[EF]: ", text, re.M), text
        printed = [float(value) for value in re.findall(r'NUM:[^\n]*?="?(-?[\d.]+)', text)]
        for row in ROWS:
            if row["value"] is not None:
                assert any(value == pytest.approx(row["value"]) for value in printed), row["name"]
