"""Which generator made these images? `python client.py IMAGE...` asks the model beside this file.

It prints CSV; the exit code is 1 if an image has no answer, and the row says why. It needs Python,
NumPy, Pillow and the runtime of the model: onnxruntime, openvino or ai-edge-litert. dfk checked
the model by this file; from Python: `client.load(folder)(images)`.

Pillow decodes here, TensorFlow where the model was trained. They give the same pixels of PNG, BMP
and lossless WebP, and nearly the same of what is lossy. GIFs are not read: frames are put
together differently.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

# Any batch of images of one size, uint8 [N, H, W, 3], to probabilities, float32 [N, C]
Answer = Callable[[np.ndarray], np.ndarray]

FACTS = "dfk.json"
# What `read` raises, of Pillow's own, too.
FAILURES = (ValueError, OSError, SyntaxError)

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_LEAST = np.finfo(np.float32).tiny


def load(folder: Path) -> Answer:
    """The model of a folder, by the runtime of its file."""
    for name, open_ in (("onnx", _onnx), ("xml", _openvino), ("tflite", _litert)):
        if (file := folder / f"model.{name}").is_file():
            return open_(str(file))
    raise SystemExit(f"there is no model in {folder}")


def _onnx(file: str) -> Answer:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _openvino(file: str) -> Answer:
    import openvino

    # As it was checked: a CPU that has bfloat16 would compute in that, faster and less exactly.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(file, "CPU", options)
    # A copy: the next request overwrites what it answers.
    return lambda images: compiled({"images": images})["probabilities"].copy()


def _litert(file: str) -> Answer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(file)
    runner = interpreter.get_signature_runner()
    return lambda images: runner(images=images)["probabilities"]


def read(file: str | BinaryIO, facts: dict) -> np.ndarray:
    """The pixels of an image that the model takes, uint8 [1, H, W, 3].

    Raises:
        ValueError, OSError: for any other; the message says why.
    """
    Image.MAX_IMAGE_PIXELS = None  # Here is a limit of its own.
    with Image.open(file, formats=_FORMATS) as image:
        width, height = image.size
        if getattr(image, "is_animated", False):
            raise ValueError("it is animated")
        if image.mode == "CMYK" or (image.format == "BMP" and image.mode in ("1", "P")):
            raise ValueError(f"{image.format} of mode {image.mode}: convert it to RGB")
        if min(height, width) < facts["smallest_image"]:
            raise ValueError(f"the model cannot take an image of {width} x {height}")
        if width * height > facts["max_pixels"] or max(width, height) > _side(facts):
            raise ValueError(f"{width} x {height} pixels are too many")
        if image.mode.startswith("I"):  # 16 bits of grey, cut to 8
            grey = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
            return np.repeat(grey[None, ..., None], 3, axis=3)
        return np.asarray(image.convert("RGB"))[None]


def _side(facts: dict) -> float:
    return facts["largest_side"] or math.inf


def is_known(probabilities: np.ndarray, facts: dict) -> bool:
    """Whether the logits of an image stand out as those of the model's own generators do."""
    logs = np.log(np.maximum(probabilities, _LEAST))
    return bool(logs.max() - logs.mean() >= facts["thresholds"].get("unknown_centred_logit", 0.0))


def main(paths: list[str]) -> int:
    """Answers for images, one after the other, and prints a row for each."""
    folder = Path(__file__).resolve().parent
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    names, answer, failed = facts["class_names"], load(folder), False
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["path", "label", "confidence", "known", *names, "error"])
    for path in paths:
        try:
            (probabilities,) = answer(read(path, facts))
            if not math.isfinite(probabilities.sum()):
                raise ValueError("the model has no answer")
        except FAILURES as error:
            failed = True
            table.writerow([path, *[""] * (len(names) + 3), " ".join(str(error).split())])
            continue
        k, known = int(probabilities.argmax()), is_known(probabilities, facts)
        shares = [f"{p:.6f}" for p in probabilities]
        table.writerow([path, names[k], shares[k], str(known).lower(), *shares, ""])
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
