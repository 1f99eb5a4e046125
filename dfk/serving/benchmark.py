"""The load test of an exported model, as rows of what is required and what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from dfk import export
from dfk.data import demo
from dfk.errors import UsageError
from dfk.export.serving_files import EXTRA, FACTS
from dfk.export.signatures import BYTES
from dfk.serving.client import serving
from dfk.serving.load import Example, run_load

_IMAGES = 40
# By which a server's memory may grow over the last three quarters of a load.
_GROWTH_MIB = 100


def serve(model: str | Path, *, clients: int, requests: int) -> list[dict[str, Any]]:
    """Serves the newest version of a model and puts it under load.

    Args:
        model: the folder of an exported run, or of its versions.
        clients: that send at the same time.
        requests: of all clients together.

    Returns:
        Rows of `name`, `required` (None for what is only reported), `measured`, `met`.

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
        _row(f"server: {server.program}, requests", load.requests),
        _row("images", load.images),
        _row("of them broken", load.broken),
        _row("failed requests", load.failed, most=0),
        _row("wrong rows", load.wrong, most=0),
        _row("memory growth, MiB", load.growth_mib, most=_GROWTH_MIB),
        _row("p50, ms", load.p50_ms),
        _row("p99, ms", load.p99_ms),
        _row("images/s", load.images_per_s),
    ]


def _row(name: str, measured: float | None, most: float | None = None) -> dict[str, Any]:
    unknown = measured is None or most is None
    value = round(measured, 1) if isinstance(measured, float) else measured
    met = None if unknown else measured <= most
    return {"name": name, "required": most, "measured": value, "met": met}


def _examples(version: Path) -> list[Example]:
    """Images of the demo with the answers of the SavedModel in this process, and broken ones."""
    labels = [demo.label_of("test", i) for i in range(_IMAGES)]
    images = [demo.simulate("test", i, label) for i, label in enumerate(labels)]
    files = [tf.io.encode_png(image).numpy() for image in images]
    loaded = tf.saved_model.load(str(version))
    answers = loaded.signatures[BYTES](image_bytes=tf.constant(files))["probabilities"].numpy()
    # A header that claims 100,000 x 100,000 pixels; its checksum need not be read to refuse it.
    claims = files[0][:16] + (100_000).to_bytes(4) * 2 + files[0][24:]
    broken = [b"", b"text", files[0][: len(files[0]) // 2], claims]
    return [*map(Example, files, answers), *(Example(file, None) for file in broken)]
