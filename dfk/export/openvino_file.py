"""A graph as a model of OpenVINO: `model.xml` and `model.bin`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino
import openvino.opset15 as ops
import tensorflow as tf
from openvino.frontend import FrontEndManager
from openvino.frontend.tensorflow import ConversionExtension

from dfk.export.graph import ANSWER, PIXELS, Graph
from dfk.system import files

FILE = "model.xml"


def write(graph: Graph, folder: Path, facts: Mapping[str, str]) -> None:
    """Writes the model into a folder; `facts` become its `rt_info`, under `dfk`.

    Raises:
        RuntimeError: for an operation that OpenVINO has not.
    """
    with files.scratch(folder) as scratch:
        tf.saved_model.save(graph, str(scratch), signatures=graph.traced)
        # Not `openvino.convert_model`, which sends word of itself to a server.
        reader = FrontEndManager().load_by_framework("tf")
        reader.add_extension(ConversionExtension("UnsortedSegmentSum", _segment_sum))
        model = reader.convert(reader.load(str(scratch)))
    model.input().tensor.set_names({PIXELS})
    model.output().tensor.set_names({ANSWER})
    for key, value in facts.items():
        model.set_rt_info(value, ["dfk", key])
    openvino.save_model(model, folder / FILE, compress_to_fp16=False)


def _segment_sum(node):
    """OpenVINO's own rule sorts first, which takes a hundred times as long."""
    data, segments, number = (node.get_input(i) for i in range(3))
    rows = ops.reshape(ops.convert(number, "i64"), _whole([1]), special_zero=False)
    rest = ops.slice(ops.shape_of(data), _whole([1]), _whole([9]), _whole([1]))
    zeros = ops.broadcast(ops.constant(np.float32(0)), ops.concat([rows, rest], 0))
    values, places = ops.convert(data, "f32"), ops.unsqueeze(segments, _whole(1))
    sums = ops.scatter_nd_update(zeros, places, values, "sum")
    return ops.convert_like(sums, data).outputs()


def _whole(value):
    return ops.constant(np.array(value, np.int64))
