"""What a job asks of the sites: a bundle that they have, and plain numbers; no code, path or expression."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import medbundles
from medbundles.errors import FederationError, OverrideError
from medbundles.zoo.find import read_metadata
from medbundles.zoo.workflows import read_config, training_stages

WORD = re.compile(r"[A-Za-z][\w-]{0,63}")
# Where things lie, and how long a run is, is not for a job to say.
OWN = {
    *("bundle_root", "dataset_dir", "output_dir", "weights", "initial_weights", "metadata", "resume"),
    *("epochs", "schedule_epochs", "val_interval"),
}
CODE = ("configs/train*.json", "**/*.py")


@dataclass(frozen=True)
class Plan:
    """One federated training.

    Attributes:
        bundle: the name of the bundle.
        fingerprint: of its code and training configs, so that all train the same network in the same way.
        rounds: how often the weights are averaged.
        local_epochs: passes over its own cases that each site makes in a round.
        stage: of a bundle that is trained in stages.
        knobs: options of its training.
    """

    bundle: str
    fingerprint: str
    rounds: int
    local_epochs: int = 1
    stage: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict)

    def configs(self, folder: Path) -> tuple[str, ...]:
        """The configs of the training."""
        return stage_configs(folder, self.stage)

    def check(self, folder: Path) -> None:
        """Refuses a plan that the bundle here cannot follow, or that asks for more than a training.

        Raises:
            FederationError: the bundle here is another one, or the plan holds something unsafe.
        """
        check_knobs(self.knobs)
        for name in ("rounds", "local_epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _unsafe(f"{name} {value!r:.40}", "a whole number above 0")
        if self.fingerprint != fingerprint(folder):
            raise FederationError(
                f"another {self.bundle} than the one that is to be trained",
                expected=f"the same code and configs at all sites; here is version "
                f"{read_metadata(folder).get('version')}, with medbundles {medbundles.__version__}",
                source=folder,
                advice="install the version that the others have",
            )

    def overrides(self, folder: Path) -> dict[str, Any]:
        """The options of the training, as far as they follow from the plan."""
        epochs = self.rounds * self.local_epochs
        options = {"epochs": epochs, "schedule_epochs": epochs, "val_interval": epochs + 1}
        options |= {"resume": False, "initial_weights": None}
        known = read_config(folder, self.configs(folder))
        return {name: value for name, value in options.items() if name in known} | dict(self.knobs)

    def arguments(self) -> dict[str, Any]:
        """The plan as it stands in a job."""
        return {**asdict(self), "knobs": dict(self.knobs)}


def stage_configs(folder: Path, stage: str) -> tuple[str, ...]:
    """The configs of one stage, or of the training of a bundle without stages.

    Raises:
        OverrideError: the bundle has no such stage, or all of them were asked for.
    """
    if stage == "all":
        raise OverrideError(
            "all stages at once",
            expected="one stage",
            source="option stage",
            advice="one job after the other",
        )
    return next(iter(training_stages(folder, stage).values()))


def check_knobs(knobs: Mapping[str, Any]) -> None:
    """Refuses knobs that could be more than a number or a word.

    In a MONAI config a text may be a program, so the texts that a job may send are single words.

    Raises:
        FederationError: one of them is a path, an expression or a component.
    """
    for name, value in knobs.items():
        if not re.fullmatch(r"[A-Za-z]\w*", str(name)) or name in OWN:
            raise _unsafe(f"the option {name!s:.60}", "options of the training that every site may know")
        if not all(_is_plain(item) for item in (value if isinstance(value, list) else [value])):
            raise _unsafe(f"{name} = {value!s:.60}", "a number, true, false, one word, or a list of them")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float) or bool(WORD.fullmatch(str(value)))


def _unsafe(found: str, expected: str) -> FederationError:
    return FederationError(
        f"a job that asks for {found}", expected=expected, advice="leave it out, or set it at the site"
    )


def fingerprint(folder: Path) -> str:
    """The sha256 of a bundle's code and training configs, and of the version of medbundles."""
    digest = hashlib.sha256(medbundles.__version__.encode())
    files = sorted({path for pattern in CODE for path in folder.glob(pattern)})
    for path in files:
        digest.update(json.dumps(path.relative_to(folder).as_posix()).encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def site_names(text: str) -> dict[str, str]:
    """`a=DATA_A,b=DATA_B` or `a,b` as names and folders; the folder is empty where none is given.

    Raises:
        OverrideError: there are fewer than two sites, or names that cannot be names of sites.
    """
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if len(set(names)) < 2 or len(set(names)) < len(names) or not all(map(_is_site, names)):
        raise OverrideError(
            f"--sites {text}",
            expected="two or more names of letters, digits, - and _, each once: a=DATA_A,b=DATA_B",
            source="option sites",
        )
    return {name.strip(): place.strip() for name, _, place in pairs}


def _is_site(name: str) -> bool:
    return bool(WORD.fullmatch(name)) and name != "server"


def same_folders(names: Sequence[str], sites: Mapping[str, str]) -> list[str]:
    """Which of the names have the same folder as another one."""
    places = [str(Path(sites[name]).resolve()) for name in names]
    return [name for name, place in zip(names, places, strict=True) if places.count(place) > 1]
