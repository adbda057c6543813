"""What MONAI Label needs to start beside our versions of what it requires; a server that keeps to itself."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from medbundles.errors import PackageError

PACKAGES = ("monailabel", "pydicom_seg", "fastapi", "uvicorn", "nrrd")
INSTALL = (
    'pip install -c constraints.txt -e ".[label]" && '
    "pip install --no-deps monailabel==0.8.5 pydicom-seg==0.4.1"
)
MOVED = "pydicom._storage_sopclass_uids"  # pydicom-seg 0.4.1 looks there; pydicom 3 has it in pydicom.uid


def require(packages: Sequence[str] = PACKAGES) -> None:
    """Refuses to go on without the server's packages.

    Raises:
        PackageError: one of them is not installed.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise PackageError(
            f"the MONAI Label server is not installed: no module {', '.join(missing)}",
            expected="the packages of the extra label, and MONAI Label without its own pins",
            advice=INSTALL,
        )


def prepare() -> None:
    """Makes `import monailabel` work; to be called before it."""
    require()
    import pydicom.uid

    sys.modules.setdefault(MOVED, pydicom.uid)


def settle(home: Path, login: tuple[str, str] | None = None) -> None:
    """Sets the environment of a server that fetches nothing and keeps to its folder; what is set stays.

    Args:
        home: the server's folder. Copies of images from an archive lie in it, readable by its owner alone.
        login: user and password of the archive; they replace what is set.
    """
    copies = home / "archive"
    copies.mkdir(mode=0o700, parents=True, exist_ok=True)
    defaults = {
        "MONAI_LABEL_SESSION_PATH": str(home / "sessions"),
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(copies),
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": "{}",
        "MONAI_ZOO_SOURCE": "local",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if login:
        os.environ["MONAI_LABEL_DICOMWEB_USERNAME"], os.environ["MONAI_LABEL_DICOMWEB_PASSWORD"] = login


def own_origins(port: int) -> list[str]:
    """The origins of pages that come from the server itself; others may not talk to it."""
    return [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")]
