"""Building and running a bundle's workflows inside this process."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbundles.errors import BundleError, OverrideError
from medbundles.shards import rank_and_size
from medbundles.zoo.find import add_to_path, read_json
from medbundles.zoo.source import merged

if TYPE_CHECKING:
    import torch
    from monai.bundle import ConfigWorkflow

logger = logging.getLogger(__name__)

INFERENCE = ("inference.json",)
TRAIN = ("train.json",)
SEVERAL = "multi_gpu_train.json"  # the overlay with which the processes of torchrun share a training
EVALUATE = ("train.json", "evaluate.json")


def config_files(folder: Path, names: Sequence[str]) -> list[str]:
    """The paths of a bundle's configs.

    Raises:
        BundleError: one of them does not exist.
    """
    paths = [folder / "configs" / name for name in names]
    for path in paths:
        if not path.is_file():
            raise BundleError("the bundle has no such workflow", expected="a config file", source=path)
    return [str(path) for path in paths]


def read_config(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """The content of a config with its overlays, unparsed."""
    config: dict[str, Any] = {}
    for path in config_files(folder, names):
        config = merged(config, read_json(Path(path)))
    return config


def training_stages(folder: Path, stage: str = "") -> dict[str, tuple[str, ...]]:
    """The configs of a training by the name of its stage; metadata list them as `medbundles.stages`.

    Under torchrun with several processes each ends with the overlay by which they share the training.

    Args:
        stage: one of them, or `all`; left out, train.json alone.

    Raises:
        OverrideError: the bundle has no such stage.
    """
    more = (SEVERAL,) if rank_and_size()[1] > 1 else ()
    if not stage:
        return {"": (*TRAIN, *more)}
    listed = read_json(folder / "configs" / "metadata.json").get("medbundles", {}).get("stages", {})
    known = {name: (*files, *more) for name, files in listed.items()}
    if known and stage == "all":
        return known
    if stage not in known:
        near = get_close_matches(stage, [*known, "all"], n=1, cutoff=0.5) if known else []
        raise OverrideError(
            f"no stage '{stage}'" + (f": did you mean {near[0]}?" if near else ""),
            expected=", ".join([*known, "all"]) if known else "a bundle that is trained in stages",
            source=folder.name,
        )
    return {stage: known[stage]}


def open_workflow(
    folder: Path,
    names: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    logging_file: bool = True,
    tracked: Mapping[str, Any] | None = None,
) -> ConfigWorkflow:
    """MONAI's workflow of a bundle, not yet initialized.

    Args:
        names: the config and its overlays.
        overrides: values by id, which must exist in the config.
        logging_file: whether to set up logging as the bundle's logging.conf says.
        tracked: MONAI's `tracking`, a file of settings, and values for what these settings add to a config.

    Raises:
        OverrideError: an id does not exist, or a value is of the wrong type.
    """
    from monai.bundle import ConfigWorkflow

    from medbundles.config_keys import checked

    overrides = dict(overrides or {})
    files = config_files(folder, names)
    overrides |= checked(read_config(folder, names), overrides, source=files[-1])
    add_to_path(folder)
    with nullcontext() if logging_file else quiet():  # MONAI warns when it is told to leave logging alone
        return ConfigWorkflow(
            config_file=files,
            workflow_type="infer" if tuple(names) == INFERENCE else "train",
            logging_file=None if logging_file else False,
            **{"bundle_root": str(folder), **overrides, **(tracked or {})},
        )


def run_workflow(
    folder: Path,
    names: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    logging_file: bool = True,
    tracked: Mapping[str, Any] | None = None,
) -> ConfigWorkflow:
    """Runs a workflow to its end and returns it."""
    from medbundles.problems import without_traces

    workflow = open_workflow(folder, names, overrides, logging_file=logging_file, tracked=tracked)
    without_traces()
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


def monai_command(folder: Path, names: Sequence[str], overrides: Mapping[str, Any] | None = None) -> str:
    """The line for a shell that does the same through MONAI."""
    files = config_files(folder, names)
    # The shell's quotes keep Python's own, by which fire tells "2024" from 2024.
    config = files[0] if len(files) == 1 else files
    options = {"config_file": config, "bundle_root": str(folder), **(overrides or {})}
    words = [f"--{key} {shlex.quote(_as_argument(value))}" for key, value in options.items()]
    return " ".join(["python -m monai.bundle run", *words])


def _as_argument(value: Any) -> str:
    """The text that python-fire reads back as the value."""
    from fire.parser import DefaultParseValue

    return value if isinstance(value, str) and DefaultParseValue(value) == value else repr(value)


def build_network(folder: Path, config: str = "inference.json") -> torch.nn.Module:
    """The network of `network_def`, as clients of the bundle build it.

    Raises:
        BundleError: it cannot be built.
    """
    from monai.bundle import ConfigParser

    add_to_path(folder)
    parser = ConfigParser(read_json(folder / "configs" / config))
    parser["bundle_root"] = str(folder)
    try:
        return parser.get_parsed_content("network_def")
    except Exception as error:  # whatever the network's constructor or MONAI raises means the same
        cause = error.__cause__ or error
        raise BundleError(
            f"network_def cannot be built: {cause}",
            source=folder / "configs" / config,
            advice="correct network_def",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the log below errors, where a command shows its own few lines instead."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def thread_count() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
