"""What the configuration inside a `.keras` file may name: the parts of image classifiers.

Keras makes an object of every name that it finds. Its safe mode refuses Python code, but not
layers that read files or load models of other formats, nor whatever else is registered.
"""

from __future__ import annotations

import json
import re
from typing import Any

import keras

import dfk.layers  # noqa: F401 -- registers dfk's own
from dfk.model_files.refused import Refused, reason

# The largest of dfk's, an ensemble of two networks, has 65 kB and 20 levels.
_LARGEST, _DEEPEST = 8 * 2**20, 100

_TRUST = "load it with Keras itself if you trust who made it"

# Layers of an image classifier. None reads files, runs code or holds a vocabulary.
_LAYERS = frozenset(
    [f"{kind}{n}D" for n in (1, 2, 3) for kind in ("Conv", "MaxPooling", "AveragePooling")]
    + [f"{kind}{n}D" for n in (1, 2, 3) for kind in ("UpSampling", "ZeroPadding", "Cropping")]
    + [f"Global{kind}Pooling{n}D" for n in (1, 2, 3) for kind in ("Max", "Average")]
    + [f"{kind}{n}D" for n in (1, 2) for kind in ("DepthwiseConv", "SeparableConv")]
    + [f"SpatialDropout{n}D" for n in (1, 2, 3)]
    + [f"Conv{n}DTranspose" for n in (1, 2, 3)]
    + [
        "InputLayer",
        "Dense",
        "EinsumDense",
        "Embedding",
        "Identity",
        "Activation",
        "ReLU",
        "LeakyReLU",
        "PReLU",
        "ELU",
        "Softmax",
        "BatchNormalization",
        "LayerNormalization",
        "GroupNormalization",
        "UnitNormalization",
        "RMSNormalization",
        "SpectralNormalization",
        "Dropout",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
        "ActivityRegularization",
        "Flatten",
        "Reshape",
        "Permute",
        "RepeatVector",
        "Add",
        "Subtract",
        "Multiply",
        "Average",
        "Maximum",
        "Minimum",
        "Concatenate",
        "Dot",
        "Attention",
        "AdditiveAttention",
        "MultiHeadAttention",
        "GroupQueryAttention",
        "Rescaling",
        "Resizing",
        "CenterCrop",
        "Normalization",
        "RandomFlip",
        "RandomRotation",
        "RandomZoom",
        "RandomTranslation",
        "RandomCrop",
        "RandomContrast",
        "RandomBrightness",
    ]
)

# What else Keras has, by module: the names are those of classes derived from these.
_BASES = {
    "keras.initializers": keras.initializers.Initializer,
    "keras.regularizers": keras.regularizers.Regularizer,
    "keras.constraints": keras.constraints.Constraint,
}
_OTHERS = {
    ("keras.src.models.functional", "Functional"),
    ("keras.src.models.sequential", "Sequential"),
    ("keras", "Sequential"),
    ("keras", "Functional"),
    ("keras", "DTypePolicy"),
    ("keras.dtype_policies", "DTypePolicy"),
    ("keras.src.ops.core", "Cast"),
}
# What `ops.log(x)` and the like become between layers. None takes a function.
_OPERATIONS = {"keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.math"}
# What names a part: Keras looks for it in these three
_NAMES = ("module", "class_name", "registered_name")
# Keras' marks for values that JSON has no form for
_MARKS = {"__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__"}
_ARRAYS, _NUMBERS = {"__numpy__", "__tensor__"}, re.compile(r"(bool|b?float\d+|u?int\d+)")


def read(data: bytes) -> str:
    """Reads a configuration and refuses what is no part of an image classifier.

    Returns:
        What it says, as JSON, but for how models were compiled: loaded ones only answer.

    Raises:
        Refused: if it is damaged, too large, or names something else.
    """
    if len(data) > _LARGEST:
        raise Refused(f"config.json has {len(data):,} bytes, more than {_LARGEST:,}")
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"config.json is no JSON ({reason(error)})") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise Refused("config.json describes no model")
    return json.dumps(_checked(config, _DEEPEST))


def _checked(value: Any, levels: int) -> Any:
    """The same without `compile_config` at any level."""
    if levels == 0:
        raise Refused(f"config.json has more than {_DEEPEST} levels")
    if isinstance(value, list):
        return [_checked(item, levels - 1) for item in value]
    if isinstance(value, str) and value in keras.saving.get_custom_objects():
        raise Refused(f"it names {value} where no layer stands", _TRUST)
    if not isinstance(value, dict):
        return value
    named = {key: value.get(key) for key in _NAMES if key in value}
    if "class_name" in value and not _is_allowed(value):
        text = ", ".join(f"{key}={name!r}" for key, name in named.items())
        raise Refused(f"it names {text[:200]}, of which dfk's models have none", _TRUST)
    left_out = (*_NAMES, "compile_config")
    return named | {k: _checked(v, levels - 1) for k, v in value.items() if k not in left_out}


def _is_allowed(part: dict[str, Any]) -> bool:
    module, name, own = (part.get(key) for key in _NAMES)
    if not all(isinstance(text, str | None) for text in (module, name, own)):
        return False
    known = keras.saving.get_custom_objects()
    if own in known:  # Keras looks for that first.
        return own.startswith("dfk>")
    if own not in (None, name) or name in known:
        return False
    if module is None:
        return name in _MARKS or (name in _ARRAYS and _is_of_numbers(part.get("config")))
    if name == "function":  # An activation
        return module in ("builtins", "keras.activations") and _is_activation(part.get("config"))
    if module in _BASES:
        kind = getattr(getattr(keras, module.removeprefix("keras.")), name, None)
        return isinstance(kind, type) and issubclass(kind, _BASES[module])
    return (
        (module == "keras.layers" and name in _LAYERS)
        or (module, name) in _OTHERS
        or module in _OPERATIONS
    )


def _is_of_numbers(config: Any) -> bool:
    dtype = config.get("dtype") if isinstance(config, dict) else None
    return isinstance(dtype, str) and bool(_NUMBERS.fullmatch(dtype))


def _is_activation(name: Any) -> bool:
    return isinstance(name, str) and callable(getattr(keras.activations, name, None))
