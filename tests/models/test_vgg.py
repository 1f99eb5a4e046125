"""VGG16 is Keras' own below, trains from scratch above, and says where weights come from."""

import hashlib
import inspect
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from dfk.errors import UsageError
from dfk.models import class_names_of, network_of, vgg
from dfk.models.freezing import set_trainable_from
from dfk.models.vgg import VGG16, WeightsError, check_weights
from tests.datasets import texture

# What takes or leaves weights is the same at any width.
pytestmark = pytest.mark.usefixtures("narrow")

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 40, 33, 3)).astype("float32")
SMALL = {"input_shape": (32, 32, 3), "classes": 2, "seed": 1}


@pytest.fixture(scope="module")
def keras_vgg(narrow, tmp_path_factory):
    """Keras' own VGG16 with biases that matter, and its weights in both layouts of a file."""
    model = keras.applications.VGG16(weights=None, include_top=False)
    rng = np.random.default_rng(1)
    for layer in _convolutions(model):
        layer.bias.assign(rng.normal(0, 10, layer.bias.shape))
    folder = tmp_path_factory.mktemp("keras_vgg")
    _write_legacy(model, folder / "notop.h5")
    model.save_weights(folder / "notop.weights.h5")
    return SimpleNamespace(model=model, folder=folder)


@pytest.fixture(scope="module")
def plain(keras_vgg):
    """Ours without BatchNormalization, on Keras' weights."""
    return VGG16(weights=keras_vgg.folder / "notop.h5", **SMALL)


@pytest.fixture(scope="module")
def scratch(narrow):
    """Ours with BatchNormalization, trained for some steps on two directions of a grating."""
    model = VGG16(**SMALL)
    network = network_of(model)
    initial = network.get_weights()
    _compile(network)
    rng = np.random.default_rng(0)
    labels = np.arange(8) % 2
    losses = [
        float(network.train_on_batch(_textures(labels, rng), np.eye(2)[labels])) for _ in range(10)
    ]
    return SimpleNamespace(model=model, network=network, initial=initial, losses=losses)


@pytest.fixture
def freezable(scratch):
    """`scratch`, thawed after the test."""
    yield scratch
    set_trainable_from(scratch.model, "block1")
    _compile(scratch.network)
    scratch.network.optimizer.build(scratch.network.trainable_variables)


