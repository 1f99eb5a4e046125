"""What TensorBoard is given at the end of a run, read by TensorBoard's own reader."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from dfk import runs
from dfk.data.catalog import Split
from dfk.reports import tensorboard


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


@pytest.mark.parametrize(
    "names",
    [["$\\bad$", "/a b"], ["日本", "🙂" * 200], [f"class {i}" for i in range(60)]],
    ids=["markup", "glyphs", "many"],
)
def test_classes_may_be_called_as_one_likes_and_be_many(names, tmp_path):
    labels = np.repeat(np.arange(len(names), dtype=np.int32), 2)
    images = [np.full((20, 30, 3), i, np.uint8) for i in range(len(labels))]
    ids = [str(i) for i in range(len(labels))]
    split = Split(ids=ids, paths=ids, labels=labels, origins=ids, images=images)
    measured = {
        **{"accuracy": 1.0, "macro_f1": 1.0, "ece": 0.0, "nll": 0.1, "epochs": 3},
        "confusion_matrix": np.eye(len(names), dtype=int).tolist(),
        "per_class": [{"class": name} for name in names],
    }
    tensorboard.write(tmp_path, measured, {"model": "rich"}, split)
    events = _read(tmp_path / "validation")
    assert len(_pictures(events, "confusion matrix")) == 1
    assert len([tag for tag in events.Tags()["tensors"] if tag.startswith("images/")]) == min(
        len(names), 8
    )
