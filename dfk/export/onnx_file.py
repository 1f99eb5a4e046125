"""A graph as an ONNX file, by tf2onnx, with rules for operations that it gets wrong or lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import tf2onnx
from onnx import TensorProto, helper

from dfk.export.graph import Graph

FILE = "model.onnx"
# The first that sums what is scattered, and knows a part of a shape.
_OPSET = 18


def write(graph: Graph, folder: Path, facts: Mapping[str, str]) -> None:
    """Writes the model into a folder; `facts` become its metadata.

    Raises:
        Exception: of any kind, for an operation that ONNX has not.
    """
    rules = {name: (rule, []) for name, rule in _RULES.items()}
    pixels = graph.function.input_signature
    model, _ = tf2onnx.convert.from_function(
        graph.function, pixels, opset=_OPSET, custom_op_handlers=rules
    )
    helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model)
    onnx.save(model, folder / FILE)


def _floor_div(ctx, node, name: str, args: list) -> None:
    """ONNX divides whole numbers towards zero."""
    x, y = node.input
    rest = ctx.make_node("Mod", [x, y]).output[0]
    _become(ctx, node, "Div", [ctx.make_node("Sub", [x, rest]).output[0], y])


def _floor_mod(ctx, node, name: str, args: list) -> None:
    _become(ctx, node, "Mod", node.input)


def _log1p(ctx, node, name: str, args: list) -> None:
    one = ctx.make_const(f"{name}/one", np.float32(1)).output[0]
    _become(ctx, node, "Log", [ctx.make_node("Add", [node.input[0], one]).output[0]])


def _segment_sum(ctx, node, name: str, args: list) -> None:
    """tf2onnx compares each number with each segment."""

    def whole(x: str) -> str:
        return ctx.make_node("Cast", [x], attr={"to": TensorProto.INT64}).output[0]

    data, segments, number = node.input
    axis = ctx.make_const(f"{name}/axis", np.array([1], np.int64)).output[0]
    rows = ctx.make_node("Reshape", [whole(number), axis]).output[0]
    rest = ctx.make_node("Shape", [data], attr={"start": 1}).output[0]
    shape = ctx.make_node("Concat", [rows, rest], attr={"axis": 0}).output[0]
    zero = helper.make_tensor("value", ctx.get_dtype(data), [1], [0])
    zeros = ctx.make_node("ConstantOfShape", [shape], attr={"value": zero}).output[0]
    places = ctx.make_node("Unsqueeze", [whole(segments), axis]).output[0]
    _become(ctx, node, "ScatterND", [zeros, places, data])
    node.set_attr("reduction", "add")


def _become(ctx, node, operation: str, inputs: list[str]) -> None:
    node.type, node.domain = operation, ""
    for name in list(node.attr):
        del node.attr[name]
    ctx.replace_inputs(node, inputs)


_RULES = {
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "Log1p": _log1p,
    "UnsortedSegmentSum": _segment_sum,
}
