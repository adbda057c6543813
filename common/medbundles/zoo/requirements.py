"""What a packed bundle needs beside itself: pins for pip, and a bill of materials (CycloneDX)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from medbundles import __version__
from medbundles.zoo.format_json import format_text

SPEC_VERSION = "1.6"
NAMES = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}


def pins(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The versions that a bundle was made with, by the names that pip knows."""
    found = {name: str(metadata[key]) for name, key in NAMES.items()}
    return dict(sorted((found | dict(metadata.get("required_packages_version", {}))).items()))


def requirements(metadata: Mapping[str, Any]) -> bytes:
    """The lines of requirements.txt."""
    return "".join(f"{name}=={version}\n" for name, version in pins(metadata).items()).encode()


def bill_of_materials(name: str, metadata: Mapping[str, Any], weights: str, shared: str) -> bytes:
    """A CycloneDX document, the same for the same content.

    Args:
        name: of the bundle.
        metadata: the bundle's.
        weights: sha256 of its weights.
        shared: sha256 of the modules of the shared package that travel along.
    """
    version = str(metadata["version"])
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name}/{version}/{weights}/{shared}')}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": name, "name": name, "version": version}},
        "components": [
            _hashed("machine-learning-model", f"{name}/models/model.pt", version, weights),
            _hashed("library", "medbundles", __version__, shared),
            *(_package(package, pinned) for package, pinned in pins(metadata).items()),
        ],
    }
    return format_text(json.dumps(content, ensure_ascii=False)).encode()


def _hashed(kind: str, name: str, version: str, digest: str) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": kind, "bom-ref": name, "name": name, "version": version, "hashes": hashes}


def _package(name: str, version: str) -> dict[str, Any]:
    url = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
