"""Ways to run one network over one scene: ours, MONAI's, nnU-Net's, and two runtimes of exported networks."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from inference_scenes import FRAMES, SLICES, WINDOWS, Scene
from monai.inferers import SliceInferer, SlidingWindowInferer
from torch import Tensor, nn

from medbundles.inferers import AutocastInferer, SlicewiseInferer, WindowInferer
from medbundles.modes import MODES

logger = logging.getLogger(__name__)

OVERLAP = 0.25  # MONAI's default, and the bundles'
NNUNET_STEP = 0.5  # nnU-Net's default
FRAMES_AT_ONCE = 1
SLICES_AT_ONCE = 2
OPSET = 18

Ask = Callable[[Tensor], Tensor]


def methods(scene: Scene, work: Path) -> dict[str, Callable[[], Callable[[], Tensor]]]:
    """By name: what prepares a method (which is not timed) and returns what is timed."""
    found = {f"ours, {mode}": lambda mode=mode: _ours(scene, mode) for mode in MODES}
    found["MONAI"] = lambda: _monai(scene, scene.network)
    found["MONAI, bfloat16"] = lambda: _monai(scene, _autocast(scene.network))
    if scene.kind == WINDOWS:
        found["nnU-Net predictor"] = lambda: _nnunet(scene)
    found["ONNX Runtime"] = lambda: _monai(scene, _onnxruntime(scene, work))
    found["OpenVINO"] = lambda: _monai(scene, _openvino(scene, work))
    return found


def _ours(scene: Scene, mode: str) -> Callable[[], Tensor]:
    if scene.kind == WINDOWS:
        inferer = AutocastInferer(WindowInferer(scene.window, OVERLAP, mode), mode=mode)
    elif scene.kind == SLICES:
        inferer = AutocastInferer(SlicewiseInferer(SLICES_AT_ONCE, mode=mode), mode=mode)
    else:
        single = AutocastInferer(mode=mode)
        return lambda: torch.cat([single(part, scene.network) for part in scene.image.split(FRAMES_AT_ONCE)])
    return lambda: inferer(scene.image, scene.network)


def _monai(scene: Scene, ask: Ask) -> Callable[[], Tensor]:
    if scene.kind == WINDOWS:
        inferer = SlidingWindowInferer(scene.window, overlap=OVERLAP, mode="gaussian")
    elif scene.kind == SLICES:
        inferer = SliceInferer(spatial_dim=2, roi_size=scene.image.shape[2:4])
    else:
        return lambda: torch.cat([ask(part) for part in scene.image.split(FRAMES_AT_ONCE)])
    return lambda: inferer(scene.image, ask)


def _autocast(network: nn.Module) -> Ask:
    def ask(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(x).float()

    return ask


def _nnunet(scene: Scene) -> Callable[[], Tensor]:
    """nnU-Net's predictor with this network; mirroring, which would cost eight times as much, is off."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=NNUNET_STEP,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = scene.network
    predictor.configuration_manager = SimpleNamespace(patch_size=list(scene.window))
    channels = _example_answer(scene).shape[1]
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=channels)
    predictor.allowed_mirroring_axes = None
    return lambda: predictor.predict_sliding_window_return_logits(scene.image[0])[None].float()


def _example(scene: Scene) -> Tensor:
    """What the network sees at once."""
    if scene.kind == WINDOWS:
        window = [min(w, n) for w, n in zip(scene.window, scene.image.shape[2:], strict=True)]
        return scene.image[(..., *[slice(0, n) for n in window])].contiguous()
    return scene.image[:1] if scene.kind == FRAMES else scene.image[..., 0]


def _example_answer(scene: Scene) -> Tensor:
    with torch.inference_mode():
        return scene.network(_example(scene))


def _exported(scene: Scene, work: Path) -> Path:
    path = (
        work / "exported" / f"{type(scene.network).__name__}_{'x'.join(map(str, _example(scene).shape))}.onnx"
    )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(scene.network, (_example(scene),), str(path), dynamo=False, opset_version=OPSET)
    return path


def _onnxruntime(scene: Scene, work: Path) -> Ask:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(_exported(scene, work)), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])


def _openvino(scene: Scene, work: Path) -> Ask:
    import openvino

    options: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(str(_exported(scene, work)), "CPU", options)
    return lambda x: torch.from_numpy(model(x.contiguous().numpy())[0].copy())


def floor(scene: Scene, window_count: int) -> dict[str, float]:
    """The least that one pass over a scene can take: operations at a large convolution's rate, and copying.

    Args:
        scene: what is timed.
        window_count: how often the network is asked.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        answer = scene.network(_example(scene))
    operations = counter.get_total_flops() * window_count
    moved = (scene.image.numel() + scene.image.numel() // scene.image.shape[1] * answer.shape[1]) * 4
    return {
        "operations": operations,
        "float32 s": operations / _rate(torch.float32),
        "bfloat16 s": operations / _rate(torch.bfloat16),
        "copy s": moved / _bandwidth(),
    }


def _rate(dtype: torch.dtype) -> float:
    """Operations per second of a large convolution."""
    convolution, x = nn.Conv3d(64, 64, 3, padding=1).to(dtype), torch.rand(1, 64, 48, 48, 48, dtype=dtype)
    operations = 2 * 64 * 64 * 27 * 48**3
    with torch.inference_mode():
        return operations / _seconds(lambda: convolution(x))


def _bandwidth() -> float:
    """Bytes per second of a large copy, read and written."""
    source = torch.rand(2**26)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / _seconds(lambda: target.copy_(source))


def _seconds(work: Callable[[], Any], repeats: Sequence[int] = range(5)) -> float:
    import time

    work()
    taken = []
    for _ in repeats:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)
