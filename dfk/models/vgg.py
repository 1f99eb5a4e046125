"""VGG16, the study's second network: with ImageNet weights, or from scratch with BatchNorm."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
from keras import ops

from dfk import layers
from dfk.errors import UsageError
from dfk.model_files import hdf5, keras_files
from dfk.model_files.refused import Refused, reason
from dfk.models import freezing, starts, transfer
from dfk.models.applications import Policy, application
from dfk.models.classifier import InputShape, network_of
from dfk.models.seeds import Seeds
from dfk.models.starts import Start
from dfk.runs import locate
from dfk.system.terminal import raw

# What keras.applications downloads, into the same cached file. It names neither publicly.
_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
_MD5 = "6d6bbae143d832006294945121d1f1fc"

# Of ImageNet, in the order blue, green, red: what the published weights were trained on.
_MEAN_BGR = (103.939, 116.779, 123.68)

# Of each block, its convolutions and their channels
_CONVOLUTIONS, _WIDTHS = (2, 2, 3, 3, 3), (64, 128, 256, 512, 512)

# Pixels a side; five poolings leave nothing of a smaller image.
SMALLEST_IMAGE = 32


class WeightsError(UsageError):
    """VGG16's weights cannot be had; the message says why and what else can be given."""


def VGG16(  # noqa: N802 -- named as keras.applications names its models
    *,
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: InputShape | None = None,
    pooling: str | None = None,
    classes: int = 5,
    classifier_activation: str | Callable | None = "softmax",
    class_names: Sequence[str] | None = None,
    hidden: int | None = None,
    dropout: float = 0.5,
    batch_norm: bool | None = None,
    temperature: float = 1.0,
    seed: int | None = None,
    dtype: Policy = None,
    name: str = "vgg16",
) -> keras.Model:
    """Builds the convolutions of `keras.applications.VGG16` under a classifier of our own.

    The base (Simonyan & Zisserman, 2015, "Very Deep Convolutional Networks for Large-Scale
    Image Recognition") keeps Keras' layer names, `block1_conv1` to `block5_pool`, and its
    preprocessing is inside the model. From scratch it is what the study trained: every
    convolution is followed by BatchNormalization (Ioffe & Szegedy, 2015) and starts as in He et
    al. (2015, "Delving Deep into Rectifiers"); Glorot's start, which is Keras' default, halves
    the variance of the signal at every ReLU.

    Args:
        include_top: whether the model has its head. Without, it answers features: `block5_pool`,
            [N, H // 32, W // 32, 512], or what `pooling` makes of it, float32 [N, 512].
        weights: "imagenet"; None or "none" for fresh weights; a run's folder, a `.keras` file or
            the name of a model that comes with dfk; Keras' no-top `.h5`, a `.weights.h5` of
            `keras.applications.VGG16(include_top=False)` or of this whole model. Of an ensemble it
            is its first member of this kind. The head is fresh where the classes are others.
        input_tensor: a Keras tensor [N, H, W, 3] that the model sees instead of an input of its
            own; what it was made of is the model's input then.
        input_shape: (height, width, 3) that images are resized to; (None, None, 3) for native.
            Images must then have 32 pixels a side. None is the size of `input_tensor`, or
            128 x 128.
        pooling: of the features where there is no head: None, "avg" or "max" over the image.
        classes: C, number of classes.
        classifier_activation: "softmax", or None for logits; heeded where there is a head.
        class_names: C names; "0", "1", ... without them.
        hidden: width of the head's hidden layer; None is what the weights have, without them 256.
        dropout: rate before the logits.
        batch_norm: whether convolutions are followed by BatchNormalization. None: what the
            weights have, and for fresh weights True. Say it where weights are set later.
        temperature: of the final softmax.
        seed: of fresh weights and dropout; None draws one.
        dtype: the dtype policy of the convolutional part; None is Keras' own, as
            `keras.config.set_dtype_policy` has set it.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255, any H and W, to calibrated
        probabilities, float32 [N, C].

    Raises:
        UsageError: if the weights cannot be downloaded, found, read, or do not fit.
        ValueError: if `class_names` are not `classes` names, or a shape, a pooling or an activation
            is none that it has.
    """
    start = find(weights)
    has = has_batch_norm(start.file if start else None)
    hidden, batch_norm = starts.settle(start, hidden=(hidden, 256), batch_norm=(batch_norm, has))
    class_names = starts.names(start, classes, class_names)
    seeds = Seeds(seed)
    model = application(
        lambda: _base(batch_norm, seeds, dtype),
        lambda features: _head(features, hidden, dropout, classes, seeds),
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        default_shape=(128, 128, 3),
        smallest_image=SMALLEST_IMAGE,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        class_names=class_names,
        temperature=temperature,
        name=name,
    )
    if start and not start.network and not _holds(start.file, "layers/functional"):
        _load(start.file, model)
    else:
        transfer.give(model, start, class_names)
    return model


