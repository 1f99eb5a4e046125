"""What a model makes its logits of, of every kind of model, fresh and loaded."""

import keras
import numpy as np
import pytest

from dfk import models
from dfk.errors import UsageError
from dfk.models import BUILDERS, class_names_of, features_of, logits_of, members_of, network_of

pytestmark = pytest.mark.usefixtures("narrow", "few_counts")

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 40, 44, 3)).astype("float32")
SMALL = {
    "deepfakenet": {"filters": (4, 4, 8)},
    "vgg16": {"hidden": 8},
    "residual": {"filters": (4, 8)},
    "rich": {"units": (8,)},
}


def _build(name, side=32, **options):
    return BUILDERS[name](seed=1, input_shape=(side, side, 3), **SMALL[name], **options)


def _ensemble(**options):
    cut = models.with_test_crop(_build("residual", None), 20)
    return models.Ensemble([_build("deepfakenet"), cut], **options)


def _loaded(model, path):
    model.save(path / "model.keras")
    return keras.models.load_model(path / "model.keras")


@pytest.mark.parametrize("name", BUILDERS)
def test_the_last_layer_makes_the_logits_of_them(name, tmp_path):
    model = _build(name)
    for each in (model, _loaded(model, tmp_path)):
        looking = features_of(each)
        assert looking.output_shape == (None, 8) and looking.input.name == "images"
        features = looking(IMAGES, training=True)  # It infers all the same.
        assert features.dtype == "float32"
        last = network_of(each).get_layer("logits")
        np.testing.assert_allclose(last(features), logits_of(each)(IMAGES), rtol=1e-4, atol=1e-5)


def test_of_crops_they_are_averaged_as_the_logits_are():
    model = models.with_test_crop(_build("residual", None), 20)
    last = network_of(model).get_layer("logits")
    features = features_of(model)(IMAGES)
    np.testing.assert_allclose(last(features), logits_of(model)(IMAGES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["average", "confidence", "stacked", "gated"])
def test_an_ensemble_has_those_of_its_members(method, tmp_path):
    model = _loaded(_ensemble(method=method), tmp_path)
    expected = np.concatenate([features_of(x)(IMAGES) for x in members_of(model)], axis=1)
    np.testing.assert_allclose(features_of(model)(IMAGES), expected, rtol=1e-5)
    both = models.with_features(model)(IMAGES, training=True)
    np.testing.assert_allclose(both[:, :5], model(IMAGES), atol=1e-6)
    np.testing.assert_allclose(both[:, 5:], expected, rtol=1e-5)
    around = models.Ensemble([model, model])
    np.testing.assert_allclose(features_of(around)(IMAGES), np.tile(expected, 2), rtol=1e-5)


def test_features_of_low_precision_are_float32():
    assert features_of(_build("rich", dtype="mixed_bfloat16"))(IMAGES).dtype == "float32"


def test_the_model_stays_what_it_is(tmp_path):
    model = _ensemble()
    before, names = model(IMAGES), [x.name for x in model.layers]
    features_of(model)
    assert [x.name for x in model.layers] == names
    assert class_names_of(model) == tuple("01234")
    np.testing.assert_array_equal(_loaded(model, tmp_path)(IMAGES), before)


def test_what_has_none_is_told():
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(UsageError, match="an SVM has none"):
        features_of(models.SVM)
    with pytest.raises(UsageError, match="no dfk model"):
        features_of(keras.Model(inputs, keras.layers.Flatten()(inputs)))
    with pytest.raises(UsageError, match=r"no features \[N, D\]"):
        features_of(_build("deepfakenet", include_top=False))


def _inside(model):
    """All models in a model, at every level."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield layer
            yield from _inside(layer)


def test_inputs_of_models_in_a_model_have_names_of_their_own(tmp_path):
    """Keras else speaks of names where it ought to say that a graph is not connected."""
    for model in (_build("residual"), _ensemble(), models.Ensemble([_ensemble()] * 2)):
        for each in (model, _loaded(model, tmp_path)):
            assert each.input.name == "images"
            inner = list(_inside(each))
            names = [x.name for part in inner for x in keras.tree.flatten(part.input)]
            assert len({*names, "images"}) == len(names) + 1
            with pytest.raises(ValueError, match="not connected"):
                keras.Model(each.input, inner[0].output)
