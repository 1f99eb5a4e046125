"""DeepFakeNet and VGG16 as one writes them with Keras' own layers, to be measured against."""

from __future__ import annotations

import keras

CLASSES = 5


def deepfakenet(dtype: str) -> keras.Model:
    """`dfk.models.DeepFakeNet`'s network: images [N, H, W, 3] in 0..255 to logits [N, C]."""
    images = keras.Input((None, None, 3), name="images")
    x = keras.layers.Rescaling(1 / 255, dtype="float32")(images)
    for filters, rate in ((32, 0.25), (64, 0.3), (128, 0.4)):
        for _ in range(2):
            x = _convolution(x, filters, dtype)
        x = keras.layers.MaxPooling2D(dtype=dtype)(x)
        x = keras.layers.Dropout(rate, dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    return keras.Model(images, keras.layers.Dense(CLASSES, dtype="float32")(x))


def vgg16(dtype: str) -> keras.Model:
    """The network of `dfk.models.VGG16` with BatchNormalization; in and out as above."""
    images = keras.Input((None, None, 3), name="images")
    x = keras.layers.Rescaling(1.0, [-103.939, -116.779, -123.68], dtype="float32")(
        images[..., ::-1]
    )
    for filters, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            x = _convolution(x, filters, dtype)
        x = keras.layers.MaxPooling2D(dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    x = keras.layers.Dense(256, activation="relu", dtype="float32")(x)
    x = keras.layers.Dropout(0.5, dtype="float32")(x)
    return keras.Model(images, keras.layers.Dense(CLASSES, dtype="float32")(x))


def _convolution(x, filters: int, dtype: str):
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, dtype=dtype)(x)
    x = keras.layers.BatchNormalization(momentum=0.9, dtype=dtype)(x)
    return keras.layers.ReLU(dtype=dtype)(x)
