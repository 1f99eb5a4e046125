"""Where a model looked: Grad-CAM over an image, for a CNN and for an ensemble of them.

Source: Selvaraju et al., 2017, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from dfk import models
from dfk.data.pixels import pixels_of
from dfk.errors import ImageError, UsageError
from dfk.inference import Classifier, panels
from dfk.layers import Resizing
from dfk.text import printable

SIDE = 1024  # Pixels a side that a heat map has at most, so that memory is bounded
_Window = tuple[slice, slice]


class Heat(NamedTuple):
    """Where one network looked.

    Attributes:
        name: of the model, or of the member of an ensemble.
        weight: its share in the ensemble's answer to this image; 1 for a model by itself.
        map: float32 [H, W] in 0..1, as large as `Explanation.image`; 1 is what counted most for
            the label, and all is 0 where nothing spoke for it.
    """

    name: str
    weight: float
    map: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """What a model answers for an image, and where it looked.

    Attributes:
        image: what the heat is of, uint8 [H, W, 3], with at most `SIDE` pixels a side: where the
            model averages crops, the one that speaks most for the label; else the middle of a
            larger image or, where the model sees the whole resized, all of it, smaller.
        part: which part of the image that is, in words; "" for all of it.
        label, confidence: as `Classifier.predict` gives them, of the whole image.
        heats: the model's, then, for an ensemble, each member's.
        whole: the whole image, smaller, with a frame around the part; None where it is no part.
        unseen: the members that have no heat, such as `RichNet`, and the share of each.
    """

    image: np.ndarray
    label: str
    confidence: float
    heats: Sequence[Heat]
    part: str = ""
    whole: np.ndarray | None = None
    unseen: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def overlay(self) -> np.ndarray:
        """The image under the model's heat, uint8 [H, W, 3]."""
        return panels.overlay(self.image, self.heats[0].map)

    def picture(self) -> Image.Image:
        """The image, and a panel for each heat, with label, confidence and all members' shares."""
        caption = printable(f"{self.label}  {self.confidence:.1%}")
        first, *members = self.heats
        others = "".join(f"  {name} x {share:.2f} (no map)" for name, share in self.unseen.items())
        named = printable(f"{first.name}{others}")
        shown = [(self.image, caption), (panels.overlay(self.image, first.map), named)]
        if self.whole is not None:
            shown = [(self.whole, f"{caption}  {self.part}"), (self.image, "the part"), shown[1]]
        shown += [
            (panels.overlay(self.image, member.map), f"{member.name}  x {member.weight:.2f}")
            for member in members
        ]
        return panels.side_by_side(shown)


def can_explain(classifier: Classifier) -> bool:
    """Whether `Explainer` takes it: a CNN, or an ensemble that has one, on TensorFlow."""
    model = classifier.model
    if keras.backend.backend() != "tensorflow" or not isinstance(model, keras.Model):
        return False
    return any(map(_is_cnn, models.members_of(model) or [model]))


