"""NVIDIA Triton serves an export as it lies there. To run this:

    pip install --target=DIR --no-deps nvidia-pytriton 'numpy<2'
    DFK_TRITON=DIR pytest -m slow tests/export/test_triton.py

That package has a server from before NumPy 2, which is not told from NumPy 1 there: so the Python
that it starts has a NumPy of its own, and all else from here.
"""

import concurrent.futures
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.pictures import BROKEN, GOOD

DIR = os.environ.get("DFK_TRITON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DIR, reason="DFK_TRITON names no folder with NVIDIA Triton"),
]
NAME = "saved_model"  # Triton calls a model as its folder is called.


@pytest.fixture(scope="module")
def triton(exported, tmp_path_factory):
    """The address of Triton, which serves the export from another process."""
    folder = tmp_path_factory.mktemp("triton")
    parts = Path(DIR, "pytriton", "tritonserver")
    backend = shutil.copytree(parts / "backends" / "python", folder / "backends" / "python")
    stub = f"{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copy(parts / "python_backend_stubs" / stub, backend)
    (folder / "models").mkdir()
    (folder / "models" / NAME).symlink_to(exported)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(Path(DIR, "nvidia_pytriton.libs")),
        "PATH": f"{_python(folder / 'python')}:{os.environ['PATH']}",
    }
    command = [
        *(parts / "bin" / "tritonserver", f"--model-repository={folder / 'models'}"),
        *("--model-control-mode=explicit", f"--load-model={NAME}"),
        *(f"--backend-directory={folder / 'backends'}", f"--http-port={port}"),
        *("--http-address=127.0.0.1", "--allow-grpc=false", "--allow-metrics=false"),
    ]
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as running,
    ):
        address = f"http://127.0.0.1:{port}/v2/models/{NAME}"
        try:
            _wait_for(f"{address}/ready", running, folder / "log")
            yield address
        finally:
            running.kill()  # It would wait half a minute for its own end.


def _python(folder):
    """The folder of a Python that has NumPy of `DIR`, and the rest of this one."""
    venv.create(folder)
    here = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=here))
    (packages / "both.pth").write_text(f"{DIR}\n{sysconfig.get_path('purelib')}\n")
    # TensorFlow imports JAX where there is one, and that wants NumPy 2.
    (packages / "jax.py").write_text("raise ImportError\n")
    return folder / "bin"


def _wait_for(url, running, log):
    end = time.monotonic() + 180
    while time.monotonic() < end and running.poll() is None:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def _ask(address, files):
    """What the server answers to image files: a dictionary of lists."""
    body = b"".join(struct.pack("<I", len(data)) + data for data in files)
    parameters = {"binary_data_size": len(body)}
    head = {"name": "image_bytes", "shape": [len(files), 1], "datatype": "BYTES"}
    header = json.dumps({"inputs": [{**head, "parameters": parameters}]}).encode()
    request = urllib.request.Request(
        f"{address}/infer",
        header + body,
        {"Inference-Header-Content-Length": str(len(header))},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            outputs = json.load(answer)["outputs"]
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(error.read().decode()) from None
    return {x["name"]: np.reshape(x["data"], x["shape"]) for x in outputs}


def _batched(address):
    """Images that it has answered for, and the calls of the model that it took."""
    with urllib.request.urlopen(f"{address}/stats", timeout=60) as answer:
        told = json.load(answer)["model_stats"][0]
    return told["inference_count"], told["execution_count"]


def test_triton_answers_as_the_saved_model_for_good_and_broken_images_in_dynamic_batches(
    triton, exported
):
    good = [data for name, data in GOOD.items() if name != "large"]
    files = [x for pair in zip(good, [*BROKEN.values()] * len(good), strict=False) for x in pair]
    loaded = tf.saved_model.load(str(exported / "1"))
    wanted = loaded.signatures["serving_default"](image_bytes=tf.constant(files))
    before = _batched(triton)
    requests = [slice(i, i + 1 + i % 3) for i in range(len(files))] * 3
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = [*clients.map(lambda part: _ask(triton, files[part]), requests)]
    images, calls = np.subtract(_batched(triton), before)
    assert images == sum(len(files[part]) for part in requests)
    assert calls < len(requests)
    for part, answer in zip(requests, answers, strict=True):
        labels = [x.decode() for x in wanted["label"][part].numpy()]
        assert answer["label"][:, 0].tolist() == labels
        for name in ("valid", "known"):
            assert answer[name][:, 0].tolist() == wanted[name][part].numpy().tolist()
        probabilities = wanted["probabilities"][part].numpy()
        np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)
        np.testing.assert_allclose(answer["confidence"][:, 0], probabilities.max(1), atol=1e-5)
    assert {False, True} == set(wanted["valid"].numpy().tolist())


def test_what_is_no_request_is_refused_and_the_next_is_answered(triton):
    with pytest.raises(ValueError, match="batch-size must be <= 32"):
        _ask(triton, [GOOD["png"]] * 33)
    assert _ask(triton, [GOOD["png"]])["valid"].tolist() == [[True]]
