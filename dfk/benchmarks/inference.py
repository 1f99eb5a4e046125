"""The exported ensemble: its SavedModel beside its exports for other runtimes."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dfk.benchmarks import machine
from dfk.benchmarks.contest import Contestant, Measured, contest
from dfk.benchmarks.rows import Row, ratio, rounded
from dfk.system import hardware

_SIDE = 100
# How many times as fast as each export the SavedModel has to be. OpenVINO's is there for those who
# want what is fastest on a CPU: it runs a convolution and what follows as one kernel.
_LEAST = {"--format=onnx": 1.0, "--format=openvino": None, "--format=litert": 1.0}
# By batch, how many turns each contestant has, and requests in a turn: enough for a p99 where
# requests are small.
_TURNS = {1: (10, 10), 8: (8, 5), 64: (3, 2)}


def rows(full: bool) -> list[Row]:
    """Exports an ensemble of DeepFakeNet and VGG16 and runs it on batches of several sizes."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="dfk-benchmark-") as scratch:
        folder = Path(scratch)
        flops, note = _prepare(folder)
        for batch, (rounds, at_once) in _TURNS.items():
            figures += _rows(folder, batch, (rounds * (3 if full else 1), at_once), flops, note)
    return figures


def _rows(folder: Path, batch: int, turns: tuple[int, int], flops: float, note: str) -> list[Row]:
    from dfk.export import portable

    precision = hardware.resolve_precision("auto")

    def contestant(name: str, make: Callable[..., Measured], form: str) -> Contestant:
        arguments = {"folder": str(folder / form / "1"), "batch": batch}
        return Contestant(name, make, arguments, portable.MODULES.get(form, ()))

    ours = contestant(f"dfk {precision}, batch {batch}", saved_model, "saved_model")
    makers = {"onnx": onnx, "openvino": openvino, "litert": litert}
    rivals = [contestant(f"--format={form}", make, form) for form, make in makers.items()]
    measured = contest(ours, rivals, rounds=turns[0], at_once=turns[1])
    what = f"ensemble of DeepFakeNet and VGG16 at {_SIDE}, batch {batch}"
    speed = batch / measured.median
    return [
        Row(f"{what}: images/s", rounded(speed)),
        Row(f"{what}: p99, ms", rounded(1000 * measured.p99)),
        Row(
            f"{what}: share of the {precision} matrix rate",
            rounded(speed * flops / machine.rate(precision)),
        ),
        *(
            ratio(f"{what}: x {result.name}", [result], _LEAST[result.name])._replace(
                note=result.problem or note
            )
            for result in measured.results
        ),
    ]


def _prepare(folder: Path) -> tuple[float, str]:
    """Exports an ensemble in all formats; returns the FLOPs of an image, and a note."""
    import keras

    from dfk import export, models
    from dfk.export import portable

    keras.utils.set_random_seed(0)
    shape = (None, None, 3)
    # Fresh weights answer huge logits, whose softmax would show every rounding.
    members = [
        models.BUILDERS[name](input_shape=shape, temperature=100.0)
        for name in ("deepfakenet", "vgg16")
    ]
    ensemble = models.Ensemble(members, method="confidence")
    file = folder / "ensemble.keras"
    ensemble.save(file)
    precision = hardware.resolve_precision("auto")
    export.export(file, folder / "saved_model", precision=precision)
    flops = sum(machine.inference_flops(models.network_of(m), _SIDE) for m in members)
    for form, modules in portable.MODULES.items():
        if all(importlib.util.find_spec(module) for module in modules):
            export.export(file, folder / form, form=form)
    return flops, "OpenVINO computes in bfloat16 where dfk does, the others in float32"


def _images(batch: int) -> np.ndarray:
    shape = (batch, _SIDE, _SIDE, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def saved_model(*, folder: str, batch: int) -> Measured:
    """A request for pixels to the SavedModel, as TF Serving runs it."""
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)
    function, images = loaded.signatures["serve_images"], tf.constant(_images(batch))

    def run() -> np.ndarray:
        _ = loaded  # It keeps the variables.
        return function(images=images)["probabilities"].numpy()

    return run


def onnx(*, folder: str, batch: int) -> Measured:
    """The same in ONNX Runtime, with as many threads as cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = hardware.cores()
    file = f"{folder}/model.onnx"
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    images = _images(batch)
    return lambda: session.run(None, {"images": images})[0]


def openvino(*, folder: str, batch: int) -> Measured:
    """The same in OpenVINO with its defaults for one request at a time."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(f"{folder}/model.xml")
    model.reshape([batch, _SIDE, _SIDE, 3])
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    request, images = compiled.create_infer_request(), _images(batch)
    return lambda: request.infer({"images": images})[0]


def litert(*, folder: str, batch: int) -> Measured:
    """The same in LiteRT, with as many threads as cores."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(f"{folder}/model.tflite", num_threads=hardware.cores())
    runner, images = interpreter.get_signature_runner(), _images(batch)
    return lambda: runner(images=images)["probabilities"]
