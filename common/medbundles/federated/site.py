"""What a site keeps to itself: where its cases and results lie, and which bundles it lets train."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medbundles.errors import FederationError
from medbundles.io import atomic_path

NAME = "medbundles_{}.json"
ANY = "site"  # a startup kit is of one site, whatever NVFLARE calls it


@dataclass(frozen=True)
class Site:
    """The settings of one site; its administrator writes them, no job can.

    Attributes:
        bundles: the bundles that may be trained here, by name, and their folders.
        output_dir: the site's own folder for log, curves and weights; never inside NVFLARE's.
        dataset_dir: the folder of the cases; the server has none.
        knobs: options of this site, such as `device`; they go before those of a job.
    """

    bundles: Mapping[str, str]
    output_dir: str
    dataset_dir: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, bundle: str) -> Path:
        """The folder of a bundle that may be trained here.

        Raises:
            FederationError: this bundle may not.
        """
        if bundle not in self.bundles:
            raise FederationError(
                f"a job for the bundle '{bundle!s:.80}'",
                expected="one of " + ", ".join(self.bundles),
                advice="if it is to be trained here: medbundles join KIT --bundle BUNDLE ...",
            )
        return Path(self.bundles[bundle])


def write_site(folder: Path, name: str, site: Site) -> Path:
    """Writes the settings into the folder `local` of a site; returns the file."""
    path = folder / NAME.format(name)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(site), indent=2) + "\n", encoding="utf-8")
    return path


def read_site(folder: Path, name: str) -> Site:
    """Reads the settings of a site from its folder `local`.

    Raises:
        FederationError: there are none, or they are not of the form.
    """
    path = next((p for p in (folder / NAME.format(name), folder / NAME.format(ANY)) if p.is_file()), folder)
    try:
        return Site(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FederationError(
            f"this site has no settings that can be read ({type(error).__name__})",
            expected="the file that `medbundles join` writes",
            source=path.name,
            advice="medbundles join KIT --bundle BUNDLE --dataset_dir CASES --output_dir OWN",
        ) from error
