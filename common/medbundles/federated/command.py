"""The commands of a training across hospitals.

Heavy imports stay inside the functions, as in `medbundles.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fire.decorators import SetParseFns


@SetParseFns(str, sites=str, rounds=int, local_epochs=int, stage=str, output_dir=str, job=str)
def federate(
    bundle: str,
    *,
    sites: str = "",
    rounds: int = 20,
    local_epochs: int = 1,
    stage: str = "",
    output_dir: str = "federated",
    job: str = "",
    **knobs: Any,
) -> None:
    """Trains a bundle on sites that share no images, simulated here; or writes the job for real sites.

    Args:
        bundle: the bundle.
        sites: a=DATA_A,b=DATA_B, names and folders of cases; with --job names alone.
        rounds: how often the weights of the sites are averaged.
        local_epochs: passes over its own cases that each site makes in a round.
        stage: which part of a bundle that is trained in parts.
        output_dir: the folder of the simulation: model.pt, rounds.json, and what stays at each site.
        job: the folder of a job for NVFLARE to write; nothing is trained.
        knobs: options of the bundle's training, such as --learning_rate 0.001 --initial_weights W.
    """
    from medbundles.federated.running import federate as run
    from medbundles.logs import show_log

    show_log()
    run(bundle, sites, rounds, local_epochs, stage, Path(output_dir).resolve(), job, knobs)


@SetParseFns(str, bundle=str, dataset_dir=str, output_dir=str)
def join(kit: str, *, bundle: str = "", dataset_dir: str = "", output_dir: str = "", **knobs: Any) -> None:
    """Prepares NVFLARE's startup kit of a site, or of the server, to train one bundle and nothing else.

    Args:
        kit: the folder of the startup kit, with startup/ and local/ in it.
        bundle: the bundle that may be trained with it.
        dataset_dir: the folder of the site's cases; the server has none.
        output_dir: the site's own folder for log, curves and weights, outside the kit.
        knobs: options of this site, such as --device cuda --num_workers 4; they go before those of a job.
    """
    from medbundles.federated.running import join as run
    from medbundles.logs import show_log

    show_log()
    run(Path(kit).resolve(), bundle, dataset_dir, output_dir, knobs)


COMMANDS = {"federate": federate, "join": join}
