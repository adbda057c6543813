"""The app of the MONAI Label server: every bundle a model, and a trainer if it gives labels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

import medbundles
from medbundles.label_app.archive import archive
from medbundles.label_app.infer import BatchInfer, BundleInfer
from medbundles.label_app.studies import StudiesDatastore
from medbundles.label_app.train import BundleTraining
from medbundles.metadata import bundle_info
from medbundles.zoo.find import bundle_folders, find_bundle

logger = logging.getLogger(__name__)

DESCRIPTION = "Bundles for clinical imaging tasks. Research use only, not a medical device."


class LabelApp(MONAILabelApp):
    """The bundles of this installation in one server.

    Args:
        app_dir: the server's own folder; weights that it trains are kept in `bundles/<bundle>/` below.
        studies: the folder of the images, or the address of a DICOMweb server.
        conf: `bundles`, names separated by commas; all if it is left out.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str] | None) -> None:
        conf = dict(conf or {})
        names = [name.strip() for name in conf.get("bundles", "").split(",") if name.strip()]
        self.folders = [find_bundle(name) for name in names] if names else bundle_folders()
        super().__init__(app_dir, studies, conf, "medbundles", DESCRIPTION, version=medbundles.__version__)

    def init_datastore(self) -> Any:
        """The folder of images, or an archive."""
        if self.studies.startswith(("http://", "https://")):
            return archive(self.studies.strip().rstrip("/"))
        return StudiesDatastore(
            self.studies,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_infers(self) -> dict[str, BundleInfer]:
        """A model per bundle that has weights."""
        tasks = {folder.name: BundleInfer(folder, self._trained(folder)) for folder in self.folders}
        for name in [name for name, task in tasks.items() if not task.is_valid()]:
            logger.warning("%s has no weights and is left out", name)
            del tasks[name]
        return tasks

    def init_trainers(self) -> dict[str, BundleTraining]:
        """A trainer per bundle whose answers users can correct: label maps, not images."""
        return {
            folder.name: BundleTraining(folder, self._trained(folder))
            for folder in self.folders
            if folder.name in self._infers and _gives_labels(folder)
        }

    def init_strategies(self) -> dict[str, Any]:
        """How the next image to be labelled is chosen."""
        return {"random": Random(), "first": First()}

    def init_batch_infer(self) -> Callable:
        """Many images at once."""
        return BatchInfer()

    def _trained(self, folder: Path) -> Path:
        return Path(self.app_dir) / "bundles" / folder.name / "model.pt"


def _gives_labels(folder: Path) -> bool:
    return bundle_info(folder / "configs" / "metadata.json").output.get("kind") == "labels"
