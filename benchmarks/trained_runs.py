"""What benchmarks of trained variants share: folders of runs, overrides, names given on the command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from named_weights import SHIPPED


def run_name(seed: int) -> str:
    """The folder of a seed."""
    return f"seed_{seed}"


def run_overrides(
    config: Mapping[str, Any], shared: Mapping[str, Any], variant: str, seed: int, folder: Path
) -> dict[str, Any]:
    """The overrides of any training: the same simulated patients for all seeds, its own folder, resumable."""
    own = folder / run_name(seed) / variant
    epochs = shared.get("epochs", config["epochs"])
    return {
        "val_interval": min(config["val_interval"], epochs),
        "schedule_epochs": epochs,
        **shared,
        "seed": seed,
        "resume": True,
        "output_dir": str(own),
        "weights": str(own / "model.pt"),
        "train#dataset#data#simulated_dir": str(folder / "simulated"),
        "train#dataset#data#seed": config["seed"],
    }


def listed(names: str | Sequence[str], known: Sequence[str]) -> list[str]:
    """Names given with commas or as a list; an unknown one ends the program."""
    entries = names.split(",") if isinstance(names, str) else names
    found = [entry.strip() for entry in entries if entry.strip()]
    if unknown := [name for name in found if name not in known]:
        raise SystemExit(f"'{unknown[0]}' is not one of {', '.join(known)}")
    return found


def chosen_runs(runs: str | Sequence[str], folder: Path, *known: str) -> list[str]:
    """The runs that were asked for: folders in `folder`, or names known besides; all folders unless given."""
    found = sorted(path.name for path in folder.glob("seed_*") if path.is_dir())
    chosen = listed(runs, (*found, SHIPPED, *known)) if runs else found
    if not chosen:
        raise SystemExit(f"no run in {folder}: train first, or give --runs {SHIPPED}")
    return chosen
