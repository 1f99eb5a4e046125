"""The order of the rooms: each imports only from those below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dfk

ROOT = Path(dfk.__file__).parent

# From the top to the bottom; rooms that share a floor do not import each other.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("benchmarks",),
    ("training",),
    ("reports", "web", "export"),
    ("inference",),
    ("models",),
    ("model_files",),
    ("data",),
    ("layers", "runs"),
    ("system",),
    ("config",),
    ("evaluation",),
    ("errors",),
    ("text",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def _imported(source: str) -> Iterator[str]:
    """The rooms that a module's text imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "dfk":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dfk."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (x.name.split(".")[1] for x in node.names if x.name.startswith("dfk."))


def _wrong(room: str, source: str) -> list[str]:
    """The rooms that a module of `room` imports and may not."""
    others = [other for other in _imported(source) if other != room]
    return [other for other in others if FLOOR[other] <= FLOOR[room]]


MODULES = [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.py"))]


@pytest.mark.parametrize("module", [m for m in MODULES if m.name != "__init__.py" or m.parent.name])
def test_a_room_imports_only_from_those_below_it(module):
    room = module.parts[0].removesuffix(".py")
    assert _wrong(room, (ROOT / module).read_text()) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from dfk.layers import Resizing", []),
        ("from dfk import layers, inference", ["inference"]),
        ("def f():\n    import dfk.training.phases", ["training"]),
        ("if TYPE_CHECKING:\n    from dfk.reports.mistakes import Mistake", ["reports"]),
    ],
)
def test_another_arrow_is_seen(source, wrong):
    assert _wrong("models", source) == wrong


