"""How long a client may keep a connection; with shorter times, in this process."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

import uvicorn

from dfk.web import connection

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"


async def _application(scope, receive, send):
    """Takes the whole body; answers with more than the system's buffers hold."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(2**25)})


@pytest.fixture
def server(monkeypatch):
    """A server's address, and the connections that it has."""
    monkeypatch.setattr(connection, "SILENCE", 3)
    monkeypatch.setattr(connection, "WHOLE", 6)
    config = uvicorn.Config(
        _application, http=connection.Connection, ws="none", lifespan="off", log_level="critical"
    )
    served = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname(), served.server_state.connections
        served.should_exit = True
        thread.join()


def _seconds_until_dropped(address, sent, drip=b""):
    """How long a client is kept that sends something, and then a little every half second."""
    began = time.monotonic()
    with socket.create_connection(address) as client:
        client.settimeout(0.5)
        client.sendall(sent)
        while time.monotonic() < began + 30:
            try:
                if not client.recv(1):
                    break
            except TimeoutError:
                pass
            except ConnectionError:
                break
            if drip:
                try:
                    client.sendall(drip)
                except ConnectionError:
                    break
    return time.monotonic() - began


def test_who_is_silent_is_dropped(server):
    """Whatever it had sent before; all of them at once, since they are waited for."""
    seconds = _together(server[0], [b"", b"GET / HTTP/1.1\r\n", HEAD, HEAD + bytes(1000)])
    assert all(2.5 < each < 6 for each in seconds), seconds


def test_who_drips_is_dropped_too(server):
    seconds = _together(server[0], [b"GET / HTTP/1.1\r\nX: ", HEAD], b"x")
    assert all(5.5 < each < 9 for each in seconds), seconds


def _together(address, starts, drip=b""):
    with ThreadPoolExecutor(len(starts)) as pool:
        return list(pool.map(lambda sent: _seconds_until_dropped(address, sent, drip), starts))


def test_who_does_not_take_the_answer_is_dropped(server):
    address, connections = server
    with socket.create_connection(address) as client:
        client.sendall(HEAD + bytes(1_000_000))
        began = time.monotonic()
        time.sleep(1)
        assert len(connections) == 1
        while connections:
            assert time.monotonic() < began + 9
            time.sleep(0.1)


def test_who_asks_again_and_again_stays(server):
    address, connections = server
    with socket.create_connection(address) as client:
        for _ in range(5):
            client.sendall(HEAD + bytes(1_000_000))
            left = 2**25
            while left > 0:
                left -= len(client.recv(2**20))
            time.sleep(1.5)
        assert len(connections) == 1
