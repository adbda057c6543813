"""What the shared tools need to know about a bundle, read from its metadata.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medbundles.checks import BundleError

NOT_TRAINED = "not trained yet"  # in the title of a bundle with random weights: nothing is expected of it


@dataclass(frozen=True)
class BundleInfo:
    """A bundle's identity and its `medbundles` block.

    Attributes:
        name: the folder's name.
        metadata: the whole of metadata.json.
    """

    name: str
    metadata: Mapping[str, Any] = field(repr=False)

    @property
    def version(self) -> str:
        """The bundle's version."""
        return str(self.metadata.get("version", "0.0.0"))

    @property
    def title(self) -> str:
        """The task in a few words."""
        return self._block.get("title", self.name)

    @property
    def input(self) -> dict[str, Any]:
        """The specification that an input is checked against."""
        return self._block.get("input", {})

    @property
    def output(self) -> dict[str, Any]:
        """What the bundle gives: the `key` of the result, its `kind` (`labels` or `image`), its `suffix`."""
        return self._block.get("output", {})

    @property
    def terminology(self) -> dict[str, Any]:
        """Codes of segments and measurements; `medbundles.terminology` reads them."""
        return self._block.get("terminology", {})

    @cached_property
    def label_names(self) -> dict[int, str]:
        """Label value to name, without the background."""
        outputs = self.metadata.get("network_data_format", {}).get("outputs", {})
        names = next(iter(outputs.values()), {}).get("channel_def", {})
        return {int(value): name for value, name in names.items() if name.lower() != "background"}

    @property
    def _block(self) -> Mapping[str, Any]:
        return self.metadata.get("medbundles", {})


def bundle_info(metadata: str | os.PathLike | Mapping[str, Any] | None) -> BundleInfo:
    """Returns the information in a metadata.json (its path, or its content).

    Raises:
        BundleError: there is no such file, or it is not JSON.
    """
    if metadata is None or isinstance(metadata, Mapping):
        metadata = metadata or {}
        return BundleInfo(metadata.get("name", "bundle"), metadata)
    path = Path(metadata).resolve()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{type(error).__name__}: {error}",
            expected="the bundle's configs/metadata.json",
            source=path,
            advice="check the option bundle_root: it must be the folder that holds configs/",
        ) from error
    return BundleInfo(path.parent.parent.name, content)