# Modules that are tested with those that use them, by the tests that do so.
ELSEWHERE = {
    "__main__": "test_cli",
    "errors": "test_text",
    "config/start": "models/test_following",
    "models/starts": "models/test_transfer",
    "benchmarks/command": "benchmarks/test_benchmark",
    "benchmarks/epoch": "benchmarks/test_benchmark",
    "benchmarks/gpu/ours": "benchmarks/test_gpu",
    "benchmarks/gpu/plan": "benchmarks/test_gpu",
    "benchmarks/gpu/profile": "benchmarks/test_gpu",
    "benchmarks/gpu/rows": "benchmarks/test_gpu",
    "benchmarks/gpu/scoring": "benchmarks/test_gpu",
    "benchmarks/gpu/theirs": "benchmarks/test_gpu",
    "benchmarks/gpu/torch_batches": "benchmarks/test_gpu",
    "benchmarks/gpu/whole": "benchmarks/test_gpu",
    "benchmarks/growth": "benchmarks/test_benchmark",
    "benchmarks/head": "benchmarks/test_benchmark",
    "benchmarks/input": "benchmarks/test_benchmark",
    "benchmarks/machine": "benchmarks/test_twins",
    "benchmarks/parts": "benchmarks/test_benchmark",
    "benchmarks/pictures": "benchmarks/test_benchmark",
    "benchmarks/serve": "benchmarks/serving/test_serving",
    "benchmarks/serving/client": "benchmarks/serving/test_serving",
    "benchmarks/serving/load": "benchmarks/serving/test_serving",
    "benchmarks/serving/stand_in": "benchmarks/serving/test_serving",
    "benchmarks/steps": "benchmarks/test_benchmark",
    "benchmarks/stock": "benchmarks/test_twins",
    "benchmarks/svm": "benchmarks/test_benchmark",
    "benchmarks/torch_input": "benchmarks/test_benchmark",
    "benchmarks/torch_networks": "benchmarks/test_twins",
    "commands/audit": "data/test_audit",
    "data/device_kernels": "data/test_resident",
    "data/draws": "data/test_augment",
    "commands/benchmark": "benchmarks/test_benchmark",
    "commands/compare": "reports/test_comparison",
    "commands/explain": "inference/test_explain",
    "commands/export": "export/test_export",
    "commands/info": "inference/test_description",
    "commands/prepare": "data/test_preparation",
    "commands/recipes": "config/test_recipes",
    "commands/results": "reports/test_runs_page",
    "commands/summary": "commands/test_predict",
    "commands/train": "test_cli",
    "config/augmentation": "data/test_augment",
    "config/checks": "config/test_parsing",
    "config/conditions": "config/test_parsing",
    "config/experiment": "config/test_groups",
    "config/flag_files": "config/test_parsing",
    "config/knobs": "config/test_groups",
    "config/options": "config/test_groups",
    "data/audit_warnings": "data/test_audit",
    "data/batch_order": "data/test_pipeline",
    "data/c2pa_child": "data/test_c2pa_manifests",
    "data/exif": "data/test_claims",
    "data/leakage": "data/test_audit",
    "data/metadata": "data/test_claims",
    "data/problems": "data/test_catalog",
    "data/tables": "data/test_layouts",
    "data/limits": "inference/test_classifier",
    "data/pixels": "inference/test_classifier",
    "data/stored": "data/test_images",
    "data/xmp": "data/test_claims",
    "evaluation/calibration": "evaluation/test_metrics",
    "evaluation/comparison": "reports/test_comparison",
    "export/check": "export/test_export",
    "export/client": "export/test_portable",
    "export/compact": "export/test_export",
    "export/dense": "export/test_signatures",
    "export/graph": "export/test_portable",
    "export/litert_file": "export/test_portable",
    "export/onnx_file": "export/test_portable",
    "export/openvino_file": "export/test_portable",
    "export/saved_model": "export/test_export",
    "export/serving_files": "export/test_export",
    "inference/batching": "inference/test_classifier",
    "inference/cells": "inference/test_answers",
    "inference/loading": "inference/test_classifier",
    "inference/panels": "inference/test_explain",
    "inference/on_ray/cluster": "commands/test_predict_ray",
    "inference/on_ray/inputs": "commands/test_predict_ray",
    "inference/on_ray/output_folder": "commands/test_predict_ray",
    "inference/on_ray/progress": "commands/test_predict_ray",
    "inference/on_ray/scoring": "commands/test_predict_ray",
    "layers/sizes": "layers/test_native_crops",
    "model_files/archives": "model_files/test_keras_files",
    "model_files/bounds": "model_files/test_keras_files",
    "model_files/hdf5": "model_files/test_keras_files",
    "model_files/keras_config": "model_files/test_keras_files",
    "model_files/operations": "model_files/test_saved_models",
    "model_files/refused": "model_files/test_keras_files",
    "model_files/skops_files": "models/test_svm",
    "reports/audit_page": "data/test_audit",
    "reports/html": "reports/test_report",
    "reports/labelled": "commands/test_evaluate",
    "reports/predictions": "reports/test_comparison",
    "reports/class_plots": "reports/test_samples",
    "reports/standing": "reports/test_runs_page",
    "reports/robustness_plots": "reports/test_robustness",
    "reports/thumbnails": "reports/test_report",
    "runs/checkpoint_file": "runs/test_folder",
    "runs/columns": "data/test_class_names",
    "runs/ownership": "runs/test_folder",
    "runs/records": "runs/test_folder",
    "system/backend": "system/test_hardware",
    "system/messages": "system/test_interrupts",
    "system/terminal": "test_text",
    "training/checkpoint": "training/test_phases",
    "training/features": "training/test_fitting",
    "training/jax_devices": "end_to_end/test_jax",
    "training/multi_worker": "end_to_end/test_multi_worker",
    "training/scoring": "training/test_experiment",
    "web/application": "web/test_attacks",
    "web/html": "commands/test_demo",
    "web/uploads": "web/test_attacks",
}


def test_every_module_has_its_tests_by_name_or_is_told_where_they_are():
    tests = Path(__file__).parent
    modules = {m.with_suffix("").as_posix() for m in MODULES if m.name != "__init__.py"}
    named = {m for m in modules if (tests / m).with_name(f"test_{Path(m).name}.py").is_file()}
    assert modules - named == set(ELSEWHERE)
    assert all((tests / f"{place}.py").is_file() for place in ELSEWHERE.values())


@pytest.mark.parametrize("module", [m for m in MODULES if len(m.parts) > 1])
def test_no_name_of_a_room_hides_a_module(module):
    """`import dfk.models.classifier as m` gives what the room has of that name."""
    path, name = (ROOT / module), module.with_suffix("").name
    room = ".".join(["dfk", *module.parts[:-1]])
    face = ast.parse(path.with_name("__init__.py").read_text())
    imported = [x for x in face.body if isinstance(x, ast.ImportFrom) and x.module != room]
    assert name not in [x.name for node in imported for x in node.names]
