"""Loads what can answer for images: a run, a `.keras` file, a SavedModel or an SVM."""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dfk.data.limits import Limits, Memory
from dfk.errors import UsageError
from dfk.inference.classifier import Classifier, Prediction
from dfk.runs import locate


def load(path: str | os.PathLike) -> Classifier:
    """Loads a classifier; nothing that the files hold is run as Python code.

    Args:
        path: a run's folder, a `.keras` file, an SVM's `.skops` file, a SavedModel's folder,
            a folder of numbered versions of one, of which the highest is taken, or the name of
            a model that comes with dfk, such as `unibuc`. An existing path wins over a name.

    Raises:
        UsageError: if there is no model, it is damaged, or it was not made by dfk.
    """
    file = locate.find_model(path)
    if file.suffix == ".skops":
        return _load_svm(file)
    if file.suffix == ".keras":
        return _load_keras(file)
    return _load_saved_model(file)


def make_predict_fn(path: str | os.PathLike, **options: Any) -> Callable[[Any], list[Prediction]]:
    """Makes `Classifier.predict` of a model, with the `options` that it takes, for other processes.

    The function can be pickled; the process that calls it loads the model, once.
    """
    return functools.partial(_predict, os.fspath(path), **options)


def _predict(path: str, images: Any, **options: Any) -> list[Prediction]:
    return loaded(path).predict(images, **options)


@functools.lru_cache(maxsize=1)
def loaded(path: str) -> Classifier:
    """`load`, once for a process."""
    return load(path)


def _load_svm(path: Path) -> Classifier:
    from dfk.models import SVM

    svm = SVM.load(path)
    return Classifier(
        path,
        svm.class_names,
        svm.predict,
        kind=svm.kind,
        thresholds=svm.thresholds,
        temperature=None if svm.couples else svm.temperature,
        model=svm,
        limits=Limits(memory=Memory(svm.bytes_per_pixel)),
        trained_on=svm.trained_on,
    )


def _load_keras(path: Path) -> Classifier:
    from dfk import models
    from dfk.model_files import keras_files

    model = keras_files.load(path)
    head = model.layers[-1]
    return Classifier(
        path,
        head.class_names,
        _keras_answer(model),
        kind=model.name,
        input_size=models.input_size(model),
        image_sizes=models.image_sizes(model),
        thresholds=head.thresholds,
        temperature=head.temperature,
        model=model,
        limits=Limits(models.smallest_image(model), models.memory(model)),
        trained_on=head.trained_on,
    )


def with_features(classifier: Classifier) -> Classifier:
    """A classifier whose answers have what they are made of behind them.

    Raises:
        UsageError: if it is an SVM or a SavedModel.
    """
    from dfk import models

    if classifier.model is None:
        raise UsageError(
            f"{classifier.path} is a SavedModel, which answers probabilities alone; features are "
            "those of a run or a .keras file"
        )
    model = models.with_features(classifier.model)
    count = model.output_shape[-1] - len(classifier.class_names)
    return dataclasses.replace(classifier, answer=_keras_answer(model), feature_count=count)


def _keras_answer(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    import keras

    if keras.backend.backend() != "tensorflow":
        turn = threading.Lock()  # Keras keeps a call's state in the model.

        def one_at_a_time(images: np.ndarray) -> np.ndarray:
            # Bytes go to a GPU as they are, at a quarter of the cost; Keras casts them there.
            if images.dtype != np.uint8:
                images = images.astype(np.float32)
            with turn:
                return np.asarray(model.predict_on_batch(images))

        return one_at_a_time

    # Traced once for all sizes; `predict` would trace once more for each.
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def call(images):
        return model(images, training=False)

    # TensorFlow counts the functions of all models as one, and would warn of the fifth's trace.
    call._omit_frequent_tracing_warning = True
    return lambda images: call(tf.cast(images, tf.float32)).numpy()


def _load_saved_model(folder: Path) -> Classifier:
    from dfk.model_files import saved_models

    loaded, known = saved_models.load(folder)
    sizes = [tuple(size) for size in known["image_sizes"] if size]
    return Classifier(
        folder,
        known["class_names"],
        functools.partial(_serve, loaded),
        image_sizes=list(dict.fromkeys(sizes)),
        thresholds=known["thresholds"],
        limits=known["limits"],
        trained_on=known["trained_on"],
    )


def _serve(loaded: Any, images: np.ndarray) -> np.ndarray:
    # Through `loaded`: its signatures do not keep its variables alive.
    answers = loaded.signatures["serve_images"](images=tf.constant(images))
    # What it has no answer for is no number here, which becomes an error.
    return np.where(answers["valid"][:, None], answers["probabilities"], np.nan)
