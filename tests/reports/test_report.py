"""The report of a run: whole, self-contained, escaped, repeatable; every test renders for real."""

import html
import re
import shutil
import subprocess
import warnings
from collections import Counter

import matplotlib
import numpy as np
import pytest

from dfk.reports.report import write_report
from tests.reports.rendered import arguments, mistake, render

NASTY = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


def test_fetches_nothing_and_runs_nothing(tmp_path):
    page = render(tmp_path)
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "action", "data")
    ]
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert set(re.findall(r"https?://[^\"']+", page.source)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", page.source))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "@import" not in page.source
    policy = [meta["content"] for meta in page.named("meta") if "http-equiv" in meta]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_shows_the_figures(tmp_path):
    text = render(tmp_path).words
    for shown in (
        "Accuracy 93.36 % 95 % interval 91.84 % to 94.61 %",
        "deepfakenet on 60 images of the validation split, 5 classes",
        "Macro F1 0.934",
        "Weakest class, F1 0.846 class 4",
        "Calibration error (ECE) 1.84 %",
        "Log loss (NLL) 0.211",
        "Parameters 287,141",
        "Training time 48 min 31 s 139 images/s",
        "Temperature 1.307",
        "packages.keras 3.15.1",
        "gpus H200, H200",
        "limit –",
        f"--flagfile={tmp_path}/config.flags --output_dir=again",
    ):
        assert shown in text


def test_a_class_without_images_is_not_the_weakest(tmp_path):
    given = arguments()
    given["metrics"]["per_class"][1].update(f1=0.0, support=0)
    assert "Weakest class, F1 0.846 class 4" in render(tmp_path, given).words


def test_what_is_not_known_is_a_dash(tmp_path):
    given = arguments()
    few = {key: given["metrics"][key] for key in ("per_class", "confusion_matrix", "accuracy")}
    text = render(tmp_path, given, metrics=few).words
    for shown in ("Macro F1 –", "(ECE) –", "Parameters –", "Training time –", "on – images"):
        assert shown in text
    assert "interval" not in text.split("Training")[0]
    assert "Published" not in text
    assert "Accuracy –" in render(tmp_path, given, metrics={}).words


@pytest.mark.parametrize(
    ("published", "verdict"),
    [(0.99, "above this interval."), (0.5, "below this interval."), (0.92, "may be chance.")],
)
def test_compares_with_the_published_figure(tmp_path, published, verdict):
    given = arguments()
    given["metrics"]["published_accuracy"] = published
    text = render(tmp_path, given).words
    assert re.search(rf"Published {published:.2%} lies".replace("%", " %"), text)
    assert verdict in text


@pytest.mark.parametrize(
    ("seconds", "shown"), [(4.26, "4 s"), (59.99, "1 min 00 s"), (7325, "2 h 02 min")]
)
def test_durations(tmp_path, seconds, shown):
    given = arguments()
    given["metrics"]["wall_time_s"] = seconds
    assert f"Training time {shown}" in render(tmp_path, given).words


def test_text_is_escaped_wherever_it_stands(tmp_path):
    given = arguments(names=(NASTY, "$x^2$", "a&b"))
    nasty = mistake(image_id=NASTY, truth=NASTY, predicted=NASTY)
    page = render(
        tmp_path, given, title=NASTY, mistakes=[nasty], config={NASTY: NASTY},
        environment={NASTY: {NASTY: NASTY}},
    )  # fmt: skip
    assert len(page.named("img")) == 1
    assert not page.named("script")
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert page.text.count(NASTY) >= 10
    assert page.text.count("$x^2$") >= 4  # twice of them in the matrix: no formula


def test_names_that_a_font_or_an_encoding_lacks(tmp_path):
    given = arguments(names=("日本語", "bad\udcff", "two\nlines"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = render(tmp_path, given, mistakes=[mistake(image_id="caf\udce9")])
    assert page.text.count("日本語") >= 3
    assert "bad?" in page.text and "caf?" in page.text
    assert "two lines" in page.text


@pytest.mark.parametrize("count", [2, 14, 40])
def test_any_number_of_classes(tmp_path, count):
    names = [f"a generator with quite a long name, number {i}" for i in range(count)]
    page = render(tmp_path, arguments(names, n=10 * count))
    for name in names:
        assert page.text.count(name) >= 1
        assert page.text.count(f"a gener…{name[-8:]}") == 2  # the matrix's two axes
    assert max(Counter(tag.get("id") for _, tag in page.tags if tag.get("id")).values()) == 1


def test_lists_the_most_frequent_confusions(tmp_path):
    given = arguments(names=("a", "b", "c"))
    given["metrics"]["confusion_matrix"] = [[9, 1, 0], [0, 2, 8], [0, 3, 7]]
    text = render(tmp_path, given).words
    assert "images b c 8 of 10 c b 3 of 10 a b 1 of 10" in text


def test_curves_mark_the_best_epoch(tmp_path):
    page = render(tmp_path)
    assert page.text.count("best: epoch 3") == 3
    assert "(epoch 3)" in page.text
    for title in ("Loss", "Accuracy", "Learning rate"):
        assert f"{title} by epoch" in [tag.get("aria-label") for tag in page.named("div")]


def test_without_epochs_there_are_no_curves(tmp_path):
    assert "Training time" in render(tmp_path, history=[]).text
    assert "overfitting" not in render(tmp_path, history=[]).text


def test_mistakes_come_surest_first_and_not_without_end(tmp_path):
    many = [mistake(confidence=i / 100, image_id=f"id{i:02}") for i in range(30)]
    shown = re.findall(r"id\d\d", render(tmp_path, mistakes=many).text)
    assert shown == [f"id{i:02}" for i in range(29, 5, -1)]


def test_where_the_model_looked_is_shown_below_a_mistake(tmp_path):
    overlay = np.full((8, 8, 3), 7, np.uint8)
    page = render(
        tmp_path, mistakes=[mistake(image=np.zeros((8, 8, 3), np.uint8), overlay=overlay)]
    )
    np.testing.assert_array_equal(page.pictures()[1], overlay)
    assert "Grad-CAM" in page.text
    assert "Grad-CAM" not in render(tmp_path, mistakes=[mistake()]).text


def test_no_mistakes(tmp_path):
    page = render(tmp_path, mistakes=[])
    assert "None to show." in page.text
    assert not page.named("img")


def test_small_pictures_keep_their_pixels_and_large_ones_shrink(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    large = np.zeros((300, 900, 3), np.uint8)
    page = render(tmp_path, mistakes=[mistake(image=small), mistake(image=large)])
    np.testing.assert_array_equal(page.pictures()[0], small)
    sizes = [(tag["width"], tag["height"]) for tag in page.named("img")]
    assert sizes == [("96", "192"), ("200", "67")]
    assert page.pictures()[1].shape == (67, 200, 3)


def test_the_same_run_gives_the_same_bytes_whatever_matplotlib_is_set_to(tmp_path):
    first = render(tmp_path).source
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path", "errorbar.capsize": 5}):
        assert render(tmp_path).source == first


def test_a_report_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    broken = mistake(image=np.zeros((4, 4, 7), np.uint8))
    with pytest.raises((TypeError, ValueError)):
        write_report(path, **{**arguments(), "mistakes": [broken]})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_no_screen_is_too_narrow_and_no_script_runs(tmp_path):
    names = [f"{NASTY} generator-with-a-long-name-{i}" for i in range(40)]
    page = html.escape(render(tmp_path, arguments(names, n=400)).source)
    frame = "<iframe style='width:{}px;height:900px' srcdoc=\"{}\"></iframe>"
    script = """<script>onload = () => { document.body.textContent = [...document.querySelectorAll(
        "iframe")].map(({contentDocument: {documentElement: root, scripts}}) =>
        [root.scrollWidth - root.clientWidth, scripts.length, root.scrollHeight > 3000]).join(" ")
        }</script>"""
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(script + "".join(frame.format(width, page) for width in (360, 700, 1280)))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
               "--no-first-run", "--disable-background-networking", "--disable-component-update",
               "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
               wrapper.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "0,0,true 0,0,true 0,0,true</body>" in done.stdout, done.stdout[-400:]
