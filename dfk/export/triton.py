"""Answers from the SavedModel beside this file, which NVIDIA Triton calls: it is `model.py` there.

Triton's Python backend runs it (its TensorFlow backend is gone), in a Python that has NumPy and
TensorFlow; `config.pbtxt` beside the versions describes what goes in and out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

_OUTPUTS = ("probabilities", "confidence", "label", "valid", "known")


class TritonPythonModel:
    """What Triton makes of a version."""

    def initialize(self, args: dict[str, Any]) -> None:
        """Loads the SavedModel; Triton says in which folder and of which version it is."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self._loaded = tf.saved_model.load(str(folder))  # It keeps the weights.
        self._serve = self._loaded.signatures["serving_default"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers all requests of a dynamic batch at once, each with its own images."""
        import triton_python_backend_utils as triton  # Triton's own Python has it.

        files = [triton.get_input_tensor_by_name(x, "image_bytes").as_numpy() for x in requests]
        try:
            answers = self._serve(image_bytes=tf.constant(np.concatenate(files), tf.string))
        except tf.errors.OpError as error:  # Out of memory, say: these requests fail, no others.
            failed = triton.TritonError(error.message)
            return [triton.InferenceResponse(error=failed) for _ in requests]
        ends = np.cumsum([len(x) for x in files])[:-1]
        parts = {name: np.split(answers[name].numpy(), ends) for name in _OUTPUTS}
        return [
            triton.InferenceResponse([triton.Tensor(name, parts[name][i]) for name in _OUTPUTS])
            for i in range(len(requests))
        ]
