"""C2PA manifests that are signed, tampered with, damaged, elsewhere; and a reader that dies."""

import http.server
import io
import random
import sys
import threading
import types

import pytest

from dfk.data import c2pa_manifests
from dfk.data.claims import claims_of, in_line
from tests.declared import PICTURE, signed
from tests.pictures import encode

c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed")

FORMATS = ("PNG", "JPEG", "WEBP")
SAID = [
    *('C2PA generator "Paint Box 1.2"', 'C2PA source type "trainedAlgorithmicMedia"'),
    *('C2PA software agent "Brush 3"', 'C2PA signer "tests of dfk"'),
]
VALID = "C2PA signature valid, whoever the signer is"


def _shown(data):
    return [*map(str, claims_of(data))]


@pytest.fixture(scope="module", params=FORMATS)
def file(request):
    return signed(encode(PICTURE, request.param), request.param)


def test_a_manifest_says_who_made_it_and_its_signature_holds(file):
    assert _shown(file) == [*SAID, VALID]


def test_a_file_that_was_changed_after_it_was_signed_is_told(file):
    changed = bytearray(file)
    changed[-30] ^= 1  # Of the pixels; in WebP, where they come first, of the signature
    *said, signature = _shown(bytes(changed))
    assert said == SAID and signature.startswith("C2PA signature invalid ")
    assert any(code in signature for code in ("dataHash.mismatch", "claimSignature.mismatch"))


def test_words_that_were_changed_are_told():
    file = signed(encode(PICTURE, "PNG"))
    changed = file.replace(b"Paint Box", b"Camera XY")
    assert changed != file
    first, *_, signature = _shown(changed)
    assert first == 'C2PA generator "Camera XY 1.2"'
    assert signature.startswith("C2PA signature invalid")


def test_what_a_manifest_says_is_one_line():
    name = 'A"; C2PA signature valid\r\n\x1b[2J\u202e' + 600 * "x"
    line = in_line(claims_of(signed(encode(PICTURE, "PNG"), generator=name)))
    assert line.isprintable() and len(line) < 600
    assert line.startswith("C2PA generator \"A'; C2PA signature valid \\x1b[2J\\u202exxx")


def test_damage_anywhere_is_no_error_and_ends_nothing(file):
    rng, start = random.Random(0), file.index(b"jumb")
    process = None
    for _ in range(60):
        data = bytearray(file)
        for _ in range(rng.choice([1, 3, 30])):
            data[start + rng.randrange(9_000)] = rng.choice([0, 255, rng.randrange(256)])
        assert in_line(claims_of(bytes(data))).isprintable()
        process = process or c2pa_manifests._reader()._process
        assert c2pa_manifests._reader()._process is process


@pytest.fixture
def elsewhere():
    """An address on this machine, and the requests that it got."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield types.SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", asked=asked)
        server.shutdown()
        thread.join()


def test_nothing_is_fetched(elsewhere):
    """The library alone would fetch both: the manifest, and whether its signer is revoked."""
    url = f"{elsewhere.url}/m.c2pa"
    apart = signed(encode(PICTURE, "JPEG"), "JPEG", elsewhere=url, embedded=False)
    # With a block that may be a manifest, and is none, the library is asked, and looks elsewhere.
    other = b"JP\0\1\0\0\0\1" + b"\0\0\0\x19jumb\0\0\0\x11jumd" + bytes(9)
    block = b"\xff\xeb" + (len(other) + 2).to_bytes(2, "big") + other
    asking = apart[:2] + block + apart[2:]
    revocable = signed(encode(PICTURE, "PNG"), ocsp=f"{elsewhere.url}/ocsp")
    both = signed(encode(PICTURE, "PNG"), elsewhere=url)
    elsewhere.asked.clear()
    told = f'C2PA manifest elsewhere, not fetched "{url}"'
    assert _shown(apart) == _shown(asking) == [told] and told in _shown(both)
    assert VALID in _shown(revocable)
    assert elsewhere.asked == []
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(asking), context=c2pa.Context.from_dict({}))
    assert elsewhere.asked == ["/m.c2pa"]
    fetching = c2pa.Context.from_dict({"verify": {"ocsp_fetch": True}})
    c2pa.Reader("image/png", io.BytesIO(revocable), context=fetching)
    assert len(elsewhere.asked) > 1


@pytest.mark.parametrize(
    ("code", "seconds", "said"),
    [
        ("import os; os.abort()", 20, "came to its end"),
        ("import time; time.sleep(60)", 0.5, "took more than 0.5 s"),
    ],
)
def test_a_reader_that_dies_or_hangs_costs_one_answer(code, seconds, said, monkeypatch, tmp_path):
    file = signed(encode(PICTURE, "PNG"))
    reader = c2pa_manifests._Reader()
    monkeypatch.setattr(c2pa_manifests, "_reader", lambda: reader)
    monkeypatch.setattr(c2pa_manifests, "_SECONDS", seconds)
    (tmp_path / "child.py").write_text(code)
    with monkeypatch.context() as patch:
        patch.setattr(c2pa_manifests, "_CHILD", tmp_path / "child.py")
        why = f"C2PA manifest, not read: the process that reads manifests {said}"
        assert _shown(file) == [why]
    monkeypatch.setattr(c2pa_manifests, "_SECONDS", 20)
    assert _shown(file) == [*SAID, VALID]
    reader.end()


def test_no_module_of_the_folder_that_one_is_in_is_run(monkeypatch, tmp_path):
    for name in ("c2pa", "json", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken')")
    monkeypatch.chdir(tmp_path)
    reader = c2pa_manifests._Reader()
    monkeypatch.setattr(c2pa_manifests, "_reader", lambda: reader)
    assert VALID in _shown(signed(encode(PICTURE, "JPEG"), "JPEG"))
    reader.end()


def test_a_file_that_is_too_large_is_not_given_to_it(monkeypatch):
    monkeypatch.setattr(c2pa_manifests, "_LARGEST", 1000)
    assert _shown(signed(encode(PICTURE, "PNG"))) == [
        "C2PA manifest, not read: the file has more than 1,000 bytes"
    ]


def test_without_the_library_the_extra_is_named(monkeypatch):
    file = signed(encode(PICTURE, "PNG"))
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert _shown(file) == [
        "C2PA manifest, not read: c2pa-python is not installed: pip install 'dfk-keras[claims]'"
    ]
    assert _shown(encode(PICTURE, "PNG")) == []