def find(weights: str | Path | None) -> Start | None:
    """What a VGG16 with these weights starts with, as `check_weights` finds them."""
    path = check_weights(weights)
    if path is None:
        return None
    networks = starts.networks_in(path) if path.suffix == ".keras" else []
    shapes = [(network, shape_of(network.layers)) for network in networks]
    found = next(((shape, network) for network, shape in shapes if shape), ({}, None))
    return Start(path, *found)


def shape_of(layers: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments that fix the weights of a network with these layers; None of another kind."""
    if "block5_conv3" not in layers or "hidden" not in layers:
        return None
    return {"hidden": layers["hidden"]["units"], "batch_norm": "block1_conv1_bn" in layers}


def check_weights(weights: str | Path | None) -> Path | None:
    """Makes sure that VGG16 can have these weights, before anything else is begun.

    Args:
        weights: as of `VGG16`. "imagenet" is downloaded unless Keras' cache holds it.

    Returns:
        The file that holds them; None for fresh weights.

    Raises:
        WeightsError: if the download fails, there is no such `.h5` or `.keras` file, or it is
            damaged or another model's.
    """
    if weights is None or weights == "none":
        return None
    if weights == "imagenet":
        return _download()
    path = Path(weights)
    if path.is_dir() or locate.is_shipped(str(weights)):
        path = locate.find_keras(weights, starts.WHY)
    if not path.exists():
        raise _error(weights, "there is no such file")
    kind = "a .keras" if path.suffix == ".keras" else "an .h5"
    if path.suffix not in (".keras", ".h5"):
        raise _error(weights, f"this is not {kind} file")
    try:
        with keras_files.weights(path) as file:
            fits = _holds_kernels(file)
    except Refused as error:
        raise _error(weights, f"this is not {kind} file that can be read ({error})") from error
    if not fits:
        raise _error(weights, "it holds no weights of VGG16's convolutions")
    return path


def has_batch_norm(path: Path | None) -> bool:
    """Whether VGG16 with what `check_weights` gave has BatchNormalization: fresh weights do."""
    return path is None or _holds(path, "layers/functional/layers/batch_normalization")


def check_trainable_from(layer: str, *, batch_norm: bool) -> None:
    """Says whether a VGG16 has the block or layer that `set_trainable_from` is to be given.

    Raises:
        UsageError: if not.
    """
    freezing.first(_names(batch_norm), layer, "VGG16", "block1-5: ")


def _names(batch_norm: bool) -> list[str]:
    """The names of the layers of the base, in their order."""
    ends = ("", "_bn", "_relu") if batch_norm else ("",)
    names = []
    for block, count in enumerate(_CONVOLUTIONS, start=1):
        convolutions = [f"block{block}_conv{number}" for number in range(1, count + 1)]
        names += [f"{name}{end}" for name in convolutions for end in ends]
        names.append(f"block{block}_pool")
    return names


def _base(batch_norm: bool, seeds: Seeds, dtype: Policy) -> keras.Model:
    """Images [N, H, W, 3] in 0..255 to features [N, H // 32, W // 32, 512]."""

    def clone(layer):
        config = {**layer.get_config(), "dtype": dtype}
        if isinstance(layer, keras.layers.Conv2D):
            config["kernel_initializer"] = keras.initializers.HeNormal(seeds.next())
            if batch_norm:  # Its beta is the bias, and ReLU comes after it.
                config |= {"use_bias": False, "activation": None}
        return type(layer).from_config(config)

    def call(layer, x):
        if layer.name == "block1_conv1":
            x = _preprocess(x)
        x = layer(x)
        if batch_norm and isinstance(layer, keras.layers.Conv2D):
            x = layers.BatchNormalization(momentum=0.9, dtype=dtype, name=f"{layer.name}_bn")(x)
            x = keras.layers.ReLU(dtype=dtype, name=f"{layer.name}_relu")(x)
        return x

    images = keras.Input((None, None, 3), name="pixels")
    original = keras.applications.VGG16(weights=None, include_top=False)
    return keras.models.clone_model(original, images, clone_function=clone, call_function=call)


def _preprocess(images):
    """`keras.applications.vgg16.preprocess_input`, as layers that are saved with the model."""
    # In float32: bfloat16 would round a pixel before it is centred.
    center = keras.layers.Rescaling(
        1.0, [-mean for mean in _MEAN_BGR], dtype="float32", name="center"
    )
    return center(ops.flip(images, axis=-1))


def _head(features, hidden: int, dropout: float, classes: int, seeds: Seeds):
    """Features [N, H, W, 512] to float32 logits [N, classes]."""
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="average")(features)
    x = keras.layers.Dense(
        hidden,
        activation="relu",
        kernel_initializer=keras.initializers.HeNormal(seeds.next()),
        dtype="float32",
        name="hidden",
    )(x)
    x = layers.Dropout(dropout, seed=seeds.next(), dtype="float32", name="dropout")(x)
    initializer = keras.initializers.GlorotUniform(seeds.next())
    return keras.layers.Dense(
        classes, kernel_initializer=initializer, dtype="float32", name="logits"
    )(x)


def _download() -> Path:
    """The file in Keras' cache, checked by its hash, downloaded if need be."""
    try:
        # Keras reports on stdout, which belongs to results.
        with contextlib.redirect_stdout(raw(sys.stderr)):
            return Path(keras.utils.get_file(origin=_URL, cache_subdir="models", file_hash=_MD5))
    except Exception as error:  # Keras wraps what happened in a bare one.
        raise _error("imagenet", f"cannot download it ({error.__context__ or error})") from error


def _load(path: Path, model: keras.Model) -> None:
    """Loads a file of Keras' own VGG16 into the base."""
    network = network_of(model)
    base = keras.Model(network.input, network.get_layer("block5_pool").output)
    with keras_files.weights(path) as file:
        try:
            base.load_weights(file)
        except hdf5.DAMAGED as error:
            raise _error(path, f"the file does not fit ({reason(error)})") from error


def _holds(path: Path, key: str) -> bool:
    with keras_files.weights(path) as file, h5py.File(file) as opened:
        return key in opened


def _holds_kernels(file: Path) -> bool:
    """Whether a file holds kernels of the shapes that VGG16's convolutions have."""
    shapes = []

    def visit(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 4:
            shapes.append(item.shape)

    with h5py.File(file) as opened:
        opened.visititems(visit)
    return not Counter(_kernels()) - Counter(shapes)


def _kernels() -> Iterator[tuple[int, ...]]:
    """The shapes of the convolutions' kernels, in their order."""
    before = 3
    for width, count in zip(_WIDTHS, _CONVOLUTIONS, strict=True):
        for _ in range(count):
            yield 3, 3, before, width
            before = width


def _error(weights: str | Path, reason: object) -> WeightsError:
    return WeightsError(
        f"VGG16 weights {str(weights)!r}: {reason}. Choose `imagenet` (Keras downloads it), `none` "
        f"(trained from scratch), a run of VGG16, or PATH, an .h5 file: {_URL}, or a `.weights.h5` "
        "or `.keras` of this model."
    )
