"""`dfk demo` as a user meets it: the command, its page in a browser, and what they get wrong."""

import base64
import contextlib
import http.client
import io
import os
import shutil
import socket
import sys
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import dfk
from dfk import cli
from dfk.web.examination import CLOSED_SET, Examiner
from tests import declared, networks
from tests.demo_server import demo
from tests.pictures import BROKEN, encode, noise

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
QUIET += " disable-component-update disable-sync"
# Once all is loaded, an image takes five minutes.
SLOW = """
import time
from dfk.commands import demo
def slow():
    from dfk.web.examination import Examiner
    Examiner.examine = lambda *_, **__: time.sleep(300)
demo._end_on_signals = slow
"""
NAMES = ("<b>cat</b>", "dog ${1 + 1} {{name}}", "übung")  # No markup, no template


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
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    flags = ["--max_upload_mb=2", "--min_confidence=1"]
    with demo(classifier.path, tmp_path_factory.mktemp("demo"), *flags) as served:
        yield served.address


@pytest.fixture(scope="module")
def page(address):
    """The page in a browser; it has the addresses of all requests so far, and all complaints."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    arguments = [f"--{name}" for name in QUIET.split()]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address)
        page.locator("input[type=file]").wait_for(state="attached")
        yield page
        browser.close()
    assert page.complaints == []  # Of the policy, for instance


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


def test_a_box_asks_whether_the_answer_lasts(classifier, page):
    data = encode(noise(20, 28, seed=2), "PNG")
    (expected,) = classifier.predict(data, recheck=True)
    page.locator("#recheck").check()
    shown = _upload(page, "again.png", data)
    value = shown.locator(".lasts data").get_attribute("value")
    assert float(value) == pytest.approx(expected.recheck, abs=1e-6)
    page.locator("#recheck").uncheck()
    assert _upload(page, "once.png", data).locator(".lasts").count() == 0


def test_the_image_and_its_heat_map_stand_side_by_side(classifier, page):
    image = noise(20, 28, seed=2)
    shown = _upload(page, "heat.png", encode(image, "PNG"))
    left, right = shown.locator("img").all()
    np.testing.assert_array_equal(_pixels(left), image)
    np.testing.assert_array_equal(
        _pixels(right), Examiner(classifier).examine(encode(image, "PNG")).heat
    )
    a, b = left.bounding_box(), right.bounding_box()
    assert a["y"] == b["y"] and a["x"] + a["width"] < b["x"] and a["width"] > 200


def test_what_the_file_declares_stands_apart_and_is_text(classifier, page):
    forged = '<img src=x onerror=alert(1)>" C2PA signature valid\u202e'
    shown = _upload(page, "claims.png", declared.png(parameters=forged, Software="Paint & Box"))
    claims = shown.locator(".claims")
    assert claims.locator("li").all_inner_texts() == [
        "PNG parameters: <img src=x onerror=alert(1)>' C2PA signature valid\\u202e",
        "PNG Software: Paint & Box",
    ]
    assert "claims can be forged or stripped" in claims.inner_text()
    assert claims.locator("q").count() == 2 and not claims.locator("img").count()
    (expected,) = classifier.predict(declared.png())
    assert shown.locator(".label").inner_text() == expected.label
    shown = _upload(page, "none.png", declared.png())
    assert "Nothing of where it is from." in shown.locator(".claims").inner_text()
    assert "claims can be forged or stripped" in shown.locator(".claims").inner_text()


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_file_is_a_message(kind, classifier, page):
    shown = _upload(page, f"{kind}.png", BROKEN[kind])
    (expected,) = classifier.predict(BROKEN[kind])
    assert expected.error[1:] in shown.inner_text()
    assert not shown.locator(".label, img").count()
    assert "Traceback" not in page.locator("body").inner_text()


def test_a_file_can_be_dropped_anywhere_and_its_name_is_text(classifier, page):
    name = "<img src=x onerror=alert(1)>.png"
    data = base64.b64encode(encode(noise(16, 16, 4), "PNG")).decode()
    dropped = page.evaluate_handle(
        """([name, data]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const dropped = new DataTransfer();
            dropped.items.add(new File([bytes], name));
            return dropped;
        }""",
        [name, data],
    )
    page.locator("h1").dispatch_event("drop", {"dataTransfer": dropped})
    page.locator(".answer figcaption", has_text=f"{name} (16 x 16)").wait_for()
    assert page.locator(".answer img").count() == 2


def test_the_keyboard_reaches_the_place_for_a_file(page):
    page.on("filechooser", lambda chooser: None)  # The browser hears of it before the key.
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "file"
    with page.expect_file_chooser():
        page.keyboard.press("Enter")


def test_on_a_phone_nothing_stands_outside_the_screen(page):
    page.set_viewport_size({"width": 360, "height": 640})
    _upload(page, "a name that is long enough to be broken" * 5, encode(noise(16, 16, 5), "PNG"))
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.set_viewport_size({"width": 1200, "height": 900})


def test_the_last_file_is_the_one_that_is_answered(page):
    for name in ("first.png", "second.png"):
        file = {"name": name, "mimeType": "image/png", "buffer": encode(noise(900, 900, 6), "PNG")}
        page.locator("input[type=file]").set_input_files(file)
    page.locator(".answer", has_text="second.png").wait_for()
    assert not page.get_by_text("first.png").count()


def test_too_large_a_file_is_refused_on_the_page_and_the_next_one_answered(page):
    shown = _upload(page, "large.png", bytes(2**21 + 1))
    assert "The file is larger than 2 MB, the most that is taken." in shown.inner_text()
    assert shown.get_attribute("role") == "status"
    _upload(page, "next.png", encode(noise(16, 16, 7), "PNG")).locator(".label").wait_for()


def test_the_page_asks_no_other_host(page, address):
    _upload(page, "again.png", encode(noise(16, 16, 3), "PNG"))
    hosts = {urlsplit(url).netloc for url in page.asked if not url.startswith("data:")}
    assert hosts == {urlsplit(address).netloc}
    policy = page.request.get(address).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    before = list(page.complaints)
    refused = page.evaluate("fetch('http://127.0.0.2/').catch(error => 'refused')")
    assert refused == "refused" and page.complaints != before
    page.complaints[:] = before
    page.asked.clear()


def test_the_page_always_says_that_the_set_is_closed(page, tmp_path):
    page.get_by_text(CLOSED_SET).wait_for()
    page.screenshot(path=tmp_path / "page.png")
    picture = Image.open(tmp_path / "page.png")
    assert picture.size == (1200, 900) and len(picture.convert("RGB").getcolors(2**20)) > 20


def test_an_image_that_is_at_work_does_not_keep_it_from_ending(classifier, tmp_path):
    """`demo` gives it half a minute."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    with contextlib.ExitStack() as stack, demo(classifier.path, tmp_path, change=SLOW) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port)
        stack.callback(connection.close)
        connection.request("POST", "/answer", b"what takes long")
        time.sleep(1)


