"""A bundle that needs no installed medbundles, as a zip or a folder: what it reaches of it travels along."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from medbundles import __version__
from medbundles.errors import BundleError, OverrideError
from medbundles.io import atomic_folder, atomic_path
from medbundles.packed import SUMS
from medbundles.zoo.check import check_bundle
from medbundles.zoo.for_hub import hub_files
from medbundles.zoo.for_zoo import judge, without_script, zoo_files, zoo_notes
from medbundles.zoo.format_json import format_text
from medbundles.zoo.minisign import SUFFIX, SecretKey, sign
from medbundles.zoo.reach import ROOT, SHARED, reached_files
from medbundles.zoo.requirements import bill_of_materials, requirements
from medbundles.zoo.source import BundleSource

METADATA, WEIGHTS = "configs/metadata.json", "models/model.pt"
REQUIREMENTS, MATERIALS = "requirements.txt", "bom.cdx.json"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date of a zip: when it was packed must not change it
PLAIN_FILE = 0o100644 << 16
MOST_MB = 25.0  # a file of the model zoo

Targeted = tuple[dict[str, bytes], list[str]]  # files, and what to tell of them


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        path: the zip or the folder.
        size: bytes of all files together.
        notes: what was found, and what is left to do.
    """

    path: Path
    size: int
    notes: tuple[str, ...]


def pack(folder: Path, output: Path, target: str = "", key: SecretKey | None = None) -> Packed:
    """Writes `<bundle>_v<version>.zip`, or a folder for a place to share it; packed twice it is the same.

    It holds the bundle's files, `medbundles/` with the modules that it reaches, the pins of what it needs
    besides, a bill of materials, and SHA256SUMS. Configs and code are those of the repository, byte for byte;
    only the metadata have more: version, commit and checksum of the shared package.

    Args:
        folder: of the bundle.
        output: the folder that the zip or folder goes into.
        target: one of `TARGETS`; a zip if it is left out.
        key: signs the checksums.

    Raises:
        BundleError: the bundle breaks a rule of the contract, or one of the place; or a file is too large.
    """
    bundle = BundleSource(folder.resolve())
    if target not in TARGETS:
        expected = ", ".join(name for name in TARGETS if name)
        raise OverrideError(f"no place '{target}' to pack for", expected=expected, source="option --for")
    _refuse_broken(folder)
    files, notes = TARGETS[target](bundle, packed_files(bundle))
    files[SUMS] = _sums(files)
    if key is not None:
        comment = f"{bundle.name} {bundle.metadata['version']}\tfile:{SUMS}\thashed"
        files[SUMS + SUFFIX] = sign(files[SUMS], key, comment).text().encode()
    if target:
        path = output / bundle.name
        _write_folder(path, files)
    else:
        path = output / f"{bundle.name}_v{bundle.metadata['version']}.zip"
        _write_zip(path, bundle.name, files)
    return Packed(path, sum(len(content) for content in files.values()), tuple(notes))


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


def _for_zip(bundle: BundleSource, files: dict[str, bytes]) -> Targeted:
    return files, []


def _for_zoo(bundle: BundleSource, files: dict[str, bytes]) -> Targeted:
    """Laid out for the zoo, and judged by MONAI's own checks from an empty folder."""
    files = zoo_files(bundle, files)
    with TemporaryDirectory() as place:
        folder = Path(place) / bundle.name
        _write_folder(folder, files)
        right = judge(folder, Path(place) / "model.ts")
    notes = [f"checked by MONAI: {text}" for text in right]
    if "torchscript: right" not in right:
        files = without_script(files)
        notes.append("no TorchScript: ask for an entry in exclude_verify_torchscript_list; the card says so")
    return files, [*notes, *zoo_notes(bundle, files)]


def _for_hub(bundle: BundleSource, files: dict[str, bytes]) -> Targeted:
    return hub_files(bundle, files), []


def _write_zip(path: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Writes a zip that depends on nothing but the files."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in sorted(files.items()):
            info = zipfile.ZipInfo(f"{name}/{file}", LONG_AGO)
            info.external_attr, info.compress_type = PLAIN_FILE, zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix everywhere: the default is that of the machine
            archive.writestr(info, content, compresslevel=9)


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder, whole or not at all; one of that name is replaced if it is a packed bundle."""
    if path.exists() and not (path / SUMS).is_file():
        raise BundleError(
            "the folder is there already, and is no packed bundle",
            source=path,
            advice="choose another output folder",
        )
    with atomic_folder(path) as temporary:
        for name, content in files.items():
            file = temporary / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


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


TARGETS: dict[str, Callable[[BundleSource, dict[str, bytes]], Targeted]] = {
    "": _for_zip,
    "zoo": _for_zoo,
    "hf": _for_hub,
}
