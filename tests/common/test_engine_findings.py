"""What an inferer has to say beside its image reaches the steps after it."""

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from medbundles import io
from medbundles.engines import FINDINGS, CaseDataset, CaseEvaluator, CaseLoader
from medbundles.transforms import LoadImageCheckedd

METADATA = {
    "name": "telling",
    "version": "0.1.0",
    "medbundles": {"input": {"spatial_dims": 2, "channels": 1, "size_px": [8, 512]}},
}


class Telling(Inferer):
    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        answer = MetaTensor(inputs.as_tensor()).copy_meta_from(inputs)
        answer.meta[FINDINGS] = [float(image.max()) for image in inputs.as_tensor()]
        return answer


def test_findings_of_each_case_come_with_its_prediction(tmp_path: Path) -> None:
    for name, value in (("a", 40), ("b", 90)):
        image = np.zeros((12, 10), np.uint8)
        image[3, 4] = value
        io.write_image(image[None], tmp_path / f"{name}.nii.gz", affine=np.eye(4))
    told: list[tuple[float, bool]] = []

    def listen(case: dict) -> dict:
        told.append((case[FINDINGS], FINDINGS in case["pred"].meta))
        return case

    data = [{"image": str(tmp_path / f"{name}.nii.gz")} for name in ("a", "b")]
    loader = CaseLoader(CaseDataset(data, LoadImageCheckedd("image", METADATA)))
    options = {"inferer": Telling(), "output_dir": tmp_path / "out", "metadata": METADATA}
    CaseEvaluator("cpu", loader, torch.nn.Linear(1, 1), postprocessing=listen, **options).run()
    assert told == [(40.0, False), (90.0, False)]
