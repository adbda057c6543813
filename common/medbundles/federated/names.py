"""Words that client, server and job agree on, and the packages that they need."""

from __future__ import annotations

import importlib.util

from medbundles.errors import PackageError

TRAIN, VALIDATE = "train", "validate"
CLIENT = "medbundles.federated.client.BundleExecutor"
SERVER = "medbundles.federated.server.FederatedAveraging"
FIRST_WEIGHTS = "first_weights.pt"
RESULTS = "medbundles"
WEIGHTS, ALL_WEIGHTS, ROUNDS = "model.pt", "all_networks.pt", "rounds.json"
LOG = "training.log"


def require() -> None:
    """Refuses to go on without NVFLARE.

    Raises:
        PackageError: it is not installed.
    """
    if importlib.util.find_spec("nvflare") is None:
        raise PackageError(
            "NVFLARE is not installed: no module nvflare",
            expected="the packages of the extra fl",
            advice="pip install 'medbundles[fl]'",
        )
