"""The page over all runs of a folder, `dfk results`, and who is said to be best: standing, too."""

import csv
import io
import json
import shutil

import numpy as np
import pytest

from dfk import cli
from dfk.evaluation.comparison import holm
from dfk.evaluation.metrics import wilson
from dfk.reports import results, runs_page, standing
from tests.reports.rendered import Page

N = 400
# Name -> how many of the images are right, and how many of these the best has wrong
RIGHT = {"residual_wide": (386, 0), "residual_long": (378, 6), "svm": (250, 10), "<b>&": (340, 8)}


def _write(folder, name, right, other, **more):
    """A run with the files that the page reads."""
    run = folder / name
    run.mkdir(parents=True)
    hits = np.arange(N) < right
    hits[-other - 1 : -1] = other > 0
    low, high = wilson(int(hits.sum()), N)
    metrics = {
        "experiment": name,
        "data_dir": "data/unibuc",
        "split": "validation",
        "n": N,
        "accuracy": float(hits.mean()),
        "accuracy_ci95": [low, high],
        "macro_f1": 0.9,
        "per_class": [{"class": c, "f1": 0.9, "support": N // 2} for c in "01"],
        "ece": 0.02,
        "wall_time_s": 61.0,
        **more,
    }
    (run / "metrics.json").write_text(json.dumps(metrics))
    rows = [f"i{i},0,{int(not hit)}" for i, hit in enumerate(hits)]
    (run / "predictions.csv").write_text("\n".join(["image_id,label,predicted", *rows]) + "\n")
    (run / "report.html").write_text("<title>x · dfk report</title>")
    (run / "config.flags").write_text(f"--experiment={name}\n--epochs={right}\n--seed=0\n")
    if name != "svm":
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(
            ["epoch", "loss", "accuracy", "holdout_loss", "holdout_accuracy", "learning_rate"]
        )
        for epoch in range(1, 21):
            loss = 1.6 * np.exp(-epoch * right / 3000) + 0.2
            table.writerow([epoch, loss, 0.5, loss, 1 - loss / 2, 0.1])
        (run / "history.csv").write_text(out.getvalue())


@pytest.fixture
def browser():
    """A page of the system's Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started.new_page()
        started.close()


@pytest.fixture
def folder(tmp_path):
    for name, (right, other) in RIGHT.items():
        _write(tmp_path / "runs", name, right, other)
    return tmp_path / "runs"


def test_holm_corrects_each_p_for_those_that_are_left():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_best_is_named_with_what_chance_may_explain(folder):
    (task,) = standing.read(folder).tasks
    assert (task.best, task.ties) == ("residual_wide", ["residual_long"])
    assert task.p("svm", "residual_long") == task.p("residual_long", "svm") < 1e-9
    assert task.verdict.startswith("Best: residual_wide; no further from it than chance may expl")


def test_a_run_on_other_images_stands_by_itself(folder):
    _write(folder, "elsewhere", 200, 0, data_dir="data/mine")
    first, second = standing.read(folder).tasks
    assert [row["experiment"] for row in second.rows] == ["elsewhere"] and not second.verdict
    assert first.p("svm", "elsewhere") is None
    assert len(Page((_page(folder)).decode()).named("table")) == 3 + 1


def _page(folder):
    return runs_page.page(folder, standing.read(folder))


def test_the_page_shows_each_run_its_interval_and_where_its_report_is(folder):
    page = Page(_page(folder).decode())
    links = [a["href"] for a in page.named("a")]
    assert links == [
        "residual_wide/report.html",
        "residual_long/report.html",
        "%3Cb%3E%26/report.html",
        "svm/report.html",
    ]
    assert "residual_wide best" in page.words and "residual_long tie" in page.words
    assert "<b>&" not in page.source and "src=" not in page.source
    bands = [i["style"] for i in page.named("i") if i.get("class") == "band"]
    assert len(bands) == 4
    # The axis runs from 60 % to 100 %; the last bar is that of svm.
    low, high = wilson(260, N)
    left, width = (float(part.split(":")[1].strip(" %")) for part in bands[-1].split(";"))
    assert left == pytest.approx((low - 0.6) / 0.4 * 100, abs=0.02)
    assert width == pytest.approx((high - low) / 0.4 * 100, abs=0.02)


def test_curves_lie_over_each_other_and_flags_that_differ_are_listed(folder):
    page = Page(_page(folder).decode())
    assert page.source.count('aria-label="Holdout') == 2
    assert page.source.count("stroke: var(--series-2)") >= 2  # Three runs have epochs.
    assert "stroke: var(--series-3)" not in page.source
    assert "--epochs 386 378 340 250" in page.words
    assert "--seed" not in page.words and "--experiment" not in page.words


def test_what_is_damaged_is_left_out_and_said(folder):
    (folder / "svm" / "predictions.csv").write_bytes(b"\xff")
    (folder / "residual_long" / "history.csv").write_bytes(b"\xff")
    shutil.rmtree(folder / "<b>&")
    page = Page(_page(folder).decode())
    assert "svm/predictions.csv is no predictions.csv" in page.words
    assert "residual_long tie" in page.words


def test_the_command_fits_a_terminal_and_writes_the_page(folder, capsys):
    assert cli.main(["results", str(folder)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [line.count("|") for line in lines[:6]] == [6] * 6
    assert max(map(len, lines[:-1])) <= 80 and "| < 0.001 |" in lines[5]
    assert lines[2].startswith("| residual_wide") and "| best" in lines[2]
    assert lines[-1] == f"page    {folder}/index.html" and (folder / "index.html").is_file()
    assert "| residual_wide" in (folder / "results.md").read_text()


def test_another_run_may_be_what_all_are_compared_with(folder, capsys):
    assert cli.main(["results", str(folder), "--against=svm", "--format=json"]) == 0
    rows = {row["experiment"]: row["p"] for row in json.loads(capsys.readouterr().out)}
    assert rows["svm"] is None and 0 < rows["residual_wide"] < 1e-9
    assert cli.main(["results", str(folder), "--against=svn"]) == 2
    assert "there is no finished run 'svn'; there are " in capsys.readouterr().err


def test_a_folder_without_runs_and_a_page_of_others_are_refused(folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["results", str(tmp_path / "empty")]) == 1
    assert "there is no finished run in" in capsys.readouterr().err
    assert [*(tmp_path / "empty").iterdir()] == []
    (folder / "index.html").write_text("<title>my page</title>")
    assert cli.main(["results", str(folder)]) == 2
    assert "index.html is there and dfk did not write it" in capsys.readouterr().err


def test_the_page_of_a_training_is_dfks_own(folder):
    results.write_results(folder)
    assert cli.main(["results", str(folder)]) == 0


def test_headings_sort(folder, browser):
    results.write_results(folder)
    browser.goto((folder / "index.html").as_uri())
    names = "Array.from(document.querySelectorAll('.runs tbody th a'), x => x.textContent)"
    assert browser.evaluate(names)[0] == "residual_wide"
    browser.get_by_role("button", name="accuracy").click()
    assert browser.evaluate(names) == ["svm", "<b>&", "residual_long", "residual_wide"]
    browser.get_by_role("button", name="run").click()
    assert browser.evaluate(names) == ["svm", "residual_wide", "residual_long", "<b>&"]
    browser.get_by_role("button", name="p", exact=True).click()
    assert browser.evaluate(names)[-1] == "residual_wide"  # It has none against itself.