class Explainer:
    """Explains what a loaded CNN, or an ensemble with CNNs, answers.

    Raises:
        UsageError: for an SVM, a SavedModel or a `RichNet`: no features that Grad-CAM looks at.
    """

    def __init__(self, classifier: Classifier):
        model = classifier.model
        if not can_explain(classifier):
            raise UsageError(
                f"{classifier.path} cannot be explained: Grad-CAM looks into the convolutions of "
                "a .keras model, on TensorFlow"
            )
        self._classifier, self._model = classifier, model
        self._members = models.members_of(model)
        self._names = _names([member.name for member in self._members])
        self._seen = [i for i, member in enumerate(self._members) if _is_cnn(member)]
        networks = [self._members[i] for i in self._seen] or [model]
        self._probes = [_probe(network) for network in networks]
        self._resized = [models.smallest_image(network) == 1 for network in networks]
        self._evidence = _answering(models.evidence_of(model)) if self._members else None
        cuts = filter(None, map(models.crops_of, networks))
        self._cut = next((cut for cut in cuts if cut.side <= SIDE), None)

    def explain(self, image: Any) -> Explanation:
        """Explains the answer to one image, as `Classifier.predict` takes it.

        The heat of an ensemble is the mean of its members', weighted as its combiner weighed
        them on this image; a plain average, and a stacker, which has no such weights, count them
        alike. A member that is no CNN has none.

        Raises:
            ImageError: if there are no pixels, or the model cannot answer for them.
        """
        image = pixels_of(image, limits=self._classifier.limits)
        if isinstance(image, str):
            raise ImageError(image)
        (prediction,) = self._classifier.predict(image)
        if prediction.error:
            raise ImageError(prediction.error)
        target = int(prediction.probabilities.argmax())
        if all(self._resized):
            window, shown, part, whole = (), _smaller(image), "", None
        else:
            window, part = self._part(image, target)
            shown, whole = image[window], panels.framed(image, window) if part else None
        maps = [
            self._map(probe, image, target, window, shown.shape[:2], resized)
            for probe, resized in zip(self._probes, self._resized, strict=True)
        ]
        heats, unseen = [Heat(self._classifier.name, 1.0, maps[0])], {}
        if self._members:
            shares = dict(zip(self._names, self._weights(image).tolist(), strict=True))
            names = [self._names[i] for i in self._seen]
            mean = np.tensordot([shares[name] for name in names], np.stack(maps), 1)
            heats = [Heat(self._classifier.name, 1.0, _normalised(mean))]
            heats += [
                Heat(name, shares.pop(name), heat) for name, heat in zip(names, maps, strict=True)
            ]
            unseen = shares
        answered = prediction.label, prediction.confidence
        return Explanation(shown, *answered, heats, part, whole, unseen)

    def _part(self, image: np.ndarray, target: int) -> tuple[_Window, str]:
        """The part of an image that is shown, and which that is, in words; "" for all of it."""
        height, width = image.shape[:2]
        windows = self._cut.windows(height, width) if self._cut else [_middle(image)]
        shown, words = windows[0], f"the middle of {width} x {height}"
        if len(windows) > 1:
            answers = self._classifier.answer(np.stack([image[window] for window in windows]))
            shown = windows[int(answers[:, target].argmax())]
            words = (
                f"of {len(windows)} crops of {width} x {height} the one that is most for the label"
            )
        part = image[shown]
        if part.shape == image.shape:
            return shown, ""
        (top, left), (h, w) = (at.start for at in shown), part.shape[:2]
        return shown, f"{w} x {h} pixels from ({left}, {top}), {words}"

    def _map(self, probe, image, target: int, window, size, resized: bool) -> np.ndarray:
        """The heat of one network for the window: of one that resizes, cut out of the whole."""
        if not resized:
            return _enlarged(probe(_batch(image[window]), target).numpy(), size)
        heat = probe(_batch(image), target).numpy()
        return (
            _normalised(_enlarged(heat, image.shape[:2])[window])
            if window
            else (_enlarged(heat, size))
        )

    def _weights(self, image: np.ndarray) -> np.ndarray:
        """The share of each member in the answer to an image, float [M]."""
        evidence = models.split_evidence(self._model, self._evidence(_batch(image)).numpy())
        return models.member_shares(self._model, evidence)[0]


def _names(members: Sequence[str]) -> list[str]:
    """What members of an ensemble are called in a picture: where two are alike, by their places."""
    names = [name.partition("_")[2] or name for name in members]
    return [
        f"{name} {place}" if names.count(name) > 1 else name
        for place, name in enumerate(names, start=1)
    ]


def _batch(image: np.ndarray) -> tf.Tensor:
    return tf.cast(image[None], tf.float32)


def _answering(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The model as a graph: without one, all that its layers answer is held to the end."""

    @tf.function(reduce_retracing=True)
    def answer(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    return answer


def _middle(image: np.ndarray) -> _Window:
    """Where the middle of an image is, with at most `SIDE` pixels a side."""
    starts = [max(0, side - SIDE) // 2 for side in image.shape[:2]]
    top, left = (slice(start, start + SIDE) for start in starts)
    return top, left


def _smaller(image: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def _probe(model: keras.Model) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """From (images [1, H, W, 3], class) to the heat for that class, [h, w] from 0."""
    network = models.network_of(model)
    sized = [layer for layer in model.layers if isinstance(layer, Resizing)]
    inside = keras.Model(network.input, [_features(network), network.output])

    @tf.function(reduce_retracing=True)
    def probe(images: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        images = sized[0](images) if sized else images
        with tf.GradientTape() as tape:
            tape.watch(images)  # A frozen member has no variable that would be watched.
            features, logits = inside(images, training=False)
            score = tf.gather(logits[0], target)
        importance = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        # Rectified here too: DeepFakeNet pools before its ReLU.
        return tf.nn.relu(tf.reduce_sum(importance * tf.nn.relu(features), axis=-1))[0]

    return lambda images, target: probe(images, tf.constant(target))


# Before the last of the first kind, features are deep and have not lost half their size.
_POOLS = (keras.layers.MaxPooling2D, keras.layers.GlobalAveragePooling2D)


def _is_cnn(model: keras.Model) -> bool:
    return any(isinstance(layer, _POOLS) for layer in models.network_of(model).layers)


def _features(network: keras.Model):
    """What enters the last max pooling; without one, what enters the global pooling."""
    pools = ([x for x in network.layers if isinstance(x, kind)] for kind in _POOLS)
    return next(filter(None, pools))[-1].input


def _enlarged(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = tf.image.resize(heat[..., None], size, method="bilinear")
    return _normalised(image.numpy()[..., 0])


def _normalised(heat: np.ndarray) -> np.ndarray:
    top = heat.max()
    return (heat / top if top > 0 else np.zeros_like(heat)).astype(np.float32)