@pytest.fixture(scope="module")
def bfloat16(narrow):
    return VGG16(dtype="mixed_bfloat16", **SMALL)


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """A cache of downloads that is empty."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))


def test_preprocessing_is_keras_own(plain):
    expected = keras.applications.vgg16.preprocess_input(IMAGES.copy())
    np.testing.assert_array_equal(_output(plain, "center")(IMAGES), expected)


@pytest.mark.parametrize("file", ["notop.h5", "notop.weights.h5"])
def test_the_base_is_keras_own(keras_vgg, plain, file):
    model = plain if file == "notop.h5" else VGG16(weights=keras_vgg.folder / file, **SMALL)
    names = [layer.name for layer in keras_vgg.model.layers[1:]]
    assert [x.name for x in network_of(model).layers if x.name.startswith("block")] == names
    expected = keras_vgg.model(keras.applications.vgg16.preprocess_input(IMAGES.copy()))
    np.testing.assert_allclose(_output(model, "block5_pool")(IMAGES), expected, rtol=1e-5)


def test_it_is_as_wide_as_keras_own(monkeypatch):
    monkeypatch.setattr(keras.applications, "VGG16", keras.applications.vgg16.VGG16)
    network = network_of(VGG16(batch_norm=False, **SMALL))
    base = sum(layer.count_params() for layer in network.layers if layer.name.startswith("block"))
    assert base == 14_714_688  # Without its head, as keras.applications documents it


def test_from_scratch_it_has_batch_norm_and_starts_from_he(bfloat16):
    convolutions = _convolutions(network_of(bfloat16))
    names = {layer.name for layer in network_of(bfloat16).layers}
    assert len(convolutions) == 13
    for layer in convolutions:
        assert {f"{layer.name}_bn", f"{layer.name}_relu"} <= names
        assert not layer.use_bias
        assert layer.activation is keras.activations.linear
        he = np.sqrt(2 / (9 * layer.kernel.shape[2]))
        np.testing.assert_allclose(np.std(layer.kernel), he, rtol=0.1)


def test_from_scratch_it_learns(scratch):
    assert np.mean(scratch.losses[-3:]) < 0.5 * np.mean(scratch.losses[:3])


def test_the_seed_decides_the_weights(scratch, bfloat16):
    assert all(map(np.array_equal, scratch.initial, network_of(bfloat16).get_weights()))
    other = network_of(VGG16(**SMALL | {"seed": 2})).get_weights()
    assert not np.array_equal(scratch.initial[0], other[0])
    alike = [w for w in other if w.shape == (3, 3, 32, 32)]
    assert len(alike) > 2
    assert not any(np.array_equal(alike[0], w) for w in alike[1:])


@pytest.mark.parametrize(
    ("layer", "frozen"), [(None, 13), ("", 13), ("block4", 7), ("block4_conv2", 8), ("block1", 0)]
)
def test_layers_below_are_frozen(freezable, layer, frozen):
    set_trainable_from(freezable.model, layer)
    convolutions = _convolutions(freezable.network)
    assert [x.trainable for x in convolutions] == [False] * frozen + [True] * (13 - frozen)
    assert freezable.network.get_layer("hidden").trainable


def test_training_moves_only_what_is_not_frozen(freezable):
    set_trainable_from(freezable.model, "block5")
    _compile(freezable.network)
    layers = [layer for layer in freezable.network.layers if layer.weights]
    before = [layer.get_weights() for layer in layers]
    # Labelled the other way round: what it has learned leaves no gradient.
    labels = np.arange(8) % 2
    images = _textures(labels, np.random.default_rng(1))
    freezable.network.train_on_batch(images, np.eye(2)[1 - labels])
    for layer, weights in zip(layers, before, strict=True):
        below = layer.name.startswith("block") and layer.name < "block5"
        for old, new in zip(weights, layer.get_weights(), strict=True):
            assert np.array_equal(old, new) == below, layer.name


def test_a_layer_to_train_from_must_exist(freezable):
    with pytest.raises(ValueError, match="no block or layer 'block'"):
        set_trainable_from(freezable.model, "block")


def test_without_a_training_argument_it_infers(scratch):
    np.testing.assert_array_equal(scratch.model(IMAGES), scratch.model(IMAGES, training=False))
    assert not np.allclose(scratch.model(IMAGES), scratch.model(IMAGES, training=True))


@pytest.mark.parametrize("file", ["m.weights.h5", "m.keras"])
@pytest.mark.parametrize("arm", ["plain", "scratch"])
def test_a_weights_file_says_which_arm_it_is(request, arm, file, tmp_path):
    model = request.getfixturevalue(arm)
    model = model if arm == "plain" else model.model
    (model.save if file == "m.keras" else model.save_weights)(tmp_path / file)
    loaded = VGG16(weights=str(tmp_path / file), **SMALL)
    np.testing.assert_array_equal(network_of(loaded)(IMAGES), network_of(model)(IMAGES))


@pytest.mark.parametrize("file", ["m.weights.h5", "m.keras"])
def test_other_classes_get_a_head_of_their_own(scratch, file, tmp_path):
    (scratch.model.save if file == "m.keras" else scratch.model.save_weights)(tmp_path / file)
    other = network_of(VGG16(weights=tmp_path / file, **SMALL | {"classes": 3}))
    for layer in scratch.network.layers:
        if layer.name != "logits":
            pairs = zip(layer.weights, other.get_layer(layer.name).weights, strict=True)
            assert all(np.array_equal(*pair) for pair in pairs), layer.name
    assert other.output_shape == (None, 3)


def test_weights_of_the_other_arm_do_not_fit(keras_vgg):
    with pytest.raises(WeightsError, match=r"does not fit.*`none`.*PATH"):
        VGG16(weights=keras_vgg.folder / "notop.h5", batch_norm=True, **SMALL)


@pytest.mark.parametrize("weights", [None, "none"])
def test_fresh_weights_need_no_file(weights):
    assert check_weights(weights) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.h5", "no such file"),
        ("weights.txt", "not an .h5 file"),
        ("broken.h5", "not an .h5 file"),
        ("broken.keras", "not a .keras file"),
    ],
)
def test_a_file_that_is_none_is_named_with_the_choices(tmp_path, name, reason):
    if name != "missing.h5":
        (tmp_path / name).write_text("no HDF5")
    with pytest.raises(WeightsError, match=rf"{name}'.*{reason}.*`imagenet`.*`none`.*PATH"):
        VGG16(weights=tmp_path / name)


def test_a_failed_download_names_the_choices(keras_home, monkeypatch):
    monkeypatch.setattr(vgg, "_URL", "http://127.0.0.1:9/vgg16.h5")
    with pytest.raises(WeightsError, match=r"'imagenet'.*cannot download.*`none`.*PATH"):
        check_weights("imagenet")


def test_a_download_is_checked_and_leaves_stdout_alone(
    keras_vgg, keras_home, monkeypatch, tmp_path, capsys
):
    source = keras_vgg.folder / "notop.h5"
    monkeypatch.setattr(vgg, "_URL", source.as_uri())
    with pytest.raises(WeightsError, match=r"hash.*`none`.*PATH"):
        check_weights("imagenet")
    digest = hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(vgg, "_MD5", digest)
    assert check_weights("imagenet") == tmp_path / "models" / "notop.h5"
    assert capsys.readouterr().out == ""


def test_the_download_is_keras_own():
    module = inspect.getmodule(keras.applications.vgg16.VGG16)
    assert module.WEIGHTS_PATH_NO_TOP == vgg._URL
    assert f'file_hash="{vgg._MD5}"' in inspect.getsource(module)


def test_arguments_must_fit(bfloat16):
    assert class_names_of(bfloat16) == ("0", "1")
    with pytest.raises(ValueError, match="5 classes, but 2 class names"):
        VGG16(class_names=("a", "b"))
    with pytest.raises(ValueError, match="32x32"):
        VGG16(input_shape=(31, 64, 3))


def _convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def _output(model, layer):
    """The network of `model` up to a layer."""
    network = network_of(model)
    return keras.Model(network.input, network.get_layer(layer).output)


def _compile(network):
    network.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    )


def _textures(labels, rng):
    return np.stack([texture(label, 2, 32, rng) for label in labels]).astype("float32")


def _write_legacy(model, path):
    """The layout of the file that Keras downloads: no Keras 3 writes it any more."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.name for layer in model.layers], "S")
        for layer in model.layers:
            weights = {f"{layer.name}/{w.name}:0": w.numpy() for w in layer.weights}
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = np.array(list(weights), "S")
            for name, values in weights.items():
                group[name] = values


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_layers_are_known_without_building_them(batch_norm, scratch, keras_vgg):
    network = network_of(scratch.model) if batch_norm else keras_vgg.model
    built = [layer.name for layer in network.layers if layer.name.startswith("block")]
    assert vgg._names(batch_norm) == built
    vgg.check_trainable_from("block4_conv2", batch_norm=batch_norm)
    with pytest.raises(UsageError, match="no block or layer 'block'; it has block1-5: block1_c"):
        vgg.check_trainable_from("block", batch_norm=batch_norm)
