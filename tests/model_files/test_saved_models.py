"""SavedModels that would read and write files, and damaged ones."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import dfk
from dfk import config, models
from dfk.errors import UsageError
from dfk.export.dense import dense_part
from dfk.export.signatures import Served
from dfk.inference import description
from dfk.model_files import operations, saved_models

IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
NAMES = ("a", "b", "c")


class Hostile(tf.Module):
    """Answers as an export does, and does something else beside it."""

    def __init__(self, act, resource=None):
        super().__init__()
        self.act, self.resource = act, resource

    @tf.function(input_signature=[IMAGES])
    def serve_images(self, images):
        count = tf.shape(images)[0]
        with tf.control_dependencies([x for x in [self.act()] if x is not None]):
            return {
                "probabilities": tf.fill([count, 3], 1 / 3),
                "valid": tf.fill([count], True),
            }


def save(folder, module):
    tf.saved_model.save(module, str(folder), signatures={"serve_images": module.serve_images})
    (folder / "assets.extra").mkdir()
    (folder / saved_models.FACTS).write_text(json.dumps({"class_names": NAMES}))
    return folder


def _secret(folder):
    (folder / "secret.txt").write_text("secret\n")
    return str(folder / "secret.txt")


def _nested(name):
    @tf.function
    def inner():
        return tf.cond(tf.random.uniform([]) < 2, lambda: tf.io.read_file(name), lambda: "")

    return inner


def _restore(name):
    return lambda: tf.raw_ops.RestoreV2(
        prefix=name, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
    )[0]


def _save(target):
    return lambda: tf.raw_ops.SaveV2(
        prefix=target, tensor_names=["x"], shape_and_slices=[""], tensors=[tf.zeros(1)]
    )


def _table(name):
    init = tf.lookup.TextFileInitializer(
        name, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip
    return tf.lookup.StaticHashTable(init, -1)


def _lines(name):
    return lambda: tf.data.TextLineDataset(name).batch(9).get_single_element()


def _records(name):
    return lambda: tf.data.TFRecordDataset(name).batch(9).get_single_element()


READS = {
    "ReadFile": lambda name: lambda: tf.io.read_file(name),
    "nested ReadFile": _nested,
    "MatchingFiles": lambda name: lambda: tf.io.matching_files(name),
    "RestoreV2": _restore,
    "TextLineDataset": _lines,
    "TFRecordDataset": _records,
    "EagerPyFunc": lambda name: lambda: tf.py_function(lambda: 0, [], tf.int32),
}
WRITES = {
    "WriteFile": lambda target: lambda: tf.io.write_file(target, "x"),
    "PrintV2": lambda target: lambda: tf.print("x", output_stream=f"file://{target}"),
    "SaveV2": _save,
}


@pytest.mark.parametrize("name", READS)
def test_a_graph_that_reads_is_refused(name, tmp_path):
    folder = save(tmp_path / "m", Hostile(READS[name](_secret(tmp_path))))
    with pytest.raises(UsageError, match=rf"operations.*{name.split()[-1]}.*; load it with"):
        dfk.load(folder)


@pytest.mark.parametrize("name", WRITES)
def test_a_graph_that_writes_is_refused_and_would_have_written(name, tmp_path):
    folder = save(tmp_path / "m", Hostile(WRITES[name](str(tmp_path / "target"))))
    with pytest.raises(UsageError, match=rf"operations.*{name}"):
        dfk.load(folder)
    assert not list(tmp_path.glob("target*"))
    tf.saved_model.load(str(folder)).signatures["serve_images"](tf.zeros([1, 2, 2, 3], tf.uint8))
    assert list(tmp_path.glob("target*"))


def test_a_table_of_a_file_is_refused(tmp_path):
    table = _table(_secret(tmp_path))
    folder = save(tmp_path / "m", Hostile(lambda: table.size(), table))
    with pytest.raises(UsageError, match=r"names files|it holds a"):
        dfk.load(folder)


def test_a_signature_cannot_call_what_saves_the_weights(small):
    """TensorFlow's own function that saves takes any name of a file."""
    saved = _read(small)
    graph = saved.meta_graphs[0]
    node = next(n for n in graph.graph_def.node if n.name == _saver(graph))
    (saving,) = operations._called([node])
    whole = saved.SerializeToString()
    objects = graph.object_graph_def.nodes

    def as_function():
        objects.add().function.concrete_functions.append(saving)

    def as_bare_function():
        objects.add().bare_concrete_function.concrete_function_name = saving

    def as_part_of_another():
        function = graph.graph_def.library.function[0]
        assert function.signature.name != saving
        function.node_def[0].attr["f"].func.name = saving

    def as_input():
        graph.graph_def.node.add(name="x", op="Identity", input=[node.name])

    for change in (as_function, as_bare_function, as_part_of_another, as_input):
        saved.ParseFromString(whole)
        graph = saved.meta_graphs[0]
        objects = graph.object_graph_def.nodes
        change()
        _write(small, saved)
        with pytest.raises(UsageError, match="saves or restores files as it answers"):
            dfk.load(small)


def test_a_constant_of_a_few_bytes_is_not_a_gibibyte(small):
    saved = _read(small)
    function = saved.meta_graphs[0].graph_def.library.function[0]
    node = function.node_def.add(name="x", op="Const")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.float_val.append(0)
    side = node.attr["value"].tensor.tensor_shape.dim.add()
    for size, message in ((2**28, "constants claim 1,024"), (-1, "no array")):
        side.size = size
        _write(small, saved)
        with pytest.raises(UsageError, match=message):
            dfk.load(small)


