"""The served graph: broken images stay apart, sizes mix, the dense part compiles."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from dfk import models
from dfk.data import decode
from dfk.evaluation import conformal
from dfk.export import signatures
from dfk.export.dense import dense_part
from dfk.export.signatures import Served
from tests.networks import CLASSES, ensemble, gated, network
from tests.pictures import BROKEN, GOOD, encode, jpeg_that_claims, noise

SMALL = {name: data for name, data in GOOD.items() if name not in ("large", "wide", "1x1")}


def _served(model, **options):
    made = dense_part(model, **{"precision": "float32", "fold": True, **options})
    return Served(made, models.class_names_of(model))


@pytest.fixture(scope="module", params=[(16, 24), (None,), (None, 16)], ids=str)
def case(request):
    """A model of members of fixed sizes, of native size, or of both, and what is served of it."""
    sides = request.param
    model = ensemble(*sides) if len(sides) > 1 else network(*sides)
    return model, _served(model)


def _ask(served, files):
    answers = served.serve_bytes(tf.constant(files, tf.string, shape=[len(files)]))
    return {key: value.numpy() for key, value in answers.items()}


def _expected(model, files):
    images = [tf.cast(decode.decode(data)[None], tf.float32) for data in files]
    return np.concatenate([model(image, training=False) for image in images])


def test_images_of_many_sizes_share_a_batch(case):
    model, served = case
    files = [*SMALL.values(), *SMALL.values()]
    answers = _ask(served, files)
    np.testing.assert_allclose(answers["probabilities"], _expected(model, files), atol=1e-5)
    assert answers["valid"].all()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_does_not_disturb_the_others(case, name):
    _, served = case
    good = [*SMALL.values()]
    mixed = [BROKEN[name], *good[:3], BROKEN[name], *good[3:]]
    answers, alone = _ask(served, mixed), _ask(served, good)
    assert list(np.flatnonzero(~answers["valid"])) == [0, 4]
    for key in ("probabilities", "confidence", "label"):
        assert not answers[key][[0, 4]].any()
        kept = np.delete(answers[key], [0, 4], axis=0)
        if key == "label":
            np.testing.assert_array_equal(kept, alone[key])
        else:
            np.testing.assert_allclose(kept, alone[key], rtol=0, atol=1e-6)


def test_what_is_broken_does_not_matter_to_the_last_bit():
    served = _served(network(16))
    good = [*SMALL.values()]
    first = _ask(served, [*good, *BROKEN.values()])
    second = _ask(served, [*good, *reversed(BROKEN.values())])
    np.testing.assert_array_equal(first["probabilities"], second["probabilities"])


def test_an_empty_batch_and_one_of_broken_images_only(case):
    _, served = case
    empty = _ask(served, [])
    assert {key: value.shape for key, value in empty.items()} == {
        **{"probabilities": (0, 3), "confidence": (0,), "label": (0,)},
        **{"valid": (0,), "known": (0,)},
    }
    broken = _ask(served, [*BROKEN.values()])
    assert not any(broken[key].any() for key in ("valid", "known", "probabilities"))
    none = served.serve_images(tf.zeros([0, 0, 0, 3], tf.uint8))
    assert none["probabilities"].shape == (0, 3)


def test_pixels(case):
    model, served = case
    images = np.stack([noise(20, 30, seed) for seed in range(3)])
    answers = served.serve_images(images)
    expected = model(images.astype("float32"), training=False)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
    assert answers["known"].numpy().all()  # Nothing says from where on
    labels = [CLASSES[k].encode() for k in np.argmax(expected, axis=1)]
    assert list(answers["label"].numpy()) == labels


def test_known_is_what_stands_out_as_much_as_the_threshold_says():
    model = network(16)
    files = [encode(noise(20, 30, seed), "PNG") for seed in range(8)]
    logits = np.sort(conformal.centred_logit(_expected(model, files)))
    least = float(logits[3:5].mean())
    served = Served(dense_part(model, precision="float32", fold=True), CLASSES, 0, least)
    answers = _ask(served, [*files, BROKEN["empty"]])
    expected = conformal.centred_logit(answers["probabilities"]) >= least
    assert answers["known"].tolist() == [*expected[:-1], False] and answers["known"].sum() == 4


def test_what_is_too_small_for_a_network_is_not_valid_and_never_nan():
    served = _served(network(None))
    tiny, good = encode(noise(7, 30), "PNG"), GOOD["png"]
    answers = _ask(served, [tiny, good])
    assert list(answers["valid"]) == [False, True]
    assert not answers["probabilities"][0].any()
    for shape in [(2, 7, 30, 3), (2, 30, 7, 3), (2, 0, 0, 3)]:
        answers = served.serve_images(tf.zeros(shape, tf.uint8))
        assert list(answers["valid"].numpy()) == [False, False]
        assert not answers["probabilities"].numpy().any()
    assert _ask(_served(network(16)), [tiny])["valid"].all()  # It is resized


NATIVE = {
    "deepfakenet": (lambda: network(None), 8),
    "residual": (lambda: network(None, make=models.ResidualNet, filters=(4, 4, 4, 4)), 8),
    "five blocks": (lambda: network(None, make=models.ResidualNet, filters=(4,) * 5), 16),
    "high pass": (
        lambda: network(None, make=models.ResidualNet, filters=(4, 4), high_pass=True),
        3,
    ),
    "rich": (lambda: network(None, make=models.RichNet, units=(8,)), 8),
    "vgg16": (lambda: network(None, make=models.VGG16, hidden=8, weights=None), 32),
    "ensemble": (
        lambda: models.Ensemble(
            [network(None, 1, models.ResidualNet, filters=(4,) * 5), network(24, 2)]
        ),
        16,
    ),
    "gated": (lambda: gated([network(16, 1), network(24, 2)]), 8),
}


@pytest.mark.parametrize("name", NATIVE)
def test_what_is_too_small_for_any_network_does_not_disturb_the_others(narrow, few_counts, name):
    make, least = NATIVE[name]
    model = make()
    served = _served(model)
    sides = [*range(1, 17), 31, 32]
    sizes = [*zip(sides, reversed(sides), strict=True), *((side, side) for side in sides)]
    sizes += [(1, 40), (40, 1)]
    small = [encode(noise(*size), "PNG") for size in sizes]
    good = [encode(noise(33, 40, seed), "PNG") for seed in range(2)]
    answers, alone = _ask(served, [good[0], *small, good[1]]), _ask(served, good)
    for key, values in answers.items():
        np.testing.assert_array_equal(values[[0, -1]], alone[key])
    assert answers["valid"].tolist() == [True, *(min(size) >= least for size in sizes), True]
    fit = [data for data, size in zip(small, sizes, strict=True) if min(size) >= least]
    probabilities = answers["probabilities"][1:-1]
    assert not probabilities[[min(size) < least for size in sizes]].any()
    kept = probabilities[[min(size) >= least for size in sizes]]
    np.testing.assert_allclose(kept, _expected(model, fit), atol=1e-4)
    for height, width in sizes:
        valid = served.serve_images(tf.zeros([1, height, width, 3], tf.uint8))["valid"].numpy()
        assert valid.tolist() == [min(height, width) >= least]


def test_weights_that_are_broken_answer_no_nan():
    model = network(16)
    model.get_layer("network").get_layer("logits").bias.assign([np.nan] * 3)
    answers = _ask(_served(model), [GOOD["png"]])
    assert not answers["valid"].any() and not answers["probabilities"].any()


def test_large_images_of_native_size_go_through_in_parts(monkeypatch):
    limit = 2 * 16 * 16
    model = network(None)
    made = dense_part(model, precision="float32", fold=True)
    monkeypatch.setattr("dfk.export.signatures.CALL_BYTES", limit * made.memory.bytes_per_pixel)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False)
    def checked(images):
        count, pixels = tf.shape(images)[0], tf.size(images) // 3
        with tf.control_dependencies([tf.Assert((count == 1) | (pixels <= limit), [pixels])]):
            return made.function(tf.identity(images))

    sizes = [(16, 16)] * 5 + [(30, 40)] * 2
    files = [encode(noise(*size, seed), "PNG") for seed, size in enumerate(sizes)]
    served = Served(made._replace(function=checked), CLASSES)
    answers = _ask(served, files)
    np.testing.assert_allclose(answers["probabilities"], _expected(model, files), atol=1e-5)
    images = np.stack([noise(16, 16, seed) for seed in range(5)])
    pixels = served.serve_images(images)["probabilities"]
    np.testing.assert_allclose(pixels, answers["probabilities"][:5], atol=1e-6)


@pytest.mark.parametrize("side", [None, 16])
def test_more_pixels_than_were_chosen_are_refused_by_the_header(side):
    made = dense_part(network(side), precision="float32", fold=True)
    served = Served(made, CLASSES, 20 * 30)
    claims = jpeg_that_claims(7000, 7000)
    sizes = [(20, 30), (20, 31), (600, 1)]
    files = [encode(noise(*size), "PNG") for size in sizes]
    answers = _ask(served, [*files, claims])
    assert answers["valid"].tolist() == [True, False, side is not None, False]
    for (height, width), expected in zip(sizes, answers["valid"], strict=False):
        images = tf.zeros([2, height, width, 3], tf.uint8)
        assert served.serve_images(images)["valid"].numpy().tolist() == [expected] * 2


def test_the_limit_follows_from_what_a_pixel_costs():
    small, large = (
        signatures.largest_image(dense_part(model, precision="float32", fold=True))
        for model in (models.ResidualNet(), models.ResidualNet(filters=(64, 128)))
    )
    assert 4e6 < small < 10e6 and large < 0.7 * small


def test_members_that_share_a_resize_share_it():
    made = dense_part(ensemble(16, 24, 16), precision="float32", fold=True)
    assert list(made.resizes) == [(16, 16), (24, 24)]
    served = Served(made, CLASSES)
    graph = served.serve_bytes.get_concrete_function().graph
    functions = graph.as_graph_def().library.function
    resizes = [n for f in functions for n in f.node_def if n.op == "ResizeBilinear"]
    assert len(resizes) == 2


def test_an_ensemble_of_ensembles():
    model = models.Ensemble([ensemble(16, 24), network(16, 5)])
    files = [*SMALL.values()]
    answers = _ask(_served(model), files)
    np.testing.assert_allclose(answers["probabilities"], _expected(model, files), atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_dense_part_compiles_for_a_fixed_batch(precision, tmp_path):
    model = ensemble(16, 24)
    _served(model, precision=precision).save(tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    images = noise(24, 24, 3)[None].astype("float32").repeat(4, axis=0)
    resized = [tf.constant(images[:, :16, :16]), tf.constant(images)]
    plain = loaded.dense(*resized)

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec(x.shape) for x in resized])
    def compiled(*inputs):
        return loaded.dense(*inputs)

    tolerance = 1e-5 if precision == "float32" else 0.05
    np.testing.assert_allclose(compiled(*resized), plain, atol=tolerance)
    assert plain.dtype == tf.float32 and plain.shape == (4, 3)


def test_the_dense_part_is_named_for_a_tpu_and_holds_no_strings(tmp_path):
    _served(network(16)).save(tmp_path)
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    aliases = graph.meta_info_def.function_aliases
    assert set(aliases.values()) == {"tpu_func"}
    functions = [f for f in graph.graph_def.library.function if f.signature.name in aliases]
    assert functions
    for function in functions:
        values = [*function.signature.input_arg, *function.signature.output_arg]
        assert tf.string.as_datatype_enum not in {value.type for value in values}
        nodes = {node.op for node in function.node_def}
        assert not nodes & {"Where", "DecodeImage", "ParseTensor", "SerializeTensor", "While"}


def test_large_images_are_answered_by_their_crops_and_cost_no_more():
    plain = network(None)
    model = models.with_test_crop(plain, 16)
    made = dense_part(model, precision="float32", fold=True)
    served = Served(made, CLASSES)
    files = [encode(noise(*size), "PNG") for size in [(16, 16), (60, 40), (12, 300)] * 2]
    answers = _ask(served, files)
    np.testing.assert_allclose(answers["probabilities"], _expected(model, files), atol=1e-5)
    images = np.stack([noise(60, 40, seed) for seed in range(3)])
    expected = model(images.astype("float32"))
    np.testing.assert_allclose(served.serve_images(images)["probabilities"], expected, atol=1e-5)
    whole = dense_part(plain, precision="float32", fold=True)
    assert signatures.largest_image(made) > 2 * signatures.largest_image(whole)
