"""Serves a SavedModel as tensorflow_model_server does, with its flags: to test, not to deploy.

It is run as a file and imports nothing of dfk: what it answers, the exported files alone say. It
knows Predict over gRPC and REST, loads the newest version once, replays the warm-up requests,
and does not batch.
"""

from __future__ import annotations

import argparse
import base64
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

_THREADS = 8


class ClientError(Exception):
    """The request is wrong; the message says how."""


class Model:
    """The newest version in a folder of versions."""

    def __init__(self, name: str, base_path: Path):
        self.name = name
        self.version = max(int(path.name) for path in base_path.iterdir() if path.name.isdecimal())
        self._folder = base_path / str(self.version)
        self._loaded = tf.saved_model.load(str(self._folder))  # Keeps the variables

    def predict(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Runs a signature on inputs by name, arrays or lists of N rows."""
        function = self._loaded.signatures.get(signature or "serving_default")
        if function is None:
            raise ClientError(f"no signature {signature!r}")
        _, specs = function.structured_input_signature
        if inputs.keys() != specs.keys():
            raise ClientError(f"inputs are {sorted(inputs)}, expected {sorted(specs)}")
        try:
            tensors = {k: tf.constant(v, specs[k].dtype) for k, v in inputs.items()}
            outputs = function(**tensors)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise ClientError(str(error)) from error
        return {key: value.numpy() for key, value in outputs.items()}

    def warm_up(self) -> int:
        """Replays the recorded requests; returns how many there are."""
        path = self._folder / "assets.extra" / "tf_serving_warmup_requests"
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        for record in records:
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)
        return len(records)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """gRPC's side of a model."""

    def __init__(self, model: Model):
        self._model = model

    def Predict(self, request, context):  # noqa: N802 -- named by the protocol
        """Answers a PredictRequest."""
        if request.model_spec.name != self._model.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_spec.name!r}")
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        try:
            outputs = self._model.predict(request.model_spec.signature_name, inputs)
        except ClientError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        response.model_spec.version.value = self._model.version
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response


def rest_handler(model: Model) -> type[BaseHTTPRequestHandler]:
    """REST's side of a model: POST /v1/models/NAME:predict with `instances`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                status, answer = 200, {"predictions": _predictions(model, self.path, body)}
            except (ClientError, ValueError) as error:
                status, answer = 400, {"error": str(error)}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            """Says nothing."""

    return Handler


def _predictions(model: Model, path: str, body: bytes) -> list[dict]:
    """A dictionary per instance. An instance is a value, or the inputs by name."""
    if path != f"/v1/models/{model.name}:predict":
        raise ClientError(f"nothing at {path}")
    request = json.loads(body)
    signature = request.get("signature_name", "serving_default")
    instances = [_binary(instance) for instance in request["instances"]]
    if instances and isinstance(instances[0], dict):
        inputs = {key: [instance[key] for instance in instances] for key in instances[0]}
    else:
        inputs = {"image_bytes" if signature == "serving_default" else "images": instances}
    outputs = model.predict(signature, inputs)
    rows = zip(*outputs.values(), strict=True)
    return [dict(zip(outputs, map(_json, row), strict=True)) for row in rows]


def _binary(value):
    """Decodes {"b64": ...} wherever it stands."""
    if isinstance(value, dict):
        if value.keys() == {"b64"}:
            return base64.b64decode(value["b64"])
        return {key: _binary(item) for key, item in value.items()}
    return value


def _json(value):
    return value.decode() if isinstance(value, bytes) else value.tolist()


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rest_api_port", type=int, required=True)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--model_base_path", type=Path, required=True)
    flags = parser.parse_args()
    model = Model(flags.model_name, flags.model_base_path)
    model.warm_up()

    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(model), server
    )
    server.add_insecure_port(f"127.0.0.1:{flags.port}")
    rest = ThreadingHTTPServer(("127.0.0.1", flags.rest_api_port), rest_handler(model))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
