"""ONNX files in int8: the ways in which one is written from a file in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medbundles.zoo.export_formats import need, quiet

Inputs = Mapping[str, np.ndarray]  # what a network takes once, by name
Write = Callable[[Path, Path, Sequence[Inputs]], None]
STATIC_TYPES = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "Clip", "LeakyRelu")
DYNAMIC_TYPES = ("Gemm", "MatMul")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Recipe:
    """A way to quantise.

    Attributes:
        name: as records have it.
        write: file in float32, file in int8, and what the network was given on the cases of calibration.
    """

    name: str
    write: Write


class Calibration:
    """Hands inputs to ONNX Runtime one by one, which it asks for until there is none."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> Inputs | None:
        """The next inputs, None after the last."""
        return next(self._left, None)


def prepared(source: Path, target: Path) -> None:
    """Writes a file with normalisations folded into convolutions and all shapes told, to be quantised."""
    _, shape_inference = need("onnxruntime", "onnxruntime.quantization.shape_inference")
    with quiet():
        shape_inference.quant_pre_process(str(source), str(target), skip_symbolic_shape=True)


def write_static(source: Path, target: Path, inputs: Sequence[Inputs], *, spared: bool = False) -> None:
    """Writes weights and activations in int8, with scales from what activations reach on the inputs.

    Weights have a scale per channel and 7 bits: with 8, processors without VNNI overflow.

    Args:
        spared: leave the first and the last layer in float32, which see the image and make the answer.
    """
    onnx, quantization = need("onnx", "onnxruntime.quantization")
    with quiet():
        layers = [n.name for n in onnx.load(str(source)).graph.node if n.op_type in WEIGHTED]
        quantization.quantize_static(
            str(source),
            str(target),
            Calibration(inputs),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(STATIC_TYPES),
            nodes_to_exclude=[layers[0], layers[-1]] if spared and layers else [],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


def write_spared(source: Path, target: Path, inputs: Sequence[Inputs]) -> None:
    """Writes int8 as `write_static`, but for the first and the last layer."""
    write_static(source, target, inputs, spared=True)


def write_dynamic(source: Path, target: Path, inputs: Sequence[Inputs]) -> None:
    """Writes the weights of products in int8; activations get their scales while it runs."""
    quantization = need("onnxruntime.quantization")[0]
    with quiet():
        quantization.quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=list(DYNAMIC_TYPES),
            per_channel=True,
            reduce_range=True,
        )


def layers(path: Path) -> int:
    """How many layers of a file work on numbers that were quantised."""
    onnx = need("onnx")[0]
    nodes = onnx.load(str(path)).graph.node
    made = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return sum(
        node.op_type in ("ConvInteger", "MatMulInteger")
        or (node.op_type in WEIGHTED and node.input[0] in made and node.input[1] in made)
        for node in nodes
    )


def annotate(path: Path, name: str, text: str) -> None:
    """Adds a note to what travels in a file."""
    onnx = need("onnx")[0]
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, name: text})
    onnx.save(model, str(path))


RECIPES = (
    Recipe("static", write_static),
    Recipe("static, first and last layer float32", write_spared),
    Recipe("dynamic", write_dynamic),
)
