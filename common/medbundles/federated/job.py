"""The folder of a job, as NVFLARE's administrators submit it, and what a site lets into its processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from medbundles.errors import FederationError, OverrideError
from medbundles.federated.names import CLIENT, FIRST_WEIGHTS, SERVER, TRAIN, VALIDATE
from medbundles.federated.plan import Plan
from medbundles.io import atomic_folder, atomic_path
from medbundles.weights import write_tensors

META = "meta.json"
RESOURCES = "resources.json"
RIGHTS = "authorization.json"
FORMAT = {"format_version": 2}
STREAMER = "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"


def write_job(folder: Path, plan: Plan, sites: Sequence[str], weights: Mapping[str, Tensor]) -> None:
    """Writes the folder of a job: settings and tensors, no code.

    Raises:
        OverrideError: something else lies there.
    """
    _check_place(folder)
    arguments = {"plan": plan.arguments()}
    executor = {"tasks": [TRAIN, VALIDATE], "executor": {"path": CLIENT, "args": arguments}}
    workflow = {"id": "averaging", "path": SERVER, "args": arguments}
    meta = {
        "name": plan.bundle,
        "resource_spec": {},
        "min_clients": len(sites),
        "mandatory_clients": list(sites),
        "deploy_map": {"app_server": ["server"], "app_sites": list(sites)},
    }
    with atomic_folder(folder) as place:
        server, client = place / "app_server" / "config", place / "app_sites" / "config"
        write_json(place / META, meta)
        write_json(server / "config_fed_server.json", {**FORMAT, "workflows": [workflow], "components": []})
        write_json(client / "config_fed_client.json", {**FORMAT, "executors": [executor], "components": []})
        write_tensors(dict(weights), server / FIRST_WEIGHTS)


def restrict(local: Path) -> list[Path]:
    """Lets only our two components into the processes of a site's jobs, no code of jobs, and no log out.

    Args:
        local: the folder `local` of the site's startup kit.

    Returns:
        the files that it wrote; they go before the kit's defaults.
    """
    resources = _read(local / RESOURCES) or dict(FORMAT)
    resources |= {
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [CLIENT, SERVER],
        "allow_log_streaming": False,
    }
    components = resources.get("components", [])
    resources["components"] = [item for item in components if item.get("path") != STREAMER]
    write_json(local / RESOURCES, resources)
    if not (rules := _read(local / RIGHTS)):
        return [local / RESOURCES]
    rules["permissions"] = {role: _without_code(role, rules["permissions"]) for role in rules["permissions"]}
    write_json(local / RIGHTS, rules)
    return [local / RESOURCES, local / RIGHTS]


def _without_code(role: str, permissions: Mapping[str, Any]) -> dict[str, Any]:
    """The rights of a role, less those to bring code and to look into files; one word may stand for all."""
    rights = permissions[role]
    if isinstance(rights, str):
        known = {right for other in permissions.values() if isinstance(other, Mapping) for right in other}
        rights = dict.fromkeys(sorted(known), rights)
    return {**rights, "byoc": "none", "shell_commands": "none"}


def _check_place(folder: Path) -> None:
    """Refuses to replace a folder that is something else than a job."""
    if (
        folder.exists()
        and not (folder / META).is_file()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise OverrideError(
            "a folder or file that is no job is already there",
            expected="a new folder, or that of an earlier job",
            source=folder,
            advice="give another name",
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    """A settings file of a kit, or its default; empty if there is neither."""
    default = path.with_name(f"{path.name}.default")
    if not (known := next((p for p in (path, default) if p.is_file()), None)):
        return {}
    try:
        return dict(json.loads(known.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise FederationError(
            f"the settings of the site cannot be read: {error}",
            expected="NVFLARE's JSON",
            source=known,
            advice="take a fresh startup kit",
        ) from error
