"""A fingerprint changes with what changes results, and with nothing else."""

from __future__ import annotations

import subprocess
import sys

import torch
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, ScaleIntensityd, Spacingd

from medbundles.fingerprints import options_hash, weights_hash

PIPELINE = "Compose([Spacingd('image', (0.2, 0.2)), ScaleIntensityd('image')])"


def test_equal_pipelines_are_equal_in_another_process() -> None:
    code = (
        "from monai.transforms import Compose, ScaleIntensityd, Spacingd\n"
        "from medbundles.fingerprints import options_hash\n"
        f"print(options_hash({PIPELINE}))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pipeline = Compose([Spacingd("image", (0.2, 0.2)), ScaleIntensityd("image")])
    assert other.stdout.strip() == options_hash(pipeline)


def test_every_option_counts_however_deep() -> None:
    pipelines = [
        Compose([Spacingd("image", (0.2, 0.2))]),
        Compose([Spacingd("image", (0.2, 0.3))]),
        Compose([Spacingd("label", (0.2, 0.2))]),
        Compose([Compose([Spacingd("image", (0.2, 0.2))])]),
        SlidingWindowInferer((8, 8), overlap=0.25),
        SlidingWindowInferer((8, 8), overlap=0.5),
    ]
    assert len({options_hash(pipeline) for pipeline in pipelines}) == 6


def test_weights_count_not_the_object() -> None:
    first, second = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    assert weights_hash(first) == weights_hash(second)
    torch.nn.init.constant_(second.weight, 2.0)
    assert weights_hash(first) != weights_hash(second)
    assert len(weights_hash(first.to(torch.bfloat16))) == 64
