"""The page attacked from outside, over HTTP, in a process of its own."""

import contextlib
import http.client
import json
import os
import select
import socket
import sys
import time
from pathlib import Path

import pytest

import dfk
from tests.demo_server import CANARY, demo
from tests.networks import network
from tests.pictures import encode, noise

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

MB = 2**20
LIMIT = 2 * MB  # Of a file
GOOD = encode(noise(16, 16, 1), "PNG")


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    """An image of this machine that no client may ever see."""
    path = tmp_path_factory.mktemp("secret") / CANARY
    path.write_bytes(encode(noise(31, 37, 2), "PNG"))
    return path


@pytest.fixture(scope="module")
def served(canary, tmp_path_factory):
    """The page; in the end it has opened no canary, asked nobody, and left no file."""
    folder = tmp_path_factory.mktemp("served")
    network(16).save(folder / "tiny.keras")
    with demo(folder / "tiny.keras", folder, "--max_upload_mb=2") as served:
        assert _ask(served, "POST", "/answer", GOOD)[0] == 200
        yield served


def _ask(served, method, target, body=None, headers=(), *, host=None):
    """Status, headers and text of an answer; `target` is sent as it is."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as c:
        c.putrequest(method, target, skip_host=host is not None)
        if host:
            c.putheader("Host", host)
        for name, value in dict(headers).items():
            c.putheader(name, value)
        if body is not None:
            c.putheader("Content-Length", len(body))
        c.endheaders(body)
        answer = c.getresponse()
        text = answer.read().decode()
    _tells_nothing(served, text, str(answer.headers))
    return answer.status, answer.headers, text


def _tells_nothing(served, *texts):
    """No path of the server, and nothing of how it is made."""
    inner = [
        Path(dfk.__file__).parent,
        sys.prefix,
        Path.home(),
        os.getcwd(),
        served.temporary.parent,
    ]
    for text in texts:
        for word in (*map(str, inner), "Traceback", "uvicorn", "access-control", 'File "'):
            assert word not in text.lower() and word not in text


def _connect(served, start):
    """A connection on which `start` was sent."""
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    connection.sendall(start)
    return connection


def _upload(length):
    return f"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def _status(connection):
    """The status of what comes back; 0 if the connection is closed without an answer."""
    try:
        line = connection.recv(2**16).decode()
    except ConnectionResetError:
        return 0
    return int(line.split()[1]) if line else 0


def _still_answers(served):
    status, _, text = _ask(served, "POST", "/answer", GOOD)
    assert status == 200 and "Most likely made by" in text


# With {} for the path of a file that is there
_TARGETS = """
/gradio_api/file={} /gradio_api/file=http://127.0.0.2/x.png /gradio_api/upload /file={} /file/{}
/config /info /queue/join /gradio_api/queue/join /gradio_api/call/show /gradio_api/run/predict
/run/predict /api/predict /upload /proxy=http://127.0.0.2/ /gradio_api/proxy=http://127.0.0.2/
/static/../../{} /assets/{} /theme.css /docs /openapi.json /robots.txt /{} /..{}
/../../../../../../../{} /%2e%2e/%2e%2e{} /..%2f..%2f..%2f{} /..%5c..%5c{} /%252e%252e/{}
/style.css/..{} /style.css/%2e%2e{} /page.js/../page.html.j2 /page.html.j2 /answer.html.j2
/html.py /style.css/ /answer/{} /answer?path={} /answer/?file={} //127.0.0.2/ http://127.0.0.2/
file://{} /%00 /style.css%00 /.git/config /style.css?file={} *
"""


@pytest.mark.parametrize("target", _TARGETS.split())
def test_there_is_nothing_but_the_page(target, served, canary):
    real = {path: _ask(served, "GET", path)[2] for path in ("/", "/style.css")}
    target = target.format(canary)
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
        status, headers, text = _ask(served, method, target, b"" if method == "POST" else None)
        if status == 200:  # A query changes nothing, and an empty body is no image.
            path = target.partition("?")[0]
            assert text == real[path] if method == "GET" else "The file is empty" in text
        else:
            assert status in (400, 403, 404, 405) and len(text) < 150
            assert headers["Content-Type"] == "text/plain; charset=utf-8"


def _bodies(path):
    data = {"path": path, "url": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
    url, quoted = f"file://{path}", f'"{path}"'
    texts = [path, url, quoted, f"@{path}", "http://127.0.0.2/x.png", "//127.0.0.2/x.png"]
    texts += [f"data:image/png;base64,{path}", json.dumps({"data": [data], "fn_index": 0})]
    texts += [json.dumps(data), f"path={path}", f'<svg><image href="{url}"/></svg>']
    texts += [
        f'<!DOCTYPE a [<!ENTITY b SYSTEM "{url}">]><a>&b;</a>',
        "../" * 20 + path[1:],
        "\0" + path,
    ]
    form = '--x\r\nContent-Disposition: form-data; name="files"; filename="{0}"\r\n\r\n{0}\r\n'
    return [*texts, form.format(path) + "--x--\r\n"]


@pytest.mark.parametrize("kind", range(len(_bodies("/a"))))
def test_a_body_that_names_a_file_or_an_address_is_no_image(kind, served, canary):
    body = _bodies(str(canary))[kind].encode()
    for content in ("image/png", "application/json", "multipart/form-data; boundary=x"):
        named = {
            "Content-Type": content,
            "X-File-Name": str(canary),
            "Content-Location": f"{canary}",
        }
        status, _, text = _ask(served, "POST", "/answer", body, named)
        assert status == 200 and "No PNG, JPEG, WebP, BMP or GIF image" in text
        assert "<img" not in text and CANARY not in text


@pytest.mark.parametrize(
    "host", ["evil.com", "localhost.evil.com:7860", "192.168.0.1", "[::2]", "x@localhost"]
)
def test_another_host_is_refused(host, served):
    for method, target in (("GET", "/"), ("GET", "/page.js"), ("POST", "/answer")):
        status, _, text = _ask(served, method, target, GOOD, host=host)
        assert status == 403 and "not served under this name" in text and "<" not in text
    for headers in ("", f"Host: localhost\r\nHost: {host}\r\n"):
        with _connect(served, f"GET / HTTP/1.1\r\n{headers}\r\n".encode()) as connection:
            assert _status(connection) == 400
    with _connect(served, b"GET / HTTP/1.0\r\n\r\n") as connection:
        assert _status(connection) == 403


def test_the_hosts_of_this_machine_are_answered(served):
    for host in (f"127.0.0.1:{served.port}", "localhost", "[::1]:80", "LOCALHOST:8080"):
        assert _ask(served, "GET", "/", host=host)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "file://"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_gets_no_answer(headers, served):
    status, answered, text = _ask(served, "POST", "/answer", GOOD, headers)
    assert status == 403 and "from another one" in text
    assert not [name for name in answered if name.lower().startswith("access-control")]
    ask = {**headers, "Access-Control-Request-Method": "POST"}
    status, answered, _ = _ask(served, "OPTIONS", "/answer", None, ask)
    assert status == 403
    assert not [name for name in answered if name.lower().startswith("access-control")]
    # A link to the page is followed; what another site embeds of it stays closed to it.
    status, answered, _ = _ask(served, "GET", "/", None, headers)
    assert status == 200 and answered["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in answered["Content-Security-Policy"]
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert _ask(served, "POST", "/answer", GOOD, own)[0] == 200


@pytest.mark.parametrize("size", [LIMIT + 1, 10**12, 10**19])
def test_a_size_beyond_the_limit_is_refused_at_once(size, served):
    with _connect(served, _upload(size)) as connection:  # Nothing of it was sent.
        assert _status(connection) == 413


@pytest.mark.parametrize("size", ["-1", "x", "9" * 5000, "1, 2", "+1"])
def test_a_size_that_is_none_is_refused(size, served):
    with _connect(served, _upload(size)) as connection:
        assert _status(connection) == 400


def test_a_file_of_the_limit_is_taken_and_one_byte_more_is_not(served):
    assert "No PNG" in _ask(served, "POST", "/answer", bytes(LIMIT))[2]
    status, _, text = _ask(served, "POST", "/answer", bytes(LIMIT + 1))
    assert status == 413
    assert text == "The file is larger than 2 MB, the most that is taken."


@pytest.mark.parametrize("chunk", [LIMIT + 1, 2**16, 1000])
def test_what_comes_in_pieces_is_counted(chunk, served):
    head = b"POST /answer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = f"{chunk:x}\r\n".encode() + bytes(chunk) + b"\r\n"
    with _connect(served, head) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(piece * (LIMIT // chunk + 1))
        assert _status(connection) == 413
    with _connect(
        served, head + f"{len(GOOD):x}\r\n".encode() + GOOD + b"\r\n0\r\n\r\n"
    ) as connection:
        assert _status(connection) == 200


def test_all_uploads_together_are_bounded(served):
    with contextlib.ExitStack() as stack:
        # Each without its last byte: there is room for four, so the fifth to come is refused.
        starts = [_upload(LIMIT) + bytes(LIMIT - 1)] * 5
        open_ = [stack.enter_context(_connect(served, start)) for start in starts]
        (refused,), _, _ = select.select(open_, [], [], 10)
        assert _status(refused) == 503
        time.sleep(3)  # Until the other four have come: asking meanwhile would take their room.
        status, _, text = _ask(served, "POST", "/answer", GOOD)
        assert status == 503 and text == "The page is busy with other images. Try again."
        assert _ask(served, "GET", "/")[0] == 200
        assert not select.select(set(open_) - {refused}, [], [], 0)[0]
    end = time.monotonic() + 20
    while _ask(served, "POST", "/answer", GOOD)[0] != 200:
        assert time.monotonic() < end


def _resident(served):
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it reads /proc")
def test_uploads_that_break_off_leave_nothing(served):
    def break_off(times):
        for _ in range(times):
            _connect(served, _upload(LIMIT) + bytes(LIMIT - 1)).close()
        time.sleep(0.5)
        _still_answers(served)

    break_off(4)
    before = _resident(served)
    break_off(60)
    assert _resident(served) - before < 20 * MB < 60 * LIMIT
    left = [path.name for path in served.temporary.iterdir()]
    assert not [name for name in left if not name.startswith("__autograph")]


def test_whoever_is_silent_is_dropped(served):
    """Be it in a request's head, in its body, or before it."""
    starts = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost:",
        _upload(LIMIT),
        _upload(LIMIT) + b"\x89PNG",
    ]
    # Who is refused may send no more for ever, either.
    starts += [_upload(LIMIT + 1), _upload(LIMIT).replace(b"/answer", b"/none")]
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(_connect(served, start)) for start in starts]
        began = time.monotonic()
        for connection in silent:
            while _status(connection):
                pass
        assert 10 < time.monotonic() - began < 25
    _still_answers(served)


def test_more_connections_than_it_serves_are_told_so(served):
    with contextlib.ExitStack() as stack:
        for _ in range(70):
            stack.enter_context(_connect(served, b""))
        assert _ask(served, "GET", "/")[0] == 503
    end = time.monotonic() + 20
    while _ask(served, "GET", "/")[0] != 200:
        assert time.monotonic() < end
