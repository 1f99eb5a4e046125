"""The export and its rivals in `dfk benchmark inference` answer alike: else they do not compare."""

import importlib.util

import numpy as np
import pytest

from dfk.benchmarks import inference
from dfk.system import hardware

RIVALS = [
    name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name) is not None
]


def test_all_answer_alike(narrow, tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="comes with the extra bench")
    monkeypatch.setattr(inference, "_SIDE", 32)
    monkeypatch.setattr(hardware, "resolve_precision", lambda precision: "float32")
    flops, _ = inference._prepare(tmp_path)
    assert flops > 1e6
    (exported,) = (tmp_path / "saved_model").glob("[0-9]*")
    expected = inference.saved_model(folder=str(exported), batch=3)()
    assert expected.shape == (3, 5) and np.ptp(expected, axis=0).max() > 1e-6
    make = {"onnxruntime": inference.onnx_runtime, "openvino": inference.openvino}
    assert RIVALS
    for name in RIVALS:
        answers = make[name](file=str(tmp_path / "ensemble.onnx"), batch=3)()
        np.testing.assert_allclose(answers, expected, atol=2e-2 if name == "openvino" else 1e-4)