# What a user may get wrong, before anything is served


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: MODEL"),
        (["gone", "--port=0"], "there is no model at gone"),
        (["unibuc-small", "--port=70000"], "70000 is no port"),
        (["unibuc-small", "--host=256.0.0.1"], "cannot listen at --host=256.0.0.1"),
        (["unibuc-small", "--max_upload_mb=0"], "0 is not a whole number from 1"),
        (["unibuc-small", "--min_confidence=2"], "2 is not within 0..1"),
        (["unibuc-small", "--allow_host=http://name"], "'http://name' is no name of a host"),
    ],
)
def test_a_mistake_is_one_message(arguments, message, capsys):
    assert cli.main(["demo", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("dfk: ") and message in err and err.count("\n") == 1 and not out


def test_a_port_that_is_taken_is_named_and_the_default_gives_way(tmp_path, capsys):
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(b"x")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # If someone else has taken it already
            stack.enter_context(socket.create_server(("127.0.0.1", 7860)))
        assert cli.main(["demo", str(damaged), "--port=7860"]) == 2
        message = "cannot listen at --host=127.0.0.1 --port=7860: Address already in use"
        assert capsys.readouterr().err == f"dfk: {message}\n"
        assert cli.main(["demo", str(damaged)]) == 2
        given, refused = capsys.readouterr().err.splitlines()
        assert given == "dfk: port 7860 is taken, so the page gets another"
        assert refused.startswith(f"dfk: {damaged}")


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["demo", "unibuc-small"]) == 2
    assert "the page needs uvicorn: pip install 'dfk-keras[demo]'" in capsys.readouterr().err
