"""Inference of the MONAI Label server: one task per bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import name_to_device

from medbundles.checks import allowed_dims
from medbundles.errors import root_input_error
from medbundles.label_app.answers import answer, labels_of
from medbundles.label_app.archive import as_scanned
from medbundles.label_app.options import chosen_options, shown_options
from medbundles.metadata import bundle_info

logger = logging.getLogger(__name__)

CANNOT_BE_USED = 422  # the request is well formed, but not what the bundle works on


class BundleInfer(InferTask):
    """Answers requests with the bundle's own inference workflow.

    Bundles that give images are of type `others`: clients show the others as segmentations, and would turn
    the image into labels.

    Args:
        folder: of the bundle.
        trained: weights that the server's own training writes; used as soon as they are there.
    """

    def __init__(self, folder: Path, trained: Path) -> None:
        self.folder, self.trained = folder, trained
        self.bundle = bundle_info(folder / "configs" / "metadata.json")
        gives_labels = self.bundle.output.get("kind") == "labels"
        super().__init__(
            type=InferType.SEGMENTATION if gives_labels else InferType.OTHERS,
            labels=labels_of(self.bundle)["label_names"],
            dimension=max(allowed_dims(self.bundle.input)),
            description=str(self.bundle.metadata.get("description", self.bundle.title)),
            config=shown_options(folder),
        )

    def info(self) -> dict[str, Any]:
        """What clients are told of the bundle."""
        colours = labels_of(self.bundle)["label_colors"]
        return {**super().info(), "version": self.bundle.version, "label_colors": colours}

    def is_valid(self) -> bool:
        """Whether there are weights."""
        return self.trained.is_file() or (self.folder / "models" / "model.pt").is_file()

    def get_path(self, validate: bool = True) -> str | None:
        """The weights that clients may fetch, replace and remove: never the bundle's own."""
        return str(self.trained) if self.trained.is_file() or not validate else None

    def __call__(self, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Returns the file of the answer and what is said with it.

        Raises:
            HTTPException: the image cannot be used; the text says why and what to do.
        """
        options = {**chosen_options(self.folder, request), **_device(request)}
        try:
            found = answer(
                self.folder,
                as_scanned(request["image"]),
                extension=request.get("result_extension"),
                weights=self.trained if self.trained.is_file() else None,
                options=options,
            )
        except Exception as error:
            if (known := root_input_error(error)) is None:
                raise
            logger.warning("%s: %s", self.folder.name, known)  # OHIF shows the log, and not the answer
            raise HTTPException(CANNOT_BE_USED, detail=str(known)) from error
        for warning in found.case["warnings"]:
            logger.warning("%s: %s", found.case["input"], warning)
        if request.get("result_write_to_file", True):
            return str(found.file), found.params()
        found.file.unlink()
        return None, found.params()


class BatchInfer(BatchInferTask):
    """Answers for many images; without a GPU there is none to share them out to."""

    def __call__(self, request: Mapping[str, Any], datastore: Any, infer: Any) -> dict[str, Any]:
        """Returns the answer to each image."""
        alone = {} if torch.cuda.is_available() else {"multi_gpu": False}
        return super().__call__({**request, **alone}, datastore, infer)


def _device(request: Mapping[str, Any]) -> dict[str, str]:
    name = request.get("device")
    return {"device": name_to_device(name)} if name else {}
