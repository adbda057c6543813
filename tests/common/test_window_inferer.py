"""Windows give MONAI's answer; what is empty costs nothing, and memory stays within its limit."""

from __future__ import annotations

import logging

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from medbundles.errors import MemoryLimitError
from medbundles.inferers import WindowInferer
from medbundles.memory import MemoryBudget, own_bytes, resident_bytes


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv3d(2, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def volume() -> Tensor:
    volume = torch.full((1, 2, 50, 41, 36), -3.0)
    volume[:, :, 22:47, 5:30, 8:33] = torch.rand(1, 2, 25, 25, 25, generator=torch.Generator().manual_seed(0))
    return volume


def as_labels(answer: Tensor) -> Tensor:
    return answer.argmax(0, keepdim=True).to(torch.uint8)


@pytest.mark.parametrize("overlap", [0.25, 0.5])
@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("window", [(16, 16, 16), (24, 16, -1), (64, 16, 48)])
@torch.no_grad()
def test_exact_is_monais(
    network: nn.Module, volume: Tensor, window: tuple, blend: str, overlap: float
) -> None:
    expected = SlidingWindowInferer(window, 2, overlap, mode=blend)(volume, network)
    answer = WindowInferer(window, overlap, "exact", blend=blend, batch_windows=2)(volume, network)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_frames_and_batches_are_windowed_too() -> None:
    network, frames = nn.Conv2d(1, 2, 3, padding=1), torch.rand(3, 1, 40, 50)
    expected = SlidingWindowInferer((16, 16), 1, 0.25, mode="gaussian")(frames, network)
    torch.testing.assert_close(WindowInferer(16)(frames, network), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_balanced_is_exact_around_what_there_is_and_says_elsewhere_what_an_empty_window_says(
    network: nn.Module, volume: Tensor
) -> None:
    answer = WindowInferer((24, 24, 24), mode="balanced")(volume, network)
    box = (slice(None), slice(None), slice(14, 50), slice(0, 38), slice(0, 36))
    exact = WindowInferer((24, 24, 24), mode="exact")(volume[box], network)
    torch.testing.assert_close(answer[box], exact, atol=1e-5, rtol=1e-5)
    nothing = network(torch.full((1, 2, 24, 24, 24), -3.0))[0, :, 12, 12, 12]
    torch.testing.assert_close(answer[0, :, 3, 40, 1], nothing)


@torch.no_grad()
def test_a_volume_that_is_smaller_than_a_window_is_padded_in_every_mode(
    network: nn.Module, volume: Tensor
) -> None:
    expected = SlidingWindowInferer((64, 16, 16), 1, 0.25, mode="gaussian")(volume, network)
    answer = WindowInferer((64, 16, 16), mode="balanced")(volume, network)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_empty_windows_are_asked_once(volume: Tensor) -> None:
    asked = []

    def network(x: Tensor) -> Tensor:
        asked.append(bool((x == -3).all()))
        return x

    WindowInferer((16, 16, 16), 0.25, "exact")(volume, network)
    assert asked.count(True) == 1
    assert asked.count(False) == 3 * 4 * 3  # along x a fourth begins at 0 and ends before there is anything
    asked.clear()
    WindowInferer((16, 16, 16), 0.25, "balanced")(volume, network)
    assert len(asked) < 36


@torch.no_grad()
def test_labels_by_slabs_are_the_labels_of_the_whole(network: nn.Module, volume: Tensor) -> None:
    whole = WindowInferer((16, 16, 16), 0.5, "exact")(volume, network)
    labels = WindowInferer((16, 16, 16), 0.5, "exact", reduce=as_labels)(volume, network)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, whole.argmax(1, keepdim=True))


@torch.no_grad()
def test_what_exceeds_the_limit_lies_on_disk_and_is_the_same(
    network: nn.Module, volume: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = WindowInferer((16, 16, 16), 0.5)(volume, network)
    on_disk = []
    make = MemoryBudget.empty

    def noted(self, *args):
        store = make(self, *args)
        on_disk.append(store.on_disk)
        return store

    monkeypatch.setattr(MemoryBudget, "empty", noted)
    monkeypatch.setattr("medbundles.window_inferer.peak_bytes", resident_bytes)  # of this test, not of others
    limit = (own_bytes() + 300_000) / 1e9
    answer = WindowInferer((16, 16, 16), 0.5, memory_limit=limit)(volume, network)
    torch.testing.assert_close(answer, expected)
    assert any(on_disk)


def test_a_limit_below_one_windows_need_is_refused_with_advice(network: nn.Module, volume: Tensor) -> None:
    with pytest.raises(MemoryLimitError, match="smaller window"):
        WindowInferer((16, 16, 16), memory_limit=0.001)(volume, network)


def test_out_of_memory_goes_on_with_fewer_windows(volume: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    passes = []

    def network(x: Tensor) -> Tensor:
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        passes.append(len(x))
        return x * 2

    with caplog.at_level(logging.WARNING):
        answer = WindowInferer((16, 16, 16), mode="exact", batch_windows=8)(volume, network)
    torch.testing.assert_close(answer, volume * 2)
    assert max(passes) == 2
    assert "out of memory" in caplog.text


def test_other_errors_and_a_single_window_that_does_not_fit_are_not_hidden(volume: Tensor) -> None:
    def network(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        WindowInferer((16, 16, 16))(volume, network)


@torch.no_grad()
def test_the_answer_keeps_the_header_of_its_input(network: nn.Module, volume: Tensor) -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    image = MetaTensor(volume, affine=affine, meta={"filename_or_obj": "a.nii.gz"})
    answer = WindowInferer((16, 16, 16))(image, network)
    assert answer.meta["filename_or_obj"] == "a.nii.gz"
    assert torch.equal(answer.affine, image.affine)


@torch.no_grad()
def test_a_compiled_network_answers_the_same(volume: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    network = nn.Conv3d(2, 2, 3, padding=1).eval()
    plain = WindowInferer((16, 16, 16))(volume, network)
    with caplog.at_level(logging.INFO):
        answer = WindowInferer((16, 16, 16), compile=True)(volume, network)
    torch.testing.assert_close(answer, plain, atol=1e-5, rtol=1e-5)
    assert "compiled in" in caplog.text
