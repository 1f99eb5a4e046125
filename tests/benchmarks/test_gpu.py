"""`dfk benchmark gpu` on a CPU: nothing without a GPU, and all of it at sizes that take seconds."""

import gzip
import importlib.util
import json

import pytest

from dfk import cli, config
from dfk.benchmarks.gpu import plan, profile, rows, whole
from dfk.benchmarks.gpu.plan import Case, Plan

has_torch = importlib.util.find_spec("torch") is not None
# What says how a step goes: the rest of a flag file is about how long, or how large.
STEP = ("optimizer", "weight_decay", "ema", "schedule", "momentum", "label_smoothing")
INPUT = ("augment", "mixup_alpha", "cutmix_alpha", "switch_prob", "sampling")


@pytest.mark.parametrize("network", plan.FLAGS)
def test_networks_are_trained_as_their_flag_files_say(network):
    ours = plan.config_of(Case(network, 100, 64))
    (theirs,) = config.parse([f"--flagfile=configs/{network}.flags", "--data_dir=x"])
    assert (ours.model, ours.options) == (theirs.model, theirs.options)
    assert [getattr(ours.fit, x) for x in STEP] == [getattr(theirs.fit, x) for x in STEP]
    assert [getattr(ours.input, x) for x in INPUT] == [getattr(theirs.input, x) for x in INPUT]
    assert ours.keras.class_weight == theirs.keras.class_weight
    if network == "residual_wide":
        _, _, crop, batch, epochs = plan.PLAN.whole
        told = theirs.input.train_crop, theirs.keras.batch_size, theirs.fit.epochs
        assert (crop, batch, epochs) == told


def test_without_a_gpu_what_is_required_is_null_and_says_why(capfd, tmp_path):
    pytest.importorskip("jax")
    file = tmp_path / "rows.jsonl"
    assert cli.main(["benchmark", "gpu", "--format=json", f"--rows={file}"]) == 0
    found = json.loads(capfd.readouterr().out)["rows"]
    assert len(found) == 16 + 2 + 1  # Epochs, VGG16's share at 128, the whole training
    assert all(row["met"] is None and row["measured"] is None for row in found)
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row.pop("note") for row in written} == {"JAX sees no GPU (pip install 'jax[cuda13]')"}
    assert written == found
    assert cli.main(["benchmark", "gpu", f"--rows={file}"]) == 2
    assert "is there already" in capfd.readouterr().err


TINY = Plan(
    (Case("deepfakenet", 16, 4),),
    images=16,
    seconds=0.1,
    compiled=False,
    whole=(18, 16, 12, 4, 3),
    files=(8, 2),
    matrix=64,
    on_gpu=False,
)


def _rows(some, trace=""):
    return {row.name: row for row in rows.rows(False, some, trace)}


@pytest.mark.slow
def test_all_of_it_is_measured_in_small(tmp_path):
    pytest.importorskip("jax")
    found = _rows(TINY, str(tmp_path))
    what = "DeepFakeNet at 16, batch 4"
    for row in (
        *("bf16 matrices, TFLOP/s", f"{what}: step, images/s", f"{what}: epoch, images/s"),
        f"{what}: step, share of the bf16 matrix rate",
        "residual_wide, 3 epochs as in its flag file, crops of 12 of 16, batch 4: s",
        *(
            f"residual_wide, {does}, {kind}: images/s"
            for does in ("predict", "features", "decoding")
            for kind in ("PNG of 100x100", "JPEG of a megapixel")
        ),
    ):
        assert found[row].measured > 0, row
    assert list(tmp_path.rglob("perfetto_trace.json.gz"))
    their = found[f"{what}: epoch, x the best PyTorch"]
    assert their.required == 1
    if has_torch:
        assert their.measured > 0 and their.note.startswith("the best is PyTorch eager with ")
        assert found[f"{what}: step, x PyTorch eager"].measured > 0
    else:
        assert their.measured is None
        assert their.note == "torch is not installed (pip install 'dfk-keras[bench]')"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # Its compiler's own
@pytest.mark.parametrize("network", plan.FLAGS)
def test_pytorch_trains_each_network_in_each_way(network):
    pytest.importorskip("torch", reason="comes with the extra bench")
    from dfk.benchmarks.gpu import theirs

    compiled = network == "residual_wide"  # The others take as long to compile.
    side = theirs.make(TINY._replace(compiled=compiled))
    assert side("prepare", case=Case(network, 32, 4)) == {"problems": {}}
    figures = side("measure")
    expected = {"eager", "resident", "loader"} | ({"compiled"} if compiled else set())
    assert set(figures) == expected and min(figures.values()) > 0
    assert side("nothing")["problem"].startswith("AttributeError")


@pytest.mark.slow
def test_when_time_is_over_what_is_left_says_so():
    pytest.importorskip("jax")
    found = _rows(TINY._replace(cases=TINY.cases * 2, budget=0.0, whole=(9, 16, 12, 4, 1)))
    late = [row for row in found.values() if row.note == rows._LATE]
    assert late and all(row.met is None for row in late)


def test_a_gpu_is_at_work_where_kernels_lie(tmp_path):
    events = [
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}},
        {"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "/host:CPU"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 7, "args": {"name": "Stream #7"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 8, "args": {"name": "Steps"}},
        {"ph": "X", "pid": 1, "tid": 7, "ts": 10, "dur": 10, "name": "a"},
        {"ph": "X", "pid": 1, "tid": 7, "ts": 15, "dur": 10, "name": "b"},
        {"ph": "X", "pid": 1, "tid": 7, "ts": 30, "dur": 5, "name": "c"},
        {"ph": "X", "pid": 1, "tid": 8, "ts": 0, "dur": 100, "name": "all"},
        {"ph": "X", "pid": 2, "tid": 7, "ts": 0, "dur": 100, "name": "d"},
    ]
    assert profile.busy(tmp_path) is None
    with gzip.open(tmp_path / "perfetto_trace.json.gz", "wt") as file:
        json.dump({"traceEvents": events}, file)
    assert profile.busy(tmp_path) == pytest.approx(20 / 25)


def test_a_plan_needs_no_more_epochs_than_are_measured():
    assert plan.PLAN.whole[-1] > whole._MEASURED
