"""The precision that follows from what computes."""

import subprocess
import sys

import pytest

from dfk.system import backend, hardware


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


def _group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_container_leaves_what_its_groups_leave(tmp_path):
    assert hardware._left_in_cgroup(tmp_path) == float("inf")
    stat = "anon 5\ninactive_file 30\n"
    _group(tmp_path, memory__max="max\n", memory__current="70\n", memory__stat=stat)
    assert hardware._left_in_cgroup(tmp_path) == float("inf")
    _group(tmp_path, memory__max="100\n")
    assert hardware._left_in_cgroup(tmp_path) == 100 - 70 + 30
    old = {"memory__limit_in_bytes": "90\n", "memory__usage_in_bytes": "80\n"}
    _group(tmp_path / "memory", **old, memory__stat="total_inactive_file 5\n")
    assert hardware._left_in_cgroup(tmp_path) == 90 - 80 + 5


def test_a_shell_may_leave_less_than_the_machine_has():
    code = (
        "import resource; from dfk.system import hardware; before = hardware.available_bytes();"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31));"
        "assert 0 < hardware.available_bytes() < 2**31 and before > 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