def _saver(graph):
    return graph.saver_def.save_tensor_name.partition(":")[0]


def _read(folder):
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


def _write(folder, saved):
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.fixture
def small(small_export, tmp_path):
    """A copy of a small genuine one, to be damaged at will."""
    return shutil.copytree(small_export, tmp_path / "small")


@pytest.fixture(scope="module")
def small_export(tmp_path_factory):
    return _export(tmp_path_factory.mktemp("small") / "m", _deepfakenet(16))


def _export(folder, model, precision="float32", fold=True):
    Served(dense_part(model, precision=precision, fold=fold), NAMES).save(folder)
    (folder / "assets.extra").mkdir()
    (folder / saved_models.FACTS).write_text(json.dumps({"class_names": NAMES}))
    return folder


def _deepfakenet(side):
    return models.DeepFakeNet(filters=(4,), dropout=(0,), **_shape(side))


def _shape(side):
    return {"input_shape": (side, side, 3), "classes": 3, "class_names": NAMES, "seed": 1}


BUILT = {
    "deepfakenet": _deepfakenet,
    "vgg16": lambda side: models.VGG16(hidden=8, batch_norm=True, **_shape(side)),
    "vgg16 plain": lambda side: models.VGG16(hidden=8, batch_norm=False, **_shape(side)),
    "residual": lambda side: models.ResidualNet(filters=(4, 4), **_shape(side)),
    "high pass": lambda side: models.ResidualNet(filters=(4,), high_pass=True, **_shape(side)),
    "rich": lambda side: models.RichNet(units=(8,), **_shape(side)),
    "fisher": lambda side: models.RichNet(units=(), dropout=0.0, **_shape(side)),
    **{
        method: lambda side, method=method: models.Ensemble(
            [_deepfakenet(side), models.ResidualNet(filters=(4,), **_shape(None))], method=method
        )
        for method in config.ENSEMBLE_METHODS
    },
}


@pytest.mark.parametrize("name", BUILT)
def test_every_export_is_made_of_known_operations(narrow, few_counts, name, tmp_path):
    for i, variant in enumerate(((32, "float32", True), (None, "mixed_bfloat16", False))):
        side, precision, fold = variant
        folder = _export(tmp_path / str(i), BUILT[name](side), precision, fold)
        saved_models._check_graph(folder)
        saved_models._check_weights(folder)


def test_every_model_has_such_an_export():
    assert {*models.BUILDERS, *config.ENSEMBLE_METHODS} <= set(BUILT)


def test_none_of_the_known_operations_handles_files():
    words = ("File", "Py", "Print", "Save", "Restore", "Record", "TextLine", "Table", "Write")
    words += ("Load", "Matching", "Debug", "Summary", "Socket", "Rpc", "Custom")
    assert not [op for op in operations._ANSWERING if any(word in op for word in words)]


# Damaged files


def test_it_answers_as_before(small):
    classifier = dfk.load(small)
    assert classifier.class_names == NAMES
    assert len(classifier.predict(np.zeros((2, 20, 20, 3), np.uint8))) == 2


FACTS = {
    "not UTF-8": (b"\xff\xfe", "is no JSON"),
    "cut": (b'{"class_names": ["a"', "is no JSON"),
    "list": (b"[]", "names no classes"),
    "empty": (b"{}", "names no classes"),
    "few": (b'{"class_names": ["a", "b"]}', "names 2 classes and answers 3"),
    "twice": (b'{"class_names": ["a", "a", "b"]}', "same name"),
    "numbers": (b'{"class_names": [1, 2, 3]}', "no list of texts"),
    "text": (b'{"class_names": "abc"}', "names no classes"),
    "nan": (b'{"class_names": ["a", "b", "c"], "thresholds": {"x": NaN}}', "no number"),
    "list of few": (b'{"class_names": ["a", "b", "c"], "thresholds": {"x": [1]}}', "no number"),
    "names": (b'{"class_names": ["a", "b", "c"], "thresholds": [1]}', "have no names"),
    "sizes": (b'{"class_names": ["a", "b", "c"], "image_sizes": [[1]]}', "no height and width"),
    "crops": (b'{"class_names": ["a", "b", "c"], "crops": [[1]]}', "pairs of bytes"),
    "size": (b'{"class_names": ["a", "b", "c"], "image_sizes": 3}', "no list"),
    "large": (b" " * (2**20 + 1), "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("case", FACTS)
def test_damaged_facts_are_one_line(case, small):
    data, message = FACTS[case]
    (small / saved_models.FACTS).write_bytes(data)
    with pytest.raises(UsageError, match=message) as caught:
        dfk.load(small)
    assert "\n" not in str(caught.value)


def test_facts_damaged_since_they_were_loaded_change_nothing(small):
    classifier = dfk.load(small)
    before = description.describe(classifier)
    (small / saved_models.FACTS).write_text("{")
    assert description.describe(classifier) == before


@pytest.mark.parametrize(
    "name",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 99, "cut", "folder", "none"])
def test_a_damaged_file_is_one_line(name, content, small):
    path = small / name
    whole = path.read_bytes()
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content != "none":
        path.write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(UsageError) as caught:
        dfk.load(small)
    assert str(small) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["saved_model.cpb", "saved_model.pbtxt", "debug"])
def test_no_other_graph_lies_beside_it(name, small):
    (small / name).write_text("x")
    with pytest.raises(UsageError, match=rf"holds {name} beside"):
        dfk.load(small)
