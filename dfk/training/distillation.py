"""Knowledge distillation: a network learns what another one answers, not its labels alone."""

from __future__ import annotations

import functools
from typing import Any

import keras

from dfk.layers import Frozen


class Student(keras.Model):
    """A network's own layers, trained on labels a share of which is what a teacher answers.

    The teacher sees the very images that the network sees, cropped, turned and mixed (Hinton et
    al., 2015, "Distilling the Knowledge in a Neural Network"; Beyer et al., 2022, "Knowledge
    distillation: A good teacher is patient and consistent"). Its probabilities are calibrated,
    which takes the place of Hinton's temperature. What is not training is scored on labels alone.

    Where images come as pairs, [N, H, W, 6] (`dfk.data.augment.pairs`), the network sees the first
    channels that it takes and the teacher the last: the image before it was degraded.

    Args:
        network: a functional model, images [N, H, W, 3] in 0..255 to logits [N, C]; or a head, from
            features with the teacher's answers behind them.
        teacher: from the same images, or those answers, to probabilities [N, C]; it is not
            trained, and its weights are none of the student's.
        share: of each label that the teacher's probabilities take, 0..1.
    """

    def __init__(self, network: keras.Model, teacher: keras.Model, share: float):
        super().__init__(network.input, network.output, name=network.name)
        frozen = Frozen(teacher.input, teacher.output)
        # Keras would take an attribute that is a model for a part of this one.
        self._answer = functools.partial(frozen, training=False)
        self._share = share
        self._channels, self._heard = network.input.shape[-1], teacher.input.shape[-1]

    @property
    def input_spec(self) -> None:
        """None: it takes single images or pairs."""
        return None

    def call(self, inputs, training: bool | None = None, mask=None) -> Any:
        """Logits [N, C] of the view that the network sees."""
        return super().call(inputs[..., : self._channels], training=training, mask=mask)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training: bool = True
    ) -> Any:
        """Keras' own, on labels [N, C] that the teacher has taken its share of."""
        if training:
            answers = keras.ops.cast(self._answer(x[..., -self._heard :]), y.dtype)
            y = (1 - self._share) * y + self._share * answers
        return super().compute_loss(x, y, y_pred, sample_weight, training=training)
