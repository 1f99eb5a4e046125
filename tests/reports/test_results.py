"""The table over all runs of a folder."""

import json

import numpy as np
import pytest

from dfk.data.catalog import Catalog, Split
from dfk.reports import results, standing

METRICS = {
    "experiment": "deepfakenet",
    "data_dir": "data/unibuc",
    "split": "validation",
    "n": 1250,
    "accuracy": 0.9,
    "accuracy_ci95": [0.882, 0.915],
    "macro_f1": 0.899,
    "per_class": [
        {"class": "0", "f1": 0.95, "support": 625},
        {"class": "4", "f1": 0.81, "support": 625},
        {"class": "5", "f1": 0.0, "support": 0},
    ],
    "ece": 0.021,
    "published_accuracy": 0.9016,
    "parameters": 288_997,
    "wall_time_s": 3725.0,
    "train_images_per_s": 139.6,
}


@pytest.fixture
def output_dir(tmp_path):
    """Finished runs, one that is not, and a folder that is none."""
    for name in ("zebra", "deepfakenet", "a|b", "svm"):
        (tmp_path / name).mkdir()
        metrics = json.dumps({**METRICS, "experiment": name})
        (tmp_path / name / "metrics.json").write_text(metrics)
        right = 9 if name == "deepfakenet" else 2  # Of nine images
        rows = [f"i{i},0,{int(i >= right)}" for i in range(9)]
        text = "\n".join(["image_id,label,predicted", *rows])
        (tmp_path / name / "predictions.csv").write_text(text + "\n")
    (tmp_path / "unfinished").mkdir()
    return tmp_path


def _table(output_dir):
    """What stands in results.md."""
    results.write_results(output_dir)
    return (output_dir / "results.md").read_text().removeprefix("# Results\n\n")


def test_the_studys_experiments_come_first(output_dir):
    results.write_results(output_dir)
    found = json.loads((output_dir / "results.json").read_text())
    assert [row["experiment"] for row in found] == ["svm", "deepfakenet", "a|b", "zebra"]


def test_the_table_shows_the_figures_beside_the_published_ones(output_dir):
    table = _table(output_dir)
    assert table in (output_dir / "results.md").read_text()
    row = next(line for line in table.splitlines() if "deepfakenet" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        *(
            "deepfakenet",
            "unibuc",
            "validation",
            "1250",
            "90.00%",
            "88.2% to 91.5%",
            "90.16%",
            "0.094",
        ),
        *("0.899", "0.810 (4)", "0.021", "288,997", "1 h 02 min", "140"),
    ]
    assert r"a\|b" in table


def test_a_column_that_no_row_fills_is_left_out(output_dir):
    assert "robustness" not in _table(output_dir)
    path = output_dir / "zebra" / "metrics.json"
    sets = [{"coverage": 0.9, "mean_size": 1.1}, {"coverage": 0.95, "mean_size": 1.31}]
    more = {"robustness_mean": 0.5, "brier": 0.25, "conformal": sets}
    path.write_text(json.dumps(METRICS | more))
    header, _, *rows = _table(output_dir).partition("\n\n")[0].splitlines()
    assert "robustness" in header and "Brier" in header
    assert "50.00%" in rows[-1] and "0.250" in rows[-1] and " 1.31 " in rows[-1]


def test_an_evaluation_in_the_folder_is_a_row_under_its_own_name(output_dir):
    scored = {k: v for k, v in METRICS.items() if not k.startswith(("wall", "train_", "param"))}
    del scored["published_accuracy"]
    scored["model"] = "runs/mine/model.keras"  # As an earlier version has it; now it is the kind
    (output_dir / "scored").mkdir()
    (output_dir / "scored" / "metrics.json").write_text(json.dumps(scored))
    predictions = (output_dir / "svm" / "predictions.csv").read_text()
    (output_dir / "scored" / "predictions.csv").write_text(predictions)
    table = _table(output_dir)
    assert "| scored " in table


def test_seeds_are_summed_up_by_mean_and_deviation(output_dir):
    for seed, accuracy in enumerate((0.7, 0.8, 0.9)):
        folder = output_dir / f"cnn-seed{seed}"
        folder.mkdir()
        metrics = METRICS | {"seed": seed, "accuracy": accuracy}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "predictions.csv").write_text("image_id,label,predicted\na,0,0\n")
    _, over_seeds = _table(output_dir).split("## Over seeds")
    assert over_seeds.strip() in results.summary(standing.read(output_dir))
    row = [cell.strip() for cell in over_seeds.strip().splitlines()[-1].strip("|").split("|")]
    assert row == ["cnn", "0, 1, 2", "80.00%", "10.00 points", "70.00%", "90.00%"]


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"[]",
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"[" * 9999,
        json.dumps(METRICS)[:-9].encode(),
    ],
)
def test_metrics_that_cannot_be_read_are_left_out_and_named(output_dir, content):
    (output_dir / "odd\nname").mkdir()
    (output_dir / "odd\nname" / "metrics.json").write_bytes(content)
    (output_dir / "folder" / "metrics.json").mkdir(parents=True)
    table = _table(output_dir)
    (line,) = [line for line in table.splitlines() if line.startswith("Left out: ")]
    assert r"odd\nname/metrics.json is damaged" in line
    assert "folder/metrics.json is damaged: it is no file" in line
    assert len(json.loads((output_dir / "results.json").read_text())) == 4
    assert line in (output_dir / "results.md").read_text()


@pytest.mark.parametrize("field", METRICS)
@pytest.mark.parametrize("value", [None, "x", [], {}, -1e300, 10**400, True, [[]], float("nan")])
def test_a_field_of_another_kind_ends_no_table(output_dir, field, value):
    metrics = json.dumps(METRICS | {field: value})
    (output_dir / "svm" / "metrics.json").write_text(metrics)
    assert "| zebra" in _table(output_dir)


def test_predictions_that_cannot_be_read_leave_a_p_out(output_dir):
    (output_dir / "svm" / "predictions.csv").write_bytes(b"\xff")
    (output_dir / "zebra" / "predictions.csv").unlink()
    table = _table(output_dir)
    assert "svm/predictions.csv is no predictions.csv" in table
    assert "zebra/predictions.csv" in table and "| zebra" in table


def test_what_is_hidden_is_no_row(output_dir):
    (output_dir / ".svm.new").mkdir()
    (output_dir / ".svm.new" / "metrics.json").write_text(json.dumps(METRICS))
    assert ".svm.new" not in _table(output_dir)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(42.4, "42 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations_read_well(seconds, text):
    assert results.duration(seconds) == text


@pytest.mark.parametrize(
    ("classes", "size", "figure"), [("01234", 100, 0.9016), ("01234", 64, None), ("01", 100, None)]
)
def test_published_figures_stand_only_beside_their_task(classes, size, figure):
    split = Split(["a"], ["a.png"], np.zeros(1), ["a.png"], [np.zeros((size, size, 3))])
    data = Catalog(tuple(classes), {"train": split})
    assert results.published("deepfakenet", data) == figure
    assert results.published("mine", data) is None


def test_a_name_in_a_table_is_no_markup():
    table = results._markdown([["experiment"], ["a|b `<b>` [x](y) *\x1b[2J\nc\\"]])
    assert table.count("\n") == 3
    assert table.splitlines()[2] == r"| a\|b \`\<b\>\` \[x\](y) \*\\x1b\[2J\\nc\\ |"
