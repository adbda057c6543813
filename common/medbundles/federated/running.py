"""What the commands of a training across hospitals do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medbundles.config_keys import checked
from medbundles.errors import MissingInputError, OverrideError
from medbundles.federated.job import restrict, write_job
from medbundles.federated.names import require
from medbundles.federated.networks import first_weights
from medbundles.federated.plan import (
    OWN,
    Plan,
    check_knobs,
    fingerprint,
    same_folders,
    site_names,
    stage_configs,
)
from medbundles.federated.simulation import simulate
from medbundles.federated.site import ANY, Site, write_site
from medbundles.logs import say
from medbundles.zoo.find import find_bundle
from medbundles.zoo.workflows import config_files, open_workflow, read_config

FROM = "initial_weights"


def federate(
    bundle: str,
    sites: str,
    rounds: int,
    local_epochs: int,
    stage: str,
    output: Path,
    job: str,
    knobs: Mapping[str, Any],
) -> None:
    """Simulates a federated training, or writes the job of a real one; see `command.federate`."""
    folder = find_bundle(bundle)
    named = site_names(sites)
    configs = stage_configs(folder, stage)
    start = {FROM: str(Path(knobs[FROM]).resolve())} if knobs.get(FROM) else {}
    given = {name: value for name, value in knobs.items() if name != FROM}
    given |= checked(read_config(folder, configs), given, source=config_files(folder, configs)[-1])
    check_knobs(given)
    plan = Plan(folder.name, fingerprint(folder), rounds, local_epochs, stage, given)
    plan.check(folder)
    if not job:
        require()
        named = _folders(named)
    workflow = open_workflow(folder, configs, plan.overrides(folder) | start, logging_file=False)
    weights = first_weights(workflow)
    if job:
        write_job(Path(job).resolve(), plan, list(named), weights)
        say(f"job: {Path(job).resolve()}\nnext: submit it with NVFLARE, `nvflare job submit -j {job}`")
        return
    say(f"weights: {simulate(folder, plan, named, weights, output)}")


def _folders(sites: Mapping[str, str]) -> dict[str, str]:
    """The sites with full paths.

    Raises:
        OverrideError: a site has no folder, or that of another one.
        MissingInputError: there is no such folder.
    """
    if wrong := [name for name, place in sites.items() if not place] or same_folders(list(sites), sites):
        raise OverrideError(
            f"no folder of its own for {', '.join(wrong)}",
            expected="--sites a=DATA_A,b=DATA_B",
            source="option sites",
            advice="name the folder of each site's cases; with --job the names alone are enough",
        )
    return {name: str(_existing(place)) for name, place in sites.items()}


def _existing(place: str) -> Path:
    if not Path(place).is_dir():
        raise MissingInputError("no such folder", expected="the folder of a site's cases", source=place)
    return Path(place).resolve()


def join(kit: Path, bundle: str, dataset_dir: str, output_dir: str, knobs: Mapping[str, Any]) -> None:
    """Prepares a startup kit; see `command.join`."""
    require()
    folder = find_bundle(bundle)
    is_server = _is_server(kit)
    local = kit / "local"
    if is_server:
        site = Site({folder.name: str(folder)}, "")
        path = write_site(local, "server", site)
    else:
        path = write_site(local, ANY, _checked_site(kit, folder, dataset_dir, output_dir, knobs))
    for file in (path, *restrict(local)):
        say(f"written: {file}")
    say(f"next: {kit / 'startup' / 'start.sh'}")


def _is_server(kit: Path) -> bool:
    """Whether a kit is the server's.

    Raises:
        MissingInputError: it is no kit.
    """
    for name, found in (("fed_server.json", True), ("fed_client.json", False)):
        if (kit / "startup" / name).is_file():
            return found
    raise MissingInputError(
        "no startup kit of NVFLARE",
        expected="a folder with startup/fed_client.json or startup/fed_server.json",
        source=kit,
        advice="unpack the kit that the project's administrator sent you",
    )


def _checked_site(
    kit: Path, folder: Path, dataset_dir: str, output_dir: str, knobs: Mapping[str, Any]
) -> Site:
    """The settings of a site whose cases can be read.

    Raises:
        OverrideError: a folder is missing, the results would lie in the kit, or an option is not for a site.
        DatasetError: the cases are not as the bundle's training reads them.
    """
    output = Path(output_dir).resolve()
    if not dataset_dir or not output_dir or output.is_relative_to(kit):
        raise OverrideError(
            "no folder for the cases, or none for what stays here",
            expected="--dataset_dir and --output_dir, the latter outside the kit",
            source="options dataset_dir and output_dir",
            advice="what lies in the kit can be read by NVFLARE's administrators",
        )
    if refused := sorted(OWN & set(knobs)):
        raise OverrideError(
            f"--{refused[0]} for a site",
            expected="options such as --device cuda --num_workers 4",
            source=f"option {refused[0]}",
            advice="leave it out: the job says how long is trained, and from which weights",
        )
    configs = stage_configs(folder, "")
    own = dict(knobs) | checked(read_config(folder, configs), knobs, source=config_files(folder, configs)[-1])
    place = _existing(dataset_dir)
    paths = {"dataset_dir": str(place), "output_dir": str(output)}
    workflow = open_workflow(folder, configs, own | paths, logging_file=False)
    workflow.initialize()
    cases = workflow.parser.get_parsed_content("validate#dataset#data")
    say(f"{len(cases)} cases for validation in {place}")
    return Site({folder.name: str(folder)}, str(output), str(place), own)
