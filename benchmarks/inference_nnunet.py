"""The brain bundle's segmenter as a model of nnU-Net, to compare both from file to file.

python benchmarks/inference_nnunet.py FOLDER_OF_THE_MODEL OUTPUT FOUR_FILES
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medbundles.contrasts import CONTRASTS
from medbundles.weights import load_weights
from medbundles.zoo.find import add_to_path, find_bundle
from medbundles.zoo.workflows import build_network, read_config

BUNDLE = "brats_mri_collagan_segmentation"
CONFIGURATION, TRAINER, CHECKPOINT = "3d_fullres", "nnUNetTrainer", "checkpoint_final.pth"
PROCESSES = 3  # nnU-Net's default, for reading and for writing


class Segmenter(nn.Module):
    """The segmenter as nnU-Net builds it; it answers with what labels are the largest of."""

    def __init__(self, input_channels: int, num_classes: int, **kwargs: Any) -> None:
        super().__init__()
        folder = find_bundle(BUNDLE)
        add_to_path(folder)
        self.segmenter = build_network(folder).segmenter

    def forward(self, x: Tensor) -> Tensor:
        """Margins (B, 4, X, Y, Z) from contrasts (B, 4, X, Y, Z)."""
        return import_module("brats_collagan.network").margins(self.segmenter(x))


def write_model(folder: Path) -> Path:
    """Writes the three files that nnU-Net reads a trained model from, and returns their folder."""
    bundle = find_bundle(BUNDLE)
    network = Segmenter(len(CONTRASTS), 4)
    network.segmenter = load_weights(build_network(bundle), bundle / "models" / "model.pt").segmenter
    window = read_config(bundle, ["inference.json"])["window"]
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(_plans(window)), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(_dataset()), encoding="utf-8")
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / CHECKPOINT)
    return folder


def _dataset() -> dict[str, Any]:
    return {
        "channel_names": {str(number): name for number, name in enumerate(CONTRASTS)},
        "labels": {"background": 0, "core": 1, "oedema": 2, "enhancing": 3},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


def _plans(window: list[int]) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": CONFIGURATION,
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": window,
        "spacing": [1.0, 1.0, 1.0],
        "median_image_size_in_voxels": [140.0, 170.0, 140.0],
        "normalization_schemes": ["ZScoreNormalization"] * len(CONTRASTS),
        "use_mask_for_norm": [True] * len(CONTRASTS),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling,
        "batch_dice": False,
        "architecture": {
            "network_class_name": "inference_nnunet.Segmenter",
            "arch_kwargs": {},
            "_kw_requires_import": [],
        },
    }
    return {
        "dataset_name": "Dataset001_Brain",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [140, 170, 140],
        "image_reader_writer": "NibabelIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(n): {} for n in range(len(CONTRASTS))},
    }


def predict(model: str, output: str, files: list[str]) -> None:
    """Segments one case from its files, as `nnUNetv2_predict` does."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(model, (0,), CHECKPOINT)
    predictor.predict_from_files([files], [output], False, True, PROCESSES, PROCESSES)


if __name__ == "__main__":
    predict(sys.argv[1], sys.argv[2], sys.argv[3:])
