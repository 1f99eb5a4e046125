"""Who waits for whom: a server in this process, whose images are at work for as long as asked."""

import contextlib
import http.client
import socket
import threading
import time

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from dfk import web
from dfk.inference import Prediction
from dfk.web.examination import Examination


class Slow:
    """Works on an image until `release` has its bytes, and remembers what it began."""

    class_names = ("cat", "dog")

    def __init__(self):
        self.began, self.released = [], set()

    def is_large(self, data):
        return data.startswith(b"large")

    can_recheck = True

    def examine(self, data, *, rechecked):
        if data.startswith(b"bug"):
            raise RuntimeError("in /home/somebody/dfk")
        self.began.append(data)
        _until(lambda: data in self.released or b"all" in self.released)
        return Examination(
            Prediction("", 0.0, np.zeros(2, np.float32), f"answered {data.decode()}")
        )


def _until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def examiner():
    return Slow()


@pytest.fixture
def port(examiner):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = web.server(examiner, "slow", "127.0.0.1", [], 1)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        examiner.released.add(b"all")
        server.should_exit = True
        thread.join()


def _post(port, data):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/answer", data)
    return connection


def _read(connection):
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_large_image_holds_neither_the_page_nor_a_small_one(examiner, port):
    large = _post(port, b"large")
    _until(lambda: examiner.began == [b"large"])
    examiner.released.add(b"small")
    assert "Answered small" in _read(_post(port, b"small"))[1]
    for path in ("/", "/page.js"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path)
        assert _read(connection)[0] == 200
    examiner.released.add(b"large")
    assert "Answered large" in _read(large)[1]


@pytest.mark.parametrize("kind", [b"large", b"small"])
def test_of_a_kind_one_is_at_work_and_eight_wait_in_their_order(kind, examiner, port):
    names = [kind + b" %d" % i for i in range(9)]
    waiting = []
    for name in names:
        waiting.append(_post(port, name))
        time.sleep(0.1)
    status, text = _read(_post(port, kind + b" too many"))
    assert (status, text) == (503, "The page is busy with other images. Try again.")
    assert examiner.began == names[:1]
    examiner.released.add(b"all")
    assert [_read(connection)[0] for connection in waiting] == [200] * 9
    assert examiner.began == names


def test_whoever_has_gone_before_their_turn_is_dropped(examiner, port):
    first = _post(port, b"large first")
    _until(lambda: examiner.began)
    gone, last = _post(port, b"large gone"), _post(port, b"large last")
    time.sleep(0.3)
    gone.close()
    time.sleep(0.3)
    examiner.released.add(b"all")
    assert {_read(first)[0], _read(last)[0]} == {200}
    assert examiner.began == [b"large first", b"large last"]


def test_whoever_goes_in_their_turn_does_not_disturb_the_next(examiner, port):
    gone = _post(port, b"large gone")
    _until(lambda: examiner.began)
    gone.close()
    last = _post(port, b"large last")
    time.sleep(0.3)
    assert examiner.began == [b"large gone"]  # Still at work: its memory is not the next one's yet.
    examiner.released.add(b"all")
    assert _read(last)[0] == 200


def test_a_bug_is_told_where_the_page_was_started_and_nowhere_else(port, capsys):
    status, text = _read(_post(port, b"bug"))
    assert status == 500 and text.startswith("The page itself failed") and "/" not in text
    told = capsys.readouterr().err
    assert "Traceback" in told and "RuntimeError: in /home/somebody/dfk" in told
