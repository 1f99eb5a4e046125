"""The builders take the arguments of keras.applications, and mean by them what it means."""

import inspect

import keras
import numpy as np
import pytest
from scipy.special import softmax

from dfk.models import BUILDERS, Ensemble, class_names_of, network_of

pytestmark = pytest.mark.usefixtures("narrow", "few_counts")

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 40, 36, 3)).astype("float32")
SMALL = {
    "deepfakenet": {"filters": (4, 4, 8)},
    "vgg16": {"hidden": 8},
    "residual": {"filters": (4, 8)},
    "rich": {"units": (8,)},
}
OF_KERAS = ["include_top", "weights", "input_tensor", "input_shape", "pooling", "classes"]
OF_KERAS += ["classifier_activation", "name"]


def _build(name, **arguments):
    return BUILDERS[name](**{"seed": 1, "classes": 3, **SMALL[name], **arguments})


@pytest.fixture
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", BUILDERS)
class TestEveryBuilder:
    def test_it_has_the_arguments_of_keras_applications_in_their_order(self, name):
        arguments = inspect.signature(BUILDERS[name]).parameters
        assert [x for x in arguments if x in OF_KERAS] == OF_KERAS
        keras_own = inspect.signature(keras.applications.ResNet50).parameters
        for argument in ("include_top", "input_tensor", "pooling", "classifier_activation"):
            assert arguments[argument].default == keras_own[argument].default

    def test_without_its_top_it_answers_what_the_top_takes(self, name):
        whole = _build(name, input_shape=(32, 32, 3))
        base = _build(name, input_shape=(32, 32, 3), include_top=False)
        network = network_of(whole)
        before = network.layers[len(network_of(base).layers) - 1]
        expected = keras.Model(network.input, before.output)(whole.layers[1](IMAGES))
        np.testing.assert_array_equal(base(IMAGES), expected)
        maps = len(expected.shape) == 4
        for pooling, of in (("avg", np.mean), ("max", np.max)):
            pooled = _build(name, input_shape=(32, 32, 3), include_top=False, pooling=pooling)
            assert pooled.output_shape == (None, expected.shape[-1])
            answer = of(expected, axis=(1, 2)) if maps else expected
            np.testing.assert_allclose(pooled(IMAGES), answer, rtol=1e-5)

    def test_without_an_activation_it_answers_logits(self, name):
        logits = _build(name, classifier_activation=None, temperature=2.0)(IMAGES)
        probabilities = _build(name, temperature=2.0)(IMAGES)
        np.testing.assert_allclose(softmax(np.array(logits) / 2, axis=1), probabilities, rtol=1e-5)

    def test_it_sees_a_tensor_that_is_given(self, name):
        inputs = keras.Input((40, 36, 3), dtype="uint8", name="mine")
        flipped = keras.ops.flip(inputs, axis=2)
        model = _build(name, input_tensor=flipped)
        assert model.input is inputs and model.output_shape == (None, 3)
        images = IMAGES.astype("uint8")
        native = _build(name, input_shape=(None, None, 3))
        np.testing.assert_array_equal(model(images), native(np.flip(images, axis=2)))
        assert class_names_of(model) == ("0", "1", "2")

    def test_a_tensor_of_any_size_is_resized_as_an_input_is(self, name):
        model = _build(name, input_tensor=keras.Input((None, None, 3)))
        np.testing.assert_array_equal(model(IMAGES), _build(name)(IMAGES))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"input_shape": (64, 64, 1)}, "3 channels; got"),
            ({"input_shape": (64, 64, 4)}, "3 channels; got"),
            ({"input_shape": (64, 64)}, "height, width, 3"),
            ({"input_shape": (64, None, 3)}, "None for both"),
            ({"input_shape": (None, 64, 3)}, "None for both"),
            ({"input_shape": (64, 0, 3)}, "at least, got"),
            ({"input_shape": (64, 1, 3)}, "at least, got"),
            ({"pooling": "mean"}, "'avg' or 'max', got 'mean'"),
            ({"classifier_activation": "sigmoid"}, "logits; got 'sigmoid'"),
            ({"classifier_activation": "none such"}, "none such"),
            ({"input_tensor": IMAGES}, "keras.Input"),
            ({"class_names": ("a", "b")}, "3 classes, but 2 class names"),
        ],
    )
    def test_what_it_does_not_take_is_told(self, name, arguments, message):
        with pytest.raises(ValueError, match=message):
            _build(name, **arguments)

    @pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64), (1, 64, 3)])
    def test_tensors_that_it_does_not_take_are_told(self, name, shape):
        with pytest.raises(ValueError, match="got"):
            _build(name, input_tensor=keras.Input(shape))

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"], indirect=True)
    def test_it_heeds_the_dtype_policy_of_keras(self, name, policy, tmp_path):
        model = _build(name, input_shape=(32, 32, 3))
        compute = keras.DTypePolicy(policy).compute_dtype
        inner = [x for x in network_of(model).layers if x.weights and x.compute_dtype == compute]
        assert inner
        for training in (False, True):
            probabilities = model(IMAGES, training=training)
            assert keras.backend.standardize_dtype(probabilities.dtype) == "float32"
        model.save(tmp_path / "model.keras")
        keras.config.set_dtype_policy("float32")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded(IMAGES), model(IMAGES), atol=1e-6)
        explicit = _build(name, input_shape=(32, 32, 3), dtype=policy)
        names = [x.dtype_policy.name for x in network_of(model).layers[1:]]
        assert [x.dtype_policy.name for x in network_of(explicit).layers[1:]] == names


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_an_ensemble_answers_in_float32_whatever_the_policy(policy):
    members = [_build("deepfakenet", input_shape=(side, side, 3), seed=side) for side in (16, 24)]
    for method in ("average", "confidence", "stacked", "gated"):
        model = Ensemble(members, method=method)
        assert model(IMAGES).dtype == "float32"
        assert {x.dtype_policy.name for x in network_of(model).get_layer("combine").layers} <= {
            "float32",
            policy,
        }


def test_a_softmax_may_be_given_as_a_function():
    model = _build("deepfakenet", classifier_activation=keras.activations.softmax)
    np.testing.assert_array_equal(model(IMAGES), _build("deepfakenet")(IMAGES))


def test_weights_of_a_whole_model_fit_its_base(tmp_path):
    whole = _build("deepfakenet", seed=3)
    whole.save_weights(tmp_path / "all.weights.h5")
    base = _build("deepfakenet", weights=tmp_path / "all.weights.h5", include_top=False)
    expected = _build("deepfakenet", seed=3, include_top=False)
    np.testing.assert_array_equal(base(IMAGES), expected(IMAGES))
