"""Rules for files: what must be there, what must not, and what weights may hold."""

from __future__ import annotations

from collections.abc import Iterator

from medbundles.zoo.source import BundleSource, Problem, one_line

MAX_BYTES = 20 * 2**20
REQUIRED = {
    "LICENSE": "add the text of the licence",
    "configs/metadata.json": "add the metadata",
    "configs/inference.json": "add the inference workflow",
    "configs/train.json": "add the training workflow",
    "configs/evaluate.json": "add the overlay on train.json",
    "configs/multi_gpu_train.json": "copy it from another bundle: `torchrun` trains with it",
    "configs/logging.conf": "copy it from another bundle; without it every run begins with a warning",
    "models/model.pt": "train the bundle, or scaffold it anew",
    "docs/README.md": "write the model card: `medbundles card` makes its factual half",
    "docs/data_license.txt": "state the licence of the training data",
    "docs/preview.png": "add a picture of a result; `medbundles demo` makes one",
}


def files_present(bundle: BundleSource) -> Iterator[Problem]:
    """Every file of the contract is there and has content."""
    for name, advice in REQUIRED.items():
        path = bundle.folder / name
        if not path.is_file():
            yield bundle.problem(name, "the file is missing", advice)
        elif path.stat().st_size == 0:
            yield bundle.problem(name, "the file is empty", advice)


def files_small(bundle: BundleSource) -> Iterator[Problem]:
    """No file is larger than 20 MB."""
    for path in bundle.files():
        if path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size / 2**20
            yield bundle.problem(path, f"{size:.1f} MB, the limit is 20 MB", "make the network smaller")


def no_scripts(bundle: BundleSource) -> Iterator[Problem]:
    """No package is called `scripts`: two bundles in one process would share it."""
    if (bundle.folder / "scripts").exists():
        yield bundle.problem("scripts", "two bundles in one process would share it", "rename the package")


def no_strays(bundle: BundleSource) -> Iterator[Problem]:
    """Nothing lies in the bundle that is not part of it."""
    places = ("configs", bundle.package, "models", "docs", "demo")
    for path in bundle.files():
        parts = path.relative_to(bundle.folder).parts
        if (len(parts) == 1 and path.name != "LICENSE") or (len(parts) > 1 and parts[0] not in places):
            yield bundle.problem(path, "the file belongs to no part of a bundle", "move or delete it")
        elif parts[0] == "models" and path.name != "model.pt":
            # MONAI Label takes whichever weights file has the shortest name.
            yield bundle.problem(path, "only model.pt may lie in models/", "delete it")


def weights_fit(bundle: BundleSource) -> Iterator[Problem]:
    """The weights are tensors only, those of `network_def`; MONAI Label would load others without a word."""
    path = bundle.folder / "models" / "model.pt"
    if not path.is_file():
        return
    from medbundles.errors import InputError
    from medbundles.weights import load_weights
    from medbundles.zoo.workflows import build_network

    try:
        load_weights(build_network(bundle.folder), path)
    except InputError as error:
        yield bundle.problem(path, one_line(error), "save network.state_dict() of the network in network_def")


RULES = (files_present, files_small, no_scripts, no_strays, weights_fit)
