"""An exported model under load."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import tensorflow as tf

from dfk import export
from dfk.benchmarks.command import write_model
from dfk.benchmarks.rows import Row
from dfk.benchmarks.serving.client import serving
from dfk.benchmarks.serving.load import Example, run_load
from dfk.data import embedded
from dfk.errors import UsageError
from dfk.export.serving_files import EXTRA, FACTS
from dfk.export.signatures import BYTES

_IMAGES, _CLIENTS = 40, 8
# By which a server's memory may grow over the last three quarters of a load.
_GROWTH_MIB = 100


def rows(full: bool) -> list[Row]:
    """A DeepFakeNet with fresh weights under load."""
    with tempfile.TemporaryDirectory(prefix="dfk-benchmark-") as scratch:
        folder = Path(scratch)
        export.export(write_model(folder), folder / export.FOLDER)
        return serve(folder, clients=_CLIENTS, requests=2000 if full else 200)


def serve(model: str | Path, *, clients: int, requests: int) -> list[Row]:
    """Serves the newest version of a model and puts it under load.

    Args:
        model: the folder of an exported run, or of its versions.
        clients: that send at the same time.
        requests: of all clients together.

    Returns:
        The table's rows.

    Raises:
        UsageError: if there is no version.
        DfkError: if the server does not start.
    """
    folder = Path(model)
    if not export.versions(folder):
        folder = folder / export.FOLDER
    if not (numbers := export.versions(folder)):
        raise UsageError(f"{model} holds no exported version; `dfk export {model}` writes one")
    newest = folder / str(numbers[-1])
    name = json.loads((newest / EXTRA / FACTS).read_text())["name"]
    examples = _examples(newest)
    with serving(folder, name) as server:
        load = run_load(server, examples, clients=clients, requests=requests)
    return [
        Row(f"server: {server.program}, requests", load.requests),
        Row("images", load.images),
        Row("of them broken", load.broken),
        Row("failed requests", load.failed, 0, at_most=True),
        Row("wrong rows", load.wrong, 0, at_most=True),
        Row("memory growth, MiB", _tenths(load.growth_mib), _GROWTH_MIB, at_most=True),
        Row("p50, ms", _tenths(load.p50_ms)),
        Row("p99, ms", _tenths(load.p99_ms)),
        Row("images/s", _tenths(load.images_per_s)),
    ]


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _examples(version: Path) -> list[Example]:
    """Images of the demo with the answers of the SavedModel in this process, and broken ones."""
    labels = [embedded.label_of("test", i) for i in range(_IMAGES)]
    images = [embedded.simulate("test", i, label) for i, label in enumerate(labels)]
    files = [tf.io.encode_png(image).numpy() for image in images]
    loaded = tf.saved_model.load(str(version))
    answers = loaded.signatures[BYTES](image_bytes=tf.constant(files))["probabilities"].numpy()
    # A header that claims 100,000 x 100,000 pixels; its checksum need not be read to refuse it.
    claims = files[0][:16] + (100_000).to_bytes(4) * 2 + files[0][24:]
    broken = [b"", b"text", files[0][: len(files[0]) // 2], claims]
    return [*map(Example, files, answers), *(Example(file, None) for file in broken)]
