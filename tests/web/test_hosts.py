"""Under which names the page is served."""

import socket

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")

from dfk.web.hosts import Hosts

HERE = ["127.0.0.1", "LOCALHOST", "localhost:7860", "localhost:80", "[::1]:7860", "[0:0::1]"]
ODD = [
    "",
    "evil.com",
    "localhost.evil.com",
    "evil.com:localhost",
    "a@localhost",
    "localhost/",
    "::1",
]
ODD += ["127.0.0.1.nip.io", "2130706433", "0x7f.1", "localhost localhost", "[localhost]", "[::1]x"]
ODD += ["[fe80::1%25lo]", "localhost:", "localhost:x", "*", "xn--localhst-c8a"]


@pytest.mark.parametrize("bound", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_this_machine_calls_itself_so(bound):
    served = Hosts(bound)
    assert [host for host in HERE if host not in served] == []
    assert [host for host in ODD if host in served] == []


def test_at_the_loopback_nobody_else_is_answered():
    served = Hosts("127.0.0.1")
    for host in ("192.168.1.7", "10.0.0.1:7860", "[fe80::1]", socket.gethostname() + ".x"):
        assert host not in served


def test_at_all_addresses_any_will_do_and_the_name_of_the_machine(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "GPU7")
    for bound in ("0.0.0.0", "::"):
        served = Hosts(bound)
        for host in ("192.168.1.7:80", "[fe80::1]", "gpu7", "gpu7:7860"):
            assert host in served
        assert "gpu8" not in served and "gpu7.evil.com" not in served


def test_at_one_address_it_is_that_one():
    served = Hosts("192.168.1.7")
    assert "192.168.1.7:7860" in served
    for host in ("192.168.1.8", "localhost", "127.0.0.1", "gpu7"):
        assert host not in served


def test_names_can_be_added():
    served = Hosts("192.168.1.7", ["gpu7.Example.org", "10.0.0.1", "2001:DB8::0:1"])
    for host in ("GPU7.example.org:80", "10.0.0.1", "[2001:db8::1]:7860"):
        assert host in served
    assert "example.org" not in served
