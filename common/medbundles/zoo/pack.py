"""A bundle as one zip that needs no installed medbundles: what it reaches of it travels along."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from medbundles import __version__
from medbundles.errors import BundleError
from medbundles.io import atomic_path
from medbundles.packed import SUMS
from medbundles.zoo.check import check_bundle
from medbundles.zoo.format_json import format_text
from medbundles.zoo.reach import ROOT, SHARED, reached_files
from medbundles.zoo.requirements import bill_of_materials, requirements
from medbundles.zoo.source import BundleSource

METADATA, WEIGHTS = "configs/metadata.json", "models/model.pt"
REQUIREMENTS, MATERIALS = "requirements.txt", "bom.cdx.json"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date of a zip: when it was packed must not change it
PLAIN_FILE = 0o100644 << 16
MOST_MB = 25.0  # a file of the model zoo


def pack(folder: Path, output: Path) -> Path:
    """Writes `<bundle>_v<version>.zip` to a folder and returns its path; packed twice it is the same file.

    It unpacks to the bundle's folder: its files, `medbundles/` with the modules that it reaches, the pins of
    what it needs besides, a bill of materials, and SHA256SUMS. Configs and code are those of the repository,
    byte for byte; only the metadata have more: version, commit and checksum of the shared package.

    Raises:
        BundleError: the bundle breaks a rule of the contract, or has a file that is too large.
    """
    bundle = BundleSource(folder)
    _refuse_broken(folder)
    files = packed_files(bundle)
    files[SUMS] = _sums(files)
    version = bundle.metadata["version"]
    path = output / f"{bundle.name}_v{version}.zip"
    output.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(f"{bundle.name}/{name}", LONG_AGO)
            info.external_attr, info.compress_type = PLAIN_FILE, zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix everywhere: the default is that of the machine
            archive.writestr(info, content, compresslevel=9)
    return path


def packed_files(bundle: BundleSource) -> dict[str, bytes]:
    """What the zip holds, by path in the bundle's folder, checksums left out."""
    files = {path.relative_to(bundle.folder).as_posix(): path.read_bytes() for path in bundle.files()}
    for name, content in files.items():
        if len(content) > MOST_MB * 1e6:
            raise BundleError(
                f"{len(content) / 1e6:.1f} MB",
                expected=f"at most {MOST_MB:.0f} MB a file",
                source=bundle.folder / name,
                advice="train a smaller network, or leave the file out",
            )
    shared = {
        (PurePosixPath(SHARED) / path.relative_to(ROOT).as_posix()).as_posix(): path.read_bytes()
        for path in reached_files(bundle)
    }
    digest = hashlib.sha256(_sums(shared)).hexdigest()
    files[METADATA] = _stamped(bundle.metadata, digest)
    files[REQUIREMENTS] = requirements(bundle.metadata)
    weights = hashlib.sha256(files.get(WEIGHTS, b"")).hexdigest()
    files[MATERIALS] = bill_of_materials(bundle.name, bundle.metadata, weights, digest)
    return files | shared


def _stamped(metadata: dict[str, Any], digest: str) -> bytes:
    """The metadata with what tells one packed shared package from another."""
    stamp = {"version": __version__, "commit": _commit(), "sha256": digest}
    block = {**metadata["medbundles"], "packed": stamp}
    return format_text(json.dumps({**metadata, "medbundles": block}, ensure_ascii=False)).encode()


def _sums(files: dict[str, bytes]) -> bytes:
    """The lines that `sha256sum --check` reads."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return "".join(lines).encode()


def _commit() -> str:
    """The commit of the repository that the shared package is in; empty outside of one."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _refuse_broken(folder: Path) -> None:
    problems = check_bundle(folder)
    if problems:
        raise BundleError(
            f"{len(problems)} broken rules, the first: {problems[0]}",
            source=folder,
            advice=f"medbundles check {folder.name}",
        )
