"""Batches made by the workers of a tf.data service, in other processes."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from dfk import training
from dfk.config import parse
from dfk.data import augment, catalog, images, mixing, pipeline
from dfk.errors import UsageError
from tests.datasets import write_kaggle

DISPATCHER = (
    "import tensorflow as tf; service = tf.data.experimental.service; "
    "service.DispatchServer(service.DispatcherConfig(port={port})).join()"
)
WORKER = (
    "import tensorflow as tf; service = tf.data.experimental.service; service.WorkerServer("
    "service.WorkerConfig('127.0.0.1:{dispatcher}', '127.0.0.1:{port}', port={port})).join()"
)


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for(port, seconds=120):
    """Until something listens there: TensorFlow takes its time to start on a busy machine."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < end, f"nothing listens at {port}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A dispatcher and two workers, which see the images' files and nothing of this process."""
    folder = tmp_path_factory.mktemp("elsewhere")
    dispatcher = _free_port()
    programs = [DISPATCHER.format(port=dispatcher)]
    programs += [WORKER.format(dispatcher=dispatcher, port=_free_port()) for _ in range(2)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with contextlib.ExitStack() as stack:
        for program in programs:
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", program], cwd=folder, env=environment)
            )
            stack.callback(process.kill)
        _wait_for(dispatcher)
        yield f"grpc://127.0.0.1:{dispatcher}"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return write_kaggle(tmp_path_factory.mktemp("data"), counts={"train": 50, "validation": 10})


@pytest.fixture(scope="module")
def split(data_dir, tmp_path_factory):
    data = catalog.read(data_dir)
    return images.load(data).splits["train"]


def _epochs(split, epochs, **options):
    """The batches of each epoch, in the order of their bytes."""
    dataset = pipeline.make_dataset(
        split=split,
        classes=5,
        batch_size=4,
        training=True,
        augmentations=augment.parse(["flip", "jitter=0.3"]),
        mixer=mixing.make_mixer(1.0, 1.0, 0.5),
        class_weight=[1, 2, 3, 4, 5],
        epochs=epochs,
        **options,
    )
    assert int(dataset.cardinality()) == 12 * epochs
    made = [b"".join(x.tobytes() for x in batch) for batch in dataset.as_numpy_iterator()]
    return np.sort(np.reshape(np.array(made, object), [epochs, -1]), axis=1)


@pytest.mark.parametrize("options", [{}, {"image_size": 9, "balanced": True, "shard": (1, 2)}])
def test_every_epoch_has_the_batches_that_it_has_without(split, address, options):
    here = _epochs(split, 3, **options)
    np.testing.assert_array_equal(_epochs(split, 3, service=address, **options), here)
    assert len(set(here.ravel())) == 36


def test_a_run_trains_on_them(data_dir, tmp_path, address):
    flags = ["--epochs=2", "--image_size=0", "--train_crop=8", "--batch_size=9"]
    folders = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}"]
    (config,) = parse([*folders, *flags, f"--data_service={address}"])
    assert training.run(config)["epochs"] == 2
    assert address not in (config.run_dir / "config.flags").read_text()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:5050", "must look like grpc://HOST:PORT"),
        ("grpc://127.0.0.1", "must look like grpc://HOST:PORT"),
        ("grpc://127.0.0.1:{free}", "no dispatcher of tf.data service answers there"),
    ],
)
def test_a_service_that_is_not_there_is_named_before_any_work(tmp_path, address, message):
    address = address.format(free=_free_port())
    flags = [f"--data_dir={tmp_path}", f"--output_dir={tmp_path}", f"--data_service={address}"]
    with pytest.raises(UsageError, match=message):
        training.check(parse(flags))
