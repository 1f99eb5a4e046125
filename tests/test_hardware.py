"""The precision that follows from what computes."""

import pytest

from dfk import backend, hardware


@pytest.mark.parametrize(
    ("accelerators", "cpu", "on_jax", "precision"),
    [
        ([], "avx2 avx512_bf16", False, "mixed_bfloat16"),
        ([], "amx_bf16", False, "mixed_bfloat16"),
        ([], "avx2", False, "float32"),
        ([], "avx2 avx512_bf16", True, "float32"),
        ([("H200", True)], "avx2", True, "mixed_bfloat16"),
        ([("H200", True), ("T4", False)], "avx512_bf16", False, "float32"),
    ],
)
def test_auto_is_bfloat16_where_it_is_computed_in(
    accelerators, cpu, on_jax, precision, monkeypatch
):
    monkeypatch.setattr(hardware, "_accelerators", lambda: accelerators)
    monkeypatch.setattr(hardware, "_cpuinfo", lambda key: cpu)
    monkeypatch.setattr(backend, "on_jax", lambda: on_jax)
    assert hardware.resolve_precision("auto") == precision
    assert hardware.resolve_precision("mixed_bfloat16") == "mixed_bfloat16"
