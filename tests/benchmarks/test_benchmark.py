"""`dfk benchmark` on sizes that take seconds."""

import json

import keras
import numpy as np
import pytest

from dfk import cli
from dfk.benchmarks import command, epoch, growth, head, input, pictures, steps, svm


def test_a_part_prints_its_rows_as_a_table_and_as_json(capfd, monkeypatch):
    monkeypatch.setattr(svm, "_USUAL", (60, 300, 20, 0.001))
    assert cli.main(["benchmark", "svm"]) == 0
    out, err = capfd.readouterr()
    assert "cores, matrices in float32 " in out.splitlines()[0]
    assert "SVM on 60 x 300, fit and predict 20: x SVC" in out and "met" in out
    assert "[1/1] svm, about 1 min left" in err
    assert cli.main(["benchmark", "svm", "--format=json"]) == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [list(row) for row in rows] == [["name", "required", "measured", "met"]] * 3
    assert rows[2]["measured"] == 0 and rows[2]["met"] is True


def test_what_is_not_met_ends_with_1(capfd, monkeypatch):
    monkeypatch.setattr(svm, "_USUAL", (60, 300, 20, 1e9))
    assert cli.main(["benchmark", "svm"]) == 1
    assert "NOT MET" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benchmark", "speed"], "invalid choice: 'speed'"),
        (["benchmark", "svm", "."], "only serve takes a MODEL, not svm"),
        (["benchmark", "svm", "--trace=profile"], "--trace is of gpu"),
    ],
)
def test_wrong_usage_is_a_message(arguments, message, capfd):
    assert cli.main(arguments) == 2
    assert message in capfd.readouterr().err


@pytest.mark.slow
def test_growth_measures_catalogs_and_predictions(monkeypatch):
    monkeypatch.setattr(growth, "_ROWS", (50, 500))
    monkeypatch.setattr(growth, "_FILES", (20, 200))
    monkeypatch.setattr(growth, "_WARM_UP", 10)
    rows = {row.name: row for row in growth.rows(full=False)}
    assert rows["catalog: time of 500 over 50"].required == 15
    assert rows["predict: time of 200 over 20"].measured > 0
    assert -64 < rows["predict 200 files: memory growth after 10, MiB"].measured < 512


@pytest.mark.slow
def test_the_commands_answer(monkeypatch):
    monkeypatch.setattr(command, "_ROUNDS", 1)
    help_, predict, ratio = command.rows(full=False)
    assert help_.measured < predict.measured
    # Starting Python is the larger part of the one, TensorFlow of the other.
    assert 0 < help_.measured < predict.measured
    assert ratio.measured > 0


SMALL = {"side": 32, "batch": 4}


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        *(
            (steps.keras_step, {"network": name, "precision": "float32", "stock": stock, **SMALL})
            for name in ("deepfakenet", "vgg16")
            for stock in (False, True)
        ),
        (epoch.fit, {"name": "deepfakenet2", "fed": True}),
        (epoch.fit, {"name": "vgg16", "fed": False}),
        (head.features_once, {}),
        (head.through_the_base, {}),
        (head.stock_head, {}),
    ],
)
def test_what_is_measured_trains(make, arguments, monkeypatch, narrow):
    _shrink(head, monkeypatch)
    trained, compile_ = [], keras.Model.compile
    monkeypatch.setattr(
        keras.Model,
        "compile",
        lambda model, *a, **k: trained.append(model) or compile_(model, *a, **k),
    )
    monkeypatch.setattr(
        epoch,
        "_TRAININGS",
        {k: v._replace(steps=2, batch_size=4, crop=32) for k, v in epoch._TRAININGS.items()},
    )
    run = make(**arguments)
    run()
    (model,) = trained
    before = model.get_weights()
    run()
    after = model.get_weights()
    assert all(np.isfinite(weights).all() for weights in after)
    assert not all(map(np.array_equal, before, after))


def test_an_epoch_of_input_is_of_whole_batches(monkeypatch):
    _shrink(input, monkeypatch)
    epoch_of_input = input.our_epoch()
    assert [epoch_of_input(), epoch_of_input()] == [2, 2]


def _shrink(module, monkeypatch):
    for name, value in (("_IMAGES", 8), ("_SIDE", 32), ("_BATCH", 4)):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("twin", ["Augmented", "Degraded"])
def test_the_data_loader_mixes_batches(tmp_path, decoded, twin):
    torch = pytest.importorskip("torch", reason="comes with the extra bench")
    from dfk.benchmarks import torch_input

    paths = pictures.write(tmp_path, pictures.images(10, 20))
    dataset = getattr(torch_input, twin)(paths, decoded)
    images, labels = torch_input.Mixed(0.2, 5)([dataset[i] for i in range(10)])
    assert images.shape == (10, 3, 20, 20) and images.dtype == torch.float32
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(10))
