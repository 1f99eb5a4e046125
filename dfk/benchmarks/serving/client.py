"""Starts a server on an exported model and talks to it over gRPC."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from dfk.errors import DfkError

STAND_IN = Path(__file__).with_name("stand_in.py")
REAL = "tensorflow_model_server"
_TIMEOUT_S, _START_S = 60, 120  # For an answer, and until a server gives one
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Server(NamedTuple):
    """A server that answers.

    Attributes:
        name: of the model.
        program: that serves it.
        grpc, rest: addresses, `host:port`.
        pid: of its process.
    """

    name: str
    program: str
    grpc: str
    rest: str
    pid: int


class Client:
    """Sends PredictRequests for one model over a channel of its own."""

    def __init__(self, server: Server):
        self._name = server.name
        self._channel = grpc.insecure_channel(server.grpc, options=_UNLIMITED)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict_bytes(self, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Answers for image files, by the names of the outputs."""
        return self._predict("serving_default", "image_bytes", np.array(files, object))

    def predict_images(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Answers for pixels, uint8 [N, H, W, 3]."""
        return self._predict("serve_images", "images", images)

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def _predict(self, signature: str, key: str, value: np.ndarray):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._name, signature
        dtype = tf.string if value.dtype == object else None
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value, dtype))
        outputs = self._stub.Predict(request, timeout=_TIMEOUT_S).outputs
        return {key: tf.make_ndarray(output) for key, output in outputs.items()}


@contextlib.contextmanager
def serving(folder: Path, name: str) -> Iterator[Server]:
    """Serves a folder of versions on loopback, in a process of its own, until the block ends.

    The program is `tensorflow_model_server` where it is on the PATH, else the stand-in.

    Raises:
        DfkError: if the server ends, or does not answer within two minutes.
    """
    port, rest_port = _free_port(), _free_port()
    real = shutil.which(REAL)
    batching = ["--enable_batching", "--enable_per_model_batching_parameters"]
    command = [
        *([real, *batching] if real else [sys.executable, str(STAND_IN)]),
        *(f"--port={port}", f"--rest_api_port={rest_port}"),
        *(f"--model_name={name}", f"--model_base_path={folder.resolve()}"),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            server = Server(
                name=name,
                program=REAL if real else STAND_IN.stem,
                grpc=f"127.0.0.1:{port}",
                rest=f"127.0.0.1:{rest_port}",
                pid=process.pid,
            )
            _wait(server, process, log)
            yield server
        finally:
            process.terminate()
            process.wait()


def _wait(server: Server, process: subprocess.Popen, log) -> None:
    end = time.monotonic() + _START_S
    client = Client(server)
    with contextlib.closing(client):
        while True:
            with contextlib.suppress(grpc.RpcError):
                client.predict_bytes([b""])  # A server that batches refuses a batch of none.
                return
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()[-5:]
                raise DfkError(f"{server.program} does not answer:", *said)
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
