"""What a server, or whoever runs it, reads beside the graph: all made from the model exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

import dfk
from dfk import models
from dfk.data import decode
from dfk.export import triton
from dfk.export.dense import Dense
from dfk.export.signatures import BYTES, IMAGES
from dfk.system import files

EXTRA, FACTS = "assets.extra", "dfk.json"
# What a server pads batches to, and what it is warmed up with.
BATCH_SIZES = (1, 8, 32)

# Clients may send more at once; the server then splits it.
_BATCHING = f"""\
# Read where the server runs with --enable_batching --enable_per_model_batching_parameters.
max_batch_size {{ value: 256 }}
enable_large_batch_splitting {{ value: true }}
max_execution_batch_size {{ value: {BATCH_SIZES[-1]} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 100 }}
""" + "".join(f"allowed_batch_sizes: {size}\n" for size in BATCH_SIZES)

# For a server of NVIDIA's; a batch is what it collects, not the size that the network takes.
_TRITON = f"""\
# NVIDIA Triton: written by dfk export
backend: "python"
max_batch_size: {BATCH_SIZES[-1]}
dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
instance_group [ {{ kind: KIND_CPU }} ]  # TensorFlow itself takes a GPU that it sees.
input [
  {{ name: "image_bytes" data_type: TYPE_STRING dims: [ 1 ] reshape {{ shape: [ ] }} }}
]
output [
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [ %d ] }},
  {{ name: "confidence" data_type: TYPE_FP32 dims: [ 1 ] reshape {{ shape: [ ] }} }},
  {{ name: "label" data_type: TYPE_STRING dims: [ 1 ] reshape {{ shape: [ ] }} }},
  {{ name: "valid" data_type: TYPE_BOOL dims: [ 1 ] reshape {{ shape: [ ] }} }},
  {{ name: "known" data_type: TYPE_BOOL dims: [ 1 ] reshape {{ shape: [ ] }} }}
]
"""

_README = """\
# {name}: image in, {classes} classes out

From this folder: `docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD:/models/{name}:ro" \
tensorflow/serving --model_config_file=/models/{name}/models.config --enable_batching \
--enable_per_model_batching_parameters`

Over REST: `(printf '{{"instances": [{{"b64": "'; base64 < image.png | tr -d '\\n'; \
echo '"}}]}}') | curl -d @- localhost:8501/v1/models/{name}:predict`

Over gRPC (`pip install tensorflow-serving-api`):
```python
import sys, grpc, tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("localhost:8500"))
request = predict_pb2.PredictRequest()
request.model_spec.name = "{name}"
images = [open(path, "rb").read() for path in sys.argv[1:]]
request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string))
answer = {{k: tf.make_ndarray(v) for k, v in stub.Predict(request, timeout=60).outputs.items()}}
for row in zip(sys.argv[1:], *(answer[k] for k in ("label", "confidence", "valid", "known"))):
    print(*row)
```
With NVIDIA Triton, in a Python that has TensorFlow: `tritonserver \
--model-repository="$(dirname "$PWD")" --model-control-mode=explicit \
--load-model="$(basename "$PWD")"`; `config.pbtxt` says what it takes.

Classes: {names}. `valid` is false where an image cannot be read, or \
has more than {megapixels:g} megapixels (`dfk export --max_megapixels`); `known` also where its \
logits stand out less than those of the model's own generators do. Signature \
`serve_images` takes pixels; a server that batches fails requests of different sizes there, \
`serving_default` does not.
"""


def describe(name: str, model: keras.Model, dense: Dense, max_pixels: int) -> dict[str, Any]:
    """What `dfk.json` says of a model; an image size of null is the image's own."""
    head = model.layers[-1]
    return {
        "dfk": dfk.__version__,
        "name": name,
        "class_names": list(models.class_names_of(model)),
        "image_sizes": [list(size) if size else None for size in dense.resizes],
        "smallest_image": dense.smallest,
        "max_pixels": max_pixels,
        "bytes_per_pixel": round(dense.memory.bytes_per_pixel),
        "crops": [[round(cost), side] for cost, side in dense.memory.crops],
        "temperature": head.temperature,
        "thresholds": head.thresholds,
        "trained_on": head.trained_on,
    }


def write_inside(folder: Path, facts: dict[str, Any], examples: Sequence[bytes]) -> None:
    """Writes into a version what belongs to it: facts, warm-up requests, what servers ask for.

    Args:
        folder: the version's.
        facts: of `describe`, and what else there is to say.
        examples: image files; the server is warmed up with the first.
    """
    extra = folder / EXTRA
    extra.mkdir()
    (extra / FACTS).write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n")
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for size in BATCH_SIZES:
            for request in _requests(facts["name"], examples[-1], size):
                log = prediction_log_pb2.PredictLog(request=request)
                record = prediction_log_pb2.PredictionLog(predict_log=log)
                writer.write(record.SerializeToString())
    (folder / "batching_params.pbtxt").write_text(_BATCHING)
    shutil.copyfile(triton.__file__, folder / "model.py")


def _requests(name: str, example: bytes, size: int) -> list[predict_pb2.PredictRequest]:
    """A request of `size` images for each signature."""
    pixels = decode.decode(example).numpy()
    inputs = {
        BYTES: ("image_bytes", np.full(size, example, object)),
        IMAGES: ("images", np.broadcast_to(pixels, (size, *pixels.shape))),
    }
    requests = []
    for signature, (key, value) in inputs.items():
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        requests.append(request)
    return requests


def _megapixels(facts: dict[str, Any]) -> float:
    return round(facts["max_pixels"] / 1e6, 2)


def write_beside(output_dir: Path, facts: dict[str, Any]) -> None:
    """Writes beside the versions what servers are configured with, and `README.md`."""
    name, names = facts["name"], facts["class_names"]
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=f"/models/{name}", model_platform="tensorflow"
    )
    files.write_atomic(output_dir / "models.config", text_format.MessageToString(config))
    files.write_atomic(output_dir / "config.pbtxt", _TRITON % len(names))
    text = _README.format(
        name=name, classes=len(names), names=", ".join(names), megapixels=_megapixels(facts)
    )
    files.write_atomic(output_dir / "README.md", text)
