"""`dfk demo` as a user meets it: the command, its page in a browser, and what they get wrong."""

import base64
import contextlib
import importlib.util
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import dfk
from dfk import cli
from dfk.page import CLOSED_SET
from tests import networks
from tests.pictures import BROKEN, encode, noise

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
QUIET += " disable-component-update disable-sync"
NAMES = ("<b>cat</b>", "dog ${1 + 1} {{name}}", "übung")  # No markup, no template

# Notes whom it connects to. A background job, as CI may be, inherits that Ctrl-C is ignored.
SERVER = """
import signal, sys
log = open(sys.argv.pop(1), "a", buffering=1)
def note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print(event, args, file=log)
sys.addaudithook(note)
signal.signal(signal.SIGINT, signal.default_int_handler)
from dfk import cli
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "CLASSES", NAMES)
        networks.network(16).save(path)
    return dfk.load(path)


@pytest.fixture(scope="module")
def address(classifier, tmp_path_factory):
    """Where `dfk demo` serves in a process of its own; at the end Ctrl-C ends it tidily."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed")
    folder = tmp_path_factory.mktemp("demo")
    temporary = folder / "tmp"
    temporary.mkdir()
    arguments = ["demo", classifier.path, "--port=0", "--max_upload_mb=2", "--min_confidence=1"]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, folder / "asked", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        text=True,
    )
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", address), process.communicate()
        (uploads,) = temporary.glob("dfk-demo-*")
        assert uploads.stat().st_mode & 0o777 == 0o700
        yield address
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (130, "")
    ready = "dfk: the page is ready; Ctrl-C ends it"
    assert err.splitlines() == [ready, "dfk: interrupted"]  # Whatever was uploaded
    assert not list(temporary.glob("dfk-demo-*"))
    assert (folder / "asked").read_text() == ""


@pytest.fixture(scope="module")
def page(address):
    """The page in a browser; `page.asked` has the addresses of all requests so far."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    arguments = [f"--{name}" for name in QUIET.split()]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        page.locator("input[type=file]").wait_for(state="attached")
        yield page
        browser.close()


def _upload(page, name, data):
    """The part of the page that answers for a file."""
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    page.locator("input[type=file]").set_input_files(file)
    found = page.locator(".answer", has_text=name)
    found.wait_for()
    return found


def _pixels(image):
    uri = image.get_attribute("src")
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_page_shows_what_predict_answers(kind, classifier, page, tmp_path):
    image = noise(20, 28, seed=1)
    data = encode(image, kind)
    (expected,) = classifier.predict(data)
    shown = _upload(page, f"a {kind}", data)
    assert shown.locator(".label").inner_text() == expected.label
    assert f"{expected.confidence:.1%}" in shown.locator(".confidence").inner_text()
    rows = shown.locator("tr").all()
    values = {
        row.locator("th").inner_text(): float(row.locator("data").get_attribute("value"))
        for row in rows
    }
    wanted = dict(zip(NAMES, expected.probabilities.tolist(), strict=True))
    assert values == pytest.approx(wanted, abs=1e-6)
    widths = [row.locator(".track i").bounding_box()["width"] for row in rows]
    assert widths == sorted(widths, reverse=True) and widths[0] > 2 * widths[-1]
    warnings = shown.locator(".warning").all_inner_texts()
    assert [text.split(":")[0] for text in warnings] == ["Resized", "Unsure"]


def test_the_image_and_its_heat_map_stand_side_by_side(classifier, page):
    image = noise(20, 28, seed=2)
    shown = _upload(page, "heat.png", encode(image, "PNG"))
    left, right = shown.locator("img").all()
    np.testing.assert_array_equal(_pixels(left), image)
    np.testing.assert_array_equal(
        _pixels(right), dfk.page.Page(classifier).show(encode(image, "PNG")).heat
    )
    a, b = left.bounding_box(), right.bounding_box()
    assert a["y"] == b["y"] and a["x"] + a["width"] < b["x"] and a["width"] > 200


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_file_is_a_message(kind, classifier, page):
    shown = _upload(page, f"{kind}.png", BROKEN[kind])
    (expected,) = classifier.predict(BROKEN[kind])
    assert expected.error[1:] in shown.inner_text()
    assert not shown.locator(".label, img").count()
    assert "Traceback" not in page.locator("body").inner_text()


def test_too_large_a_file_is_refused_by_the_page_and_by_the_server(page, address):
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(2**21 + 1)}
    page.locator("input[type=file]").set_input_files(large)
    page.get_by_text("exceed the maximum allowed size of 2.0 M").wait_for()
    answer = page.request.post(f"{address}/gradio_api/upload", multipart={"files": large})
    assert answer.status == 413


def test_the_page_asks_no_other_host(page, address):
    _upload(page, "again.png", encode(noise(16, 16, 3), "PNG"))
    hosts = {urlsplit(url).netloc for url in page.asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}
    policy = page.request.get(address).headers["content-security-policy"]
    assert policy.startswith("default-src 'self' ")
    refused = page.evaluate("fetch('http://127.0.0.2/').catch(error => 'refused')")
    assert refused == "refused"
    page.asked.clear()


def test_the_page_always_says_that_the_set_is_closed_and_nothing_of_gradio(page, tmp_path):
    page.get_by_text(CLOSED_SET).wait_for()
    assert not page.locator("footer").count() and "Gradio" not in page.locator("body").inner_text()
    page.screenshot(path=tmp_path / "page.png")
    picture = Image.open(tmp_path / "page.png")
    assert picture.size == (1200, 900) and len(picture.convert("RGB").getcolors(2**20)) > 20


# What a user may get wrong, before anything is served


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: MODEL"),
        (["none", "--port=0"], "there is no model at none"),
        (["none", "--port=70000"], "70000 is no port"),
        (["none", "--host=256.0.0.1"], "cannot listen at --host=256.0.0.1"),
        (["none", "--max_upload_mb=0"], "0 is not 1 or more"),
        (["none", "--min_confidence=2"], "2 is not within 0..1"),
    ],
)
def test_a_mistake_is_one_message(arguments, message, capsys):
    assert cli.main(["demo", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("dfk: ") and message in err and err.count("\n") == 1 and not out


def test_a_port_that_is_taken_is_named_and_the_default_gives_way(capsys):
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # If someone else has taken it already
            stack.enter_context(socket.create_server(("127.0.0.1", 7860)))
        assert cli.main(["demo", "none", "--port=7860"]) == 2
        message = "cannot listen at --host=127.0.0.1 --port=7860: Address already in use"
        assert capsys.readouterr().err == f"dfk: {message}\n"
        assert cli.main(["demo", "none"]) == 2
        given, missing = capsys.readouterr().err.splitlines()
        assert given == "dfk: port 7860 is taken, so the page gets another"
        assert missing.startswith("dfk: there is no model at none")


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert cli.main(["demo", "none"]) == 2
    assert "pip install 'dfk[demo]'" in capsys.readouterr().err
