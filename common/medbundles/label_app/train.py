"""Training of the MONAI Label server: a bundle learns on from the labels that users have saved."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.train import TrainTask

from medbundles.io import atomic_path
from medbundles.label_app.labels import Saved, split_cases, training_cases
from medbundles.metadata import bundle_info
from medbundles.zoo.workflows import TRAIN, read_config, run_workflow

logger = logging.getLogger(__name__)

EPOCHS, VALIDATION_SHARE, LEARNING_RATE = 20, 0.2, 1e-4
STATS = "train_stats.json"


class BundleTraining(TrainTask):
    """Trains a copy of a bundle's weights with its own training workflow, then puts the copy to use.

    Args:
        folder: of the bundle.
        trained: the weights that it writes; left over from an earlier training, it goes on from them.
    """

    def __init__(self, folder: Path, trained: Path) -> None:
        self.folder, self.trained = folder, trained
        self.bundle = bundle_info(folder / "configs" / "metadata.json")
        super().__init__(f"{self.bundle.title}: goes on from its weights, on the labels that were saved")

    def config(self) -> dict[str, Any]:
        """The options that clients show."""
        return {
            "max_epochs": EPOCHS,
            "val_split": VALIDATION_SHARE,
            "learning_rate": LEARNING_RATE,
            "device": "auto",
        }

    def stats(self) -> dict[str, Any]:
        """What is known of the last training."""
        path = self.trained.with_name(STATS)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Trains, and returns what was reached."""
        wanted = {**self.config(), **{k: v for k, v in request.items() if v not in (None, "")}}
        place = self.trained.parent / "runs" / time.strftime("%Y%m%d_%H%M%S")
        cases = training_cases(self.folder, saved_labels(datastore), place / "labels")
        train, validation = split_cases(cases, float(wanted["val_split"]))
        logger.info("training on %d cases, validation on %d", len(train), len(validation))
        started = time.monotonic()
        workflow = run_workflow(
            self.folder,
            TRAIN,
            {
                **self._overrides(wanted, place),
                "train#dataset#data": train,
                "validate#dataset#data": validation,
            },
            logging_file=False,
        )
        best = workflow.parser.get_parsed_content("validate#best_weights").best_metric
        self._put_to_use(place / "model.pt")
        return self._remember(wanted, best, len(cases), time.monotonic() - started)

    def _overrides(self, wanted: Mapping[str, Any], place: Path) -> dict[str, Any]:
        """The run's own weights begin as the present ones: a bundle of several networks trains only one."""
        epochs = int(wanted["max_epochs"])
        place.mkdir(parents=True, exist_ok=True)
        present = self.trained if self.trained.is_file() else self.folder / "models" / "model.pt"
        start, weights = place / "initial.pt", place / "model.pt"
        for copy in (start, weights):
            copy.write_bytes(present.read_bytes())
        overrides = {
            "output_dir": str(place),
            "initial_weights": str(start),
            "weights": str(weights),
            "epochs": epochs,
            "schedule_epochs": epochs,
            "val_interval": 1,
            "learning_rate": float(wanted["learning_rate"]),
            "device": str(wanted["device"]),
        }
        known = read_config(self.folder, TRAIN)
        return {name: value for name, value in overrides.items() if name in known}

    def _put_to_use(self, weights: Path) -> None:
        with atomic_path(self.trained) as temporary:
            temporary.write_bytes(weights.read_bytes())

    def _remember(
        self, wanted: Mapping[str, Any], best: float | None, cases: int, seconds: float
    ) -> dict[str, Any]:
        epochs = int(wanted["max_epochs"])
        stats = {"epoch": epochs, "total_epochs": epochs, "total_time": round(seconds, 1), "cases": cases}
        stats["best_metric"] = 0.0 if best is None else round(float(best), 4)
        with atomic_path(self.trained.with_name(STATS)) as temporary:
            temporary.write_text(json.dumps(stats, indent=1) + "\n", encoding="utf-8")
        return stats


def saved_labels(datastore: Datastore) -> list[Saved]:
    """The label maps that users have submitted, by the name of their image."""
    tag = DefaultLabelTag.FINAL
    found = []
    for image in sorted(datastore.get_labeled_images()):
        label = datastore.get_label_by_image_id(image, tag)
        facts = datastore.get_label_info(label, tag)
        facts = {**facts, **facts.get("params", {})}
        files = Path(datastore.get_image_uri(image)), Path(datastore.get_label_uri(label, tag))
        found.append(Saved(image, *files, facts.get("label_info")))
    return found
