"""Every registered layer does what Keras asks of a layer, on TensorFlow and on JAX."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from dfk import layers
from dfk.data import mixing  # noqa: F401 -- registers its layers

ROOT = Path(__file__).parents[2]
ON_JAX = keras.backend.backend() == "jax"
IMAGES = (2, 9, 11, 3)
POLICIES = ["float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16"]


class Case(NamedTuple):
    """What a layer is made with and called on.

    Attributes:
        arguments: of its constructor.
        shape: of what it is called on: of a tensor, or of several.
        learns: whether a gradient goes through it.
    """

    arguments: dict[str, Any]
    shape: Any
    learns: bool = True


CASES = {
    "AverageCrops": [Case({}, [(6, 4), IMAGES])],
    "BatchNormalization": [
        *(Case({}, shape) for shape in ((2, 4), (2, 5, 4), IMAGES, (2, 3, 4, 5, 2))),
        Case({"axis": 1}, IMAGES),
        Case({"scale": False, "center": False}, IMAGES),
    ],
    "CalibratedSoftmax": [Case({"class_names": "abc", "temperature": 1.7}, (2, 3))],
    "ConfidenceWeightedAverage": [Case({}, [(2, 4), (2, 4)]), Case({}, [(2, 4)] * 3)],
    "Dropout": [Case({"rate": 0.3, "seed": 1}, shape) for shape in ((2, 4), IMAGES)]
    + [Case({"rate": rate}, IMAGES) for rate in (0, 1)],
    "GatedAverage": [Case({}, [(2, 4), (2, 4), (2, 6)])],
    "HighPass": [Case({}, IMAGES)],
    "NativeCrops": [Case({"side": side}, IMAGES) for side in (4, 8, 20)],
    "NoiseStatistics": [Case({}, IMAGES, learns=False)],
    "Resizing": [
        *(Case({"height": 8, "width": 12}, shape) for shape in (IMAGES, IMAGES[1:])),
        Case({"height": 9, "width": 11}, IMAGES),
    ],
    "RichFeatures": [Case({"cooccurrences": [["first", 3, "row", 7]]}, IMAGES, learns=False)],
    "Scale": [Case({}, (2, 4))],
}
# These are functional models, and what runs in tf.data: below.
OTHERS = {"Frozen", "MixUp", "CutMix"}
CALLED = [pytest.param(name, case, id=name) for name, cases in CASES.items() for case in cases]


def _registered() -> dict[str, type]:
    known = keras.saving.get_custom_objects()
    own = {name.removeprefix("dfk>"): x for name, x in known.items() if name.startswith("dfk>")}
    return {name: x for name, x in own.items() if issubclass(x, keras.layers.Layer)}


def _over(function, shape):
    """The function of each shape where there are several."""
    return list(map(function, shape)) if isinstance(shape, list) else function(shape)


def _values(shape, dtype: str):
    rng = np.random.default_rng(0)
    return keras.ops.convert_to_tensor(rng.uniform(0, 1, shape) * 200, dtype)


def _modes(layer: type) -> list[dict[str, bool]]:
    has = "training" in inspect.signature(layer.call).parameters
    return [{"training": False}, {"training": True}] if has else [{}]


def _compiled(function):
    """With XLA."""
    if ON_JAX:
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def _array(x) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))


def test_every_layer_has_a_case():
    assert set(_registered()) == {*CASES, *OTHERS}


@pytest.mark.filterwarnings("ignore::UserWarning")  # It trains on a generator, or without weights.
@pytest.mark.parametrize(("name", "case"), CALLED)
def test_it_passes_the_harness_of_keras(name, case):
    layer = _registered()[name]
    data = _over(lambda shape: _values(shape, "float32"), case.shape)
    data = tuple(data) if isinstance(data, list) else data  # It trains on no lists.
    has_weights = name in ("BatchNormalization", "ConfidenceWeightedAverage", "Scale")
    TestCase().run_layer_test(
        layer, case.arguments, input_data=data, run_training_check=case.learns and has_weights
    )


@pytest.mark.parametrize("given", ["float32", "uint8", "int32", "float16"])
@pytest.mark.parametrize(("name", "case"), CALLED)
def test_it_answers_what_it_declares(name, case, given):
    layer = _registered()[name]
    data = _over(lambda shape: _values(shape, given), case.shape)
    for policy in POLICIES:
        made = layer(**case.arguments, dtype=policy)
        for mode in _modes(layer):
            for free in (False, True):
                shape = _over(lambda x: (None if free else x[0], *x[1:]), case.shape)  # noqa: B023
                if free and name == "Resizing" and len(case.shape) == 3:
                    continue  # Its first axis is the height.
                declared = made(_over(lambda x: keras.KerasTensor(x, given), shape), **mode)
                answer = made(data, **mode)
                assert keras.backend.standardize_dtype(answer.dtype) == declared.dtype
                assert declared.dtype == made.compute_dtype
                sides = zip(declared.shape, answer.shape, strict=True)
                assert all(told is None or told == side for told, side in sides)
                assert np.isfinite(_array(answer)).all()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("name", "case"), CALLED)
def test_it_answers_the_same_with_xla(name, case, policy):
    layer = _registered()[name]
    data = _over(lambda shape: _values(shape, "float32"), case.shape)
    for mode in _modes(layer):
        made = layer(**case.arguments, dtype=policy)
        made.build(_over(tuple, case.shape))
        states = (
            [x.value for x in made.trainable_variables],
            [x.value for x in made.non_trainable_variables],
        )
        call = _compiled(lambda a, b, x: made.stateless_call(a, b, x, **mode)[0])  # noqa: B023
        answer, expected = call(*states, data), made(data, **mode)
        assert answer.dtype == expected.dtype and answer.shape == expected.shape
        close = 1e-3 if policy == "float32" else 0.05
        near = np.isclose(_array(answer), _array(expected), rtol=close, atol=close)
        # Differences of pixels that a policy rounds: a CPU without bfloat16 rounds two elsewhere.
        assert near.mean() > 0.99 if name == "HighPass" and close > 1e-3 else near.all()


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("CalibratedSoftmax", {"class_names": "abc"}, (2, 4)),
        ("CalibratedSoftmax", {"class_names": "abc"}, (3,)),
        ("ConfidenceWeightedAverage", {}, (2, 4)),
        ("ConfidenceWeightedAverage", {}, [(2, 4), (2, 3)]),
        ("ConfidenceWeightedAverage", {}, [(2, 4), (3, 4)]),
        ("ConfidenceWeightedAverage", {}, [(2, 4), (2, 4, 1)]),
        ("ConfidenceWeightedAverage", {}, [(2, 1), (2, 1)]),
        ("AverageCrops", {}, (6, 4)),
        ("AverageCrops", {}, [(6, 4)]),
        ("AverageCrops", {}, [(5, 4), IMAGES]),
        ("AverageCrops", {}, [(6, 4, 1), IMAGES]),
        ("GatedAverage", {}, [(2, 4), (2, 3), (2, 6)]),
        ("Scale", {}, [(2, 4), (2, 4)]),
        ("HighPass", {}, (9, 11, 3)),
        ("HighPass", {}, (2, 2, 11, 3)),
        ("NativeCrops", {"side": 4}, (9, 11, 3)),
    ],
)
def test_shapes_that_it_does_not_take_are_a_value_error(name, arguments, shape):
    layer = _registered()[name]
    with pytest.raises(ValueError, match=r"shape|input"):
        layer(**arguments)(_over(lambda x: _values(x, "float32"), shape))
    with pytest.raises(ValueError, match=r"shape|input"):
        layer(**arguments)(_over(keras.KerasTensor, shape))


def test_an_average_of_two_takes_no_third():
    layer = layers.ConfidenceWeightedAverage()
    members = [_values((2, 4), "float32")] * 3
    layer(members[:2])
    with pytest.raises(ValueError, match="list of 2 tensors"):
        layer(members)


def test_a_frozen_model_comes_back():
    inputs = keras.Input(IMAGES[1:])
    frozen = layers.Frozen(inputs, layers.BatchNormalization()(inputs), name="frozen")
    TestCase().run_class_serialization_test(frozen)
    declared = frozen(keras.KerasTensor(IMAGES))
    answer = frozen(_values(IMAGES, "float32"))
    assert (declared.shape, declared.dtype) == (answer.shape, "float32")


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_what_mixes_comes_back(name):
    layer = _registered()[name](0.4)
    again = TestCase().run_class_serialization_test(layer)
    assert again.alpha == 0.4 and again.compute_dtype == "float32"
    if not ON_JAX:  # There it runs in tf.data alone.
        batch = {"images": _values((4, 8, 8, 3), "float32"), "labels": keras.ops.eye(4)}
        batch["seed"] = keras.ops.convert_to_tensor([1, 2], "int64")
        expected = layer(dict(batch))
        for key, value in again(dict(batch)).items():
            np.testing.assert_array_equal(value, expected[key])
        for policy in POLICIES:
            made = type(layer)(0.4, dtype=policy)
            for key, value in made(dict(batch)).items():
                assert value.dtype == made.compute_dtype
                np.testing.assert_allclose(_array(value), _array(expected[key]), rtol=0.01)


@pytest.mark.slow
@pytest.mark.skipif(ON_JAX, reason="it is there already")
def test_it_all_holds_on_jax():
    pytest.importorskip("jax")
    files = [__file__, Path(__file__).with_name("test_keras_own.py")]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", *files],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        check=True,
    )
