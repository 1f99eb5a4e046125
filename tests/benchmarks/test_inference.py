"""All exports in `dfk benchmark inference` answer alike: else they do not compare."""

import numpy as np
import pytest

from dfk.benchmarks import inference
from dfk.system import hardware


def test_all_answer_alike(narrow, tmp_path, monkeypatch):
    for module in ("tf2onnx", "openvino", "ai_edge_litert"):
        pytest.importorskip(module, reason="comes with the extra export")
    monkeypatch.setattr(inference, "_SIDE", 32)
    monkeypatch.setattr(hardware, "resolve_precision", lambda precision: "float32")
    flops, _ = inference._prepare(tmp_path)
    assert flops > 1e6
    expected = inference.saved_model(folder=str(tmp_path / "saved_model" / "1"), batch=3)()
    assert expected.shape == (3, 5) and np.ptp(expected, axis=0).max() > 1e-6
    for form, tolerance in (("onnx", 1e-4), ("litert", 1e-4), ("openvino", 2e-2)):
        answers = getattr(inference, form)(folder=str(tmp_path / form / "1"), batch=3)()
        np.testing.assert_allclose(answers, expected, atol=tolerance, err_msg=form)
