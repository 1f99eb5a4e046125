"""An ensemble as an ONNX file, for the runtimes that dfk is measured against.

It holds what dfk exports: the members with BatchNormalization folded, their calibrated softmax,
and the confidence-weighted average of them.
"""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dfk import models
from dfk.export.folding import lean

_OPSET, _IR = 17, 8


def write(model: keras.Model, side: int, path: Path) -> None:
    """Writes an `Ensemble` whose members take images at their own size.

    Args:
        model: made with `method="confidence"`.
        side: of the images, in pixels.
        path: of the file: `images` uint8 [N, side, side, 3] to `probabilities` float32 [N, C].

    Raises:
        ValueError: for a layer that it does not know.
    """
    graph = _Graph()
    images = graph.add("Cast", ["images"], to=TensorProto.FLOAT)
    images = graph.add("Transpose", [images], perm=[0, 3, 1, 2])
    members = [_member(graph, member, images) for member in models.members_of(model)]
    network = models.network_of(model).get_layer("combine")
    logits = _combine(graph, network, members)
    _softmax(graph, logits, model.layers[-1].temperature, output="probabilities")
    classes = len(models.class_names_of(model))
    made = helper.make_graph(
        graph.nodes,
        "ensemble",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        graph.constants,
    )
    opset = helper.make_opsetid("", _OPSET)
    onnx.save(helper.make_model(made, opset_imports=[opset], ir_version=_IR), path)


class _Graph:
    """Nodes and constants, whose names are counted."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operation: str, inputs: list[str], output: str = "", **attributes) -> str:
        """Adds a node; returns the name of what it answers."""
        output = output or f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def constant(self, value) -> str:
        """Adds an array, float32 unless it holds integers; returns its name."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def _member(graph: _Graph, member: keras.Model, x: str) -> str:
    """The probabilities of a member, [N, C], from images [N, 3, H, W]."""
    for layer in lean(models.network_of(member)).operations:
        x = _layer(graph, layer, x)
    return _softmax(graph, x, member.layers[-1].temperature)


def _layer(graph: _Graph, layer: keras.Operation, x: str) -> str:
    def channels(values) -> str:
        return graph.constant(np.broadcast_to(np.float32(values), 3).reshape(1, 3, 1, 1))

    match type(layer).__name__:
        case "InputLayer":
            return x
        case "Flip":
            return graph.add("Gather", [x, graph.constant(np.array([2, 1, 0]))], axis=1)
        case "Rescaling":
            x = graph.add("Mul", [x, channels(layer.scale)])
            return graph.add("Add", [x, channels(layer.offset)])
        case "Conv2D":
            kernel, bias = layer.get_weights()
            weights = [graph.constant(kernel.transpose(3, 2, 0, 1)), graph.constant(bias)]
            margin = [side // 2 for side in layer.kernel_size]
            x = graph.add("Conv", [x, *weights], pads=margin * 2)
            return x if layer.activation is keras.activations.linear else graph.add("Relu", [x])
        case "ReLU":
            return graph.add("Relu", [x])
        case "MaxPooling2D":
            return graph.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
        case "GlobalAveragePooling2D":
            return graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
        case "Dense":
            x = graph.add("Gemm", [x, *map(graph.constant, layer.get_weights())])
            return x if layer.activation is keras.activations.linear else graph.add("Relu", [x])
    raise ValueError(f"no ONNX twin of {type(layer).__name__}")


def _softmax(graph: _Graph, logits: str, temperature: float, output: str = "") -> str:
    scaled = graph.add("Div", [logits, graph.constant(float(temperature))])
    return graph.add("Softmax", [scaled], output, axis=-1)


def _combine(graph: _Graph, combine: keras.Model, members: list[str]) -> str:
    """Logits [N, C] of the confidence-weighted average, as `dfk.layers` computes it."""
    weights = combine.get_layer("blend").member_weights
    (log_scale,) = combine.get_layer("logits").get_weights()
    classes, weighted, total = combine.output_shape[-1], [], []
    for weight, probabilities in zip(weights, members, strict=True):
        logs = _log(graph, probabilities, 1e-30)
        product = graph.add("Mul", [probabilities, logs])
        entropy = graph.add("ReduceSum", [product, graph.constant(np.array([-1]))], keepdims=1)
        share = graph.add("Mul", [entropy, graph.constant(1 / math.log(classes))])
        certainty = graph.add("Add", [share, graph.constant(1.0)])
        certainty = graph.add("Max", [certainty, graph.constant(1e-6)])
        own = graph.add("Mul", [certainty, graph.constant(float(weight))])
        total.append(own)
        weighted.append(graph.add("Mul", [probabilities, own]))
    blend = graph.add("Div", [graph.add("Sum", weighted), graph.add("Sum", total)])
    return graph.add("Mul", [_log(graph, blend, 1e-7), graph.constant(math.exp(log_scale))])


def _log(graph: _Graph, x: str, least: float) -> str:
    return graph.add("Log", [graph.add("Max", [x, graph.constant(least)])])
