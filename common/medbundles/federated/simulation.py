"""A whole federation on one machine: NVFLARE's simulator, with a process for each site."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from medbundles.errors import FederationError
from medbundles.federated.job import restrict, write_job
from medbundles.federated.names import LOG, RESULTS, ROUNDS, WEIGHTS
from medbundles.federated.plan import Plan
from medbundles.federated.site import Site, write_site
from medbundles.logs import say

JOB, WORKSPACE, SITES = "job", "nvflare", "sites"
JOB_ID = "simulate_job"  # what NVFLARE calls the only job of a simulation
SIMULATOR = "nvflare.private.fed.app.simulator.simulator"
SAID = re.compile(r"\w+ of the weights after round \d+: [-\d.]+|round \d+ of \d+: \d+ sites, \d+ steps")
CAUSE = re.compile(r"(?m)^(?:\w+\.)*\w*(?:Error|Exception|Interrupt): .*(?:\n  \w.*)*")


def simulate(
    folder: Path, plan: Plan, sites: Mapping[str, str], weights: Mapping[str, Tensor], output: Path
) -> Path:
    """Runs a plan with simulated sites; returns the weights file.

    Args:
        folder: of the bundle.
        plan: what is trained.
        sites: the folder of the cases of each site, by its name.
        weights: the weights to begin with.
        output: gets `model.pt`, `rounds.json`, the job, NVFLARE's files, and what stays at each site.

    Raises:
        FederationError: it did not come to its end.
    """
    prepare(folder, plan, sites, weights, output)
    return run(output, list(sites))


def prepare(
    folder: Path, plan: Plan, sites: Mapping[str, str], weights: Mapping[str, Tensor], output: Path
) -> None:
    """Writes the job, and the settings of each site and of the server."""
    write_job(output / JOB, plan, list(sites), weights)
    local = output / WORKSPACE / "local"
    restrict(local)
    write_site(local, "server", Site({plan.bundle: str(folder)}, str(output)))
    for name, place in sites.items():
        write_site(local, name, Site({plan.bundle: str(folder)}, str(output / SITES / name), place))


def run(output: Path, names: Sequence[str]) -> Path:
    """Runs what `prepare` wrote; returns the weights file.

    Raises:
        FederationError: it did not come to its end.
    """
    for name in (WEIGHTS, ROUNDS):
        (output / name).unlink(missing_ok=True)
    status = _simulator(output, names)
    made = output / WORKSPACE / "server" / JOB_ID / RESULTS
    if status or not (made / WEIGHTS).is_file():
        raise FederationError(
            "\n".join(["the training did not come to its end:", *_causes(output, names)]),
            source=output / SITES,
            advice=f"read {LOG} of the sites, and {WORKSPACE}/server/{JOB_ID}/log.txt",
        )
    for name in (WEIGHTS, ROUNDS):
        shutil.copyfile(made / name, output / name)
    return output / WEIGHTS


def _simulator(output: Path, names: Sequence[str]) -> int:
    options = ["-w", str(output / WORKSPACE), "-c", ",".join(names), "-t", str(len(names))]
    command = [sys.executable, "-m", SIMULATOR, str(output / JOB), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout:
            if found := SAID.search(line):
                say(found[0])
    return process.returncode


def _causes(output: Path, names: Sequence[str]) -> list[str]:
    """The last error of each site, or of the server."""
    logs = {name: output / SITES / name / JOB_ID / LOG for name in names}
    logs["server"] = output / WORKSPACE / "server" / JOB_ID / "error_log.txt"
    found = []
    for name, log in logs.items():
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        if causes := CAUSE.findall(text):
            found.append(f"{name}: {causes[-1].rpartition('errors.')[2]}")
    return found
