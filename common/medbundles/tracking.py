"""Experiment tracking by MONAI's own switch, with settings that suit every bundle, and without a network.

MONAI's `--tracking mlflow` takes a trainer's loss from a list of cases; adversarial trainers have one
dictionary with many losses, which its settings cannot read. Those of `tracking.json` log every number.
"""

from __future__ import annotations

import os
from pathlib import Path

from medbundles.errors import MissingInputError, PackageError
from medbundles.weights import is_writer

MLFLOW = "mlflow"
SETTINGS = Path(__file__).with_name("tracking.json")
OPTIONS = ("tracking_uri", "experiment_name", "run_name", "save_execute_config")
NO_REPORTS = "MLFLOW_DISABLE_TELEMETRY"  # MLflow else tells its makers that it is used


def settings_file(tracking: str) -> str:
    """The file of settings for MONAI: ours for `mlflow`, else the one that is named.

    Raises:
        PackageError: MLflow is not installed.
        MissingInputError: there is no such file.
    """
    if tracking != MLFLOW:
        if not Path(tracking).is_file():
            raise MissingInputError(
                f"no settings '{tracking}'",
                expected="mlflow, or a JSON file in the form of MONAI's",
                source="option --tracking",
            )
        return tracking
    os.environ.setdefault(NO_REPORTS, "true")
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise PackageError(
            f"the package {error.name or 'mlflow'}, which tracking needs, is not installed",
            expected="mlflow-skinny, sqlalchemy, alembic",
            advice="pip install 'medbundles[tracking]'",
        ) from error
    return str(SETTINGS)


def is_no_writer() -> bool:
    """Whether another process of a shared training writes."""
    return not is_writer()
