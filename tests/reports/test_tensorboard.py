"""What TensorBoard is given at the end of a run, read by TensorBoard's own reader."""

import json

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from dfk import runs


def _read(folder):
    events = EventAccumulator(str(folder), {"tensors": 0})
    events.Reload()
    return events


def _pictures(events, tag):
    _, _, *files = events.Tensors(tag)[0].tensor_proto.string_val
    return [tf.io.decode_png(file).numpy() for file in files]


def test_a_finished_run_has_its_figures_flags_and_pictures(finished):
    folder = finished[0].run_dir
    measured = json.loads((folder / runs.METRICS).read_text())
    events = _read(folder / runs.TENSORBOARD / "validation")
    for name in ("accuracy", "macro_f1", "ece", "nll"):
        (event,) = events.Tensors(f"final/{name}")
        assert event.step == measured["epochs"]
        assert tf.make_ndarray(event.tensor_proto) == np.float32(measured[name])
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    lines = (folder / runs.FLAGS).read_text().splitlines()
    flags = dict(line.removeprefix("--").split("=", 1) for line in lines)
    assert {name: value.string_value for name, value in told.items()} == flags
    (matrix,) = _pictures(events, "confusion matrix")
    assert matrix.shape[-1] == 3 and min(matrix.shape[:2]) > 100 and matrix.std() > 10
    for row in measured["per_class"]:
        pictures = _pictures(events, f"images/{row['class']}")
        assert len(pictures) == 4 and len({x.tobytes() for x in pictures}) == 4
