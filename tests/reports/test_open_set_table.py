"""The table of the runs that left a class out."""

from dfk.reports.open_set_table import table

FIGURES = {"auroc": 0.9, "fpr95": 0.3, "oscr": 0.6}


def _run(model, excluded, accuracy, auroc):
    figures = {**FIGURES, "auroc": auroc}
    return {
        "experiment": f"{model}_{excluded}",
        "model": model,
        "accuracy": accuracy,
        "open_set": {
            "excluded": excluded,
            "scores": {"probability": figures, "logit": None, "energy": FIGURES},
            "threshold": {"false_alarms": 0.04, "found": auroc / 2},
        },
    }


def test_the_table_ends_with_the_mean_of_each_model():
    runs = [_run("svm", "b", 0.9, 0.5), {}, _run("svm", "a", 0.8, 0.7), _run("ensemble", "a", 1, 1)]
    header, *rows = table(runs)
    assert [row[:3] for row in rows] == [
        ("a", "ensemble_a", "100.00%"),
        ("a", "svm_a", "80.00%"),
        ("b", "svm_b", "90.00%"),
        ("mean", "svm", "85.00%"),
    ]
    mean = dict(zip(header, rows[-1], strict=True))
    assert (mean["AUROC prob."], mean["AUROC logit"], mean["OSCR energy"]) == ("0.600", "", "0.600")
    assert (mean["known called unknown"], mean["unknown found"]) == ("4.0%", "30.0%")
    assert table([{"experiment": "svm"}]) == []
