"""A packed bundle is one file that runs where medbundles is not installed, the same whenever packed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import medbundles
from medbundles.checks import BundleError
from medbundles.io import read_image
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import bundle_folders, find_bundle
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.pack import pack
from medbundles.zoo.reach import ROOT, module_file, reached_files
from medbundles.zoo.source import BundleSource

NAMES = [folder.name for folder in bundle_folders()]
FETAL = "fetal_us_biometry_segmentation"


@pytest.fixture(scope="module")
def strange_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with all packages of this one but medbundles."""
    folder = tmp_path_factory.mktemp("strange")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    found = subprocess.run([str(python), "-c", "import monai, medbundles"], capture_output=True, text=True)
    assert "No module named 'medbundles'" in found.stderr
    return python


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every bundle, packed and unpacked elsewhere."""
    folder = tmp_path_factory.mktemp("packed")
    for name in NAMES:
        with zipfile.ZipFile(pack(find_bundle(name), folder).path) as archive:
            archive.extractall(folder)
    return {name: folder / name for name in NAMES}


def test_packed_twice_it_is_the_same_file(tmp_path: Path) -> None:
    copy = shutil.copytree(TEMPLATE, tmp_path / TEMPLATE.name)
    first = pack(TEMPLATE, tmp_path / "a").path.read_bytes()
    for path in copy.rglob("*"):
        path.touch()
    (copy / "runs").mkdir()
    (copy / "runs" / "checkpoint.pt").write_bytes(b"left behind by a run")
    assert pack(copy, tmp_path / "b").path.read_bytes() == first


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_of_the_repository_and_their_sums_are_right(
    unpacked: dict[str, Path], name: str
) -> None:
    folder, source = unpacked[name], find_bundle(name)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in lines}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(listed) == there - {"SHA256SUMS"}
    assert {"requirements.txt", "bom.cdx.json"} <= set(listed)
    for file, digest in listed.items():
        content = (folder / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        if file in ("requirements.txt", "bom.cdx.json"):
            continue
        original = ROOT.parent / file if file.startswith("medbundles/") else source / file
        assert content == original.read_bytes() or file == "configs/metadata.json"
    stamp = json.loads((folder / "configs" / "metadata.json").read_text())["medbundles"]["packed"]
    assert stamp["version"] == medbundles.__version__
    assert len(stamp["sha256"]) == 64


@pytest.mark.parametrize("name", NAMES)
def test_every_module_in_the_zip_can_be_imported_without_medbundles(
    unpacked: dict[str, Path], strange_python: Path, tmp_path: Path, name: str
) -> None:
    """And every component of the configs is found."""
    code = (
        "import sys, importlib, pathlib, pydoc, re\n"
        "root = pathlib.Path(sys.argv[1]); sys.path.insert(0, str(root))\n"
        "files = list(root.rglob('*.py'))\n"
        "names = ['.'.join(p.relative_to(root).with_suffix('').parts) for p in files]\n"
        "[importlib.import_module(n.removesuffix('.__init__')) for n in names]\n"
        "import medbundles; assert medbundles.__file__.startswith(str(root)), medbundles.__file__\n"
        "texts = [p.read_text() for p in (root / 'configs').glob('*.json')]\n"
        'wanted = {t for x in texts for t in re.findall(r\'"_target_": "(medbundles[.\\w]+)"\', x)}\n'
        "assert wanted and all(pydoc.locate(t) for t in wanted), wanted\n"
    )
    run = subprocess.run(
        [str(strange_python), "-c", code, str(unpacked[name])], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_it_runs_from_anywhere_without_medbundles_and_gives_the_same_labels(
    unpacked: dict[str, Path], strange_python: Path, tmp_path: Path
) -> None:
    simulate(find_bundle(FETAL), tmp_path / "cases", 1, 0)
    outputs = {}
    for kind, python, bundle in (
        ("packed", str(strange_python), unpacked[FETAL]),
        ("installed", sys.executable, find_bundle(FETAL)),
    ):
        outputs[kind] = tmp_path / kind
        command = [
            python,
            "-m",
            "monai.bundle",
            "run",
            "--config_file",
            str(bundle / "configs/inference.json"),
        ]
        options = {
            "bundle_root": bundle,
            "dataset_dir": tmp_path / "cases/images",
            "output_dir": outputs[kind],
        }
        command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-2000:]
    (packed,), (installed,) = (list(outputs[kind].glob("*_seg.*")) for kind in ("packed", "installed"))
    assert np.array_equal(read_image(packed).array, read_image(installed).array)


def test_the_pins_are_installed_here_and_the_bill_of_materials_names_them_all(
    unpacked: dict[str, Path],
) -> None:
    for folder in unpacked.values():
        pins = dict(line.split("==") for line in (folder / "requirements.txt").read_text().splitlines())
        assert {"monai", "torch", "numpy", "nibabel"} <= set(pins)
        for name, pinned in pins.items():
            assert version(name).split("+")[0] == pinned
        bill = json.loads((folder / "bom.cdx.json").read_text())
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        listed = {item["name"]: item for item in bill["components"]}
        assert {name: listed[name]["version"] for name in pins} == pins
        weights = listed[f"{folder.name}/models/model.pt"]["hashes"][0]["content"]
        assert weights == hashlib.sha256((folder / "models/model.pt").read_bytes()).hexdigest()


def test_a_broken_bundle_is_not_packed(tmp_path: Path) -> None:
    copy = shutil.copytree(TEMPLATE, tmp_path / TEMPLATE.name)
    (copy / "LICENSE").unlink()
    with pytest.raises(BundleError, match="broken rules"):
        pack(copy, tmp_path)
    assert not list(tmp_path.glob("*.zip"))


def test_reaching_follows_imports_and_finds_the_module_of_a_name() -> None:
    assert module_file("medbundles.inferers.WindowInferer") == ROOT / "inferers.py"
    assert module_file("medbundles.simulators") == ROOT / "simulators" / "__init__.py"
    reached = reached_files(BundleSource(find_bundle(FETAL)))
    assert {ROOT / "inferers.py", ROOT / "window_inferer.py", ROOT / "simulators" / "__init__.py"} <= set(
        reached
    )
    assert ROOT / "simulators" / "cone_torch.py" not in reached  # cone beams are no matter of ultrasound
